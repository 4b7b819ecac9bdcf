//! Objects in memory, one version counter, and a bounded log of changes that watches read.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::value;

/// Changes kept per kind; a watch that falls further behind has to list again.
const LOG_LENGTH: usize = 4096;

/// What tells an object from the others of its kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    /// The namespace, empty for objects of the cluster.
    pub(super) namespace: String,
    /// The name.
    pub(super) name: String,
}

impl Key {
    /// A key of these parts.
    pub(super) fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    /// The key of `object`.
    pub(super) fn of(object: &Value) -> Self {
        Self::new(value::namespace(object), value::name(object))
    }
}

/// One change of one object.
#[derive(Debug, Clone)]
pub(super) struct Change {
    /// The version at which it happened.
    pub(super) version: u64,
    /// The object before; none when it was created.
    pub(super) before: Option<Arc<Value>>,
    /// The object after; for a deletion its last state, at the version of the deletion.
    pub(super) object: Arc<Value>,
    /// Whether the object is gone.
    pub(super) deleted: bool,
}

#[derive(Debug, Default)]
struct Kind {
    objects: BTreeMap<Key, Arc<Value>>,
    log: VecDeque<Change>,
    /// The version of the newest change that left the log.
    forgotten: u64,
    version: u64,
}

#[derive(Debug, Default)]
struct Inner {
    version: u64,
    kinds: HashMap<&'static str, Kind>,
    random: u64,
    clock_offset: SignedDuration,
}

/// All objects.
#[derive(Debug)]
pub(super) struct Store {
    inner: Mutex<Inner>,
    newest: watch::Sender<u64>,
}

/// Why a write was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// An object of this name is there already.
    Exists,
    /// There is no such object, or it changed in between.
    Changed,
}

impl Store {
    /// An empty store whose random names and UIDs follow from `seed`.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            inner: Mutex::new(Inner {
                version: 1000,
                random: seed,
                ..Inner::default()
            }),
            newest: watch::Sender::new(1000),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest version.
    pub(super) fn version(&self) -> u64 {
        self.lock().version
    }

    /// The version of the newest change to any of `kinds`.
    pub(super) fn version_of(&self, kinds: &[&'static str]) -> u64 {
        let inner = self.lock();
        kinds
            .iter()
            .filter_map(|kind| inner.kinds.get(kind))
            .map(|kind| kind.version)
            .max()
            .unwrap_or_default()
    }

    /// Tells of every new version; it never holds up a writer.
    pub(super) fn newest(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    /// The time by which new objects are stamped.
    pub(super) fn now(&self) -> Timestamp {
        let offset = self.lock().clock_offset;
        Timestamp::now()
            .checked_add(offset)
            .unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// Lets the store live in the past (or, with zero, in the present).
    pub(super) fn set_clock_offset(&self, offset: SignedDuration) {
        self.lock().clock_offset = offset;
    }

    /// The next random number.
    pub(super) fn random(&self) -> u64 {
        // SplitMix64: enough for names, and the same run after run.
        let mut inner = self.lock();
        inner.random = inner.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = inner.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A suffix as `generateName` appends it.
    pub(super) fn suffix(&self) -> String {
        const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
        let mut random = self.random();
        (0..5)
            .map(|_| {
                let letter = random % LETTERS.len() as u64;
                random /= LETTERS.len() as u64;
                char::from(LETTERS[usize::try_from(letter).unwrap_or_default()])
            })
            .collect()
    }

    /// A fresh UID.
    pub(super) fn uid(&self) -> String {
        let (high, low) = (self.random(), self.random());
        let bits = (u128::from(high) << 64) | u128::from(low);
        uuid::Builder::from_random_bytes(bits.to_be_bytes())
            .into_uuid()
            .to_string()
    }

    /// The object of this key.
    pub(super) fn get(&self, kind: &str, key: &Key) -> Option<Arc<Value>> {
        self.lock().kinds.get(kind)?.objects.get(key).cloned()
    }

    /// All objects of a kind, of one namespace if one is given, ordered by key.
    pub(super) fn all(&self, kind: &str, namespace: Option<&str>) -> Vec<Arc<Value>> {
        self.list(kind, namespace, None).0
    }

    /// The objects after `after` and the version of the store at that moment.
    pub(super) fn list(
        &self,
        kind: &str,
        namespace: Option<&str>,
        after: Option<&Key>,
    ) -> (Vec<Arc<Value>>, u64) {
        let inner = self.lock();
        let Some(found) = inner.kinds.get(kind) else {
            return (Vec::new(), inner.version);
        };
        let first = namespace.map(|namespace| Key::new(namespace, ""));
        let start = match (after, &first) {
            (Some(after), _) => Bound::Excluded(after),
            (None, Some(first)) => Bound::Included(first),
            (None, None) => Bound::Unbounded,
        };
        let objects = found
            .objects
            .range::<Key, _>((start, Bound::Unbounded))
            .take_while(|(key, _)| namespace.is_none_or(|wanted| key.namespace == wanted))
            .map(|(_, object)| object.clone())
            .collect();
        (objects, inner.version)
    }

    /// Adds an object.
    pub(super) fn insert(
        &self,
        kind: &'static str,
        mut object: Value,
    ) -> Result<Arc<Value>, Refused> {
        let key = Key::of(&object);
        let mut inner = self.lock();
        if inner
            .kinds
            .entry(kind)
            .or_default()
            .objects
            .contains_key(&key)
        {
            return Err(Refused::Exists);
        }
        let version = inner.version + 1;
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        let object = Arc::new(object);
        self.record(
            &mut inner,
            kind,
            key,
            Change {
                version,
                before: None,
                object: object.clone(),
                deleted: false,
            },
        );
        Ok(object)
    }

    /// Puts `object` in the place of `before`, if that is still what the store holds.
    pub(super) fn replace(
        &self,
        kind: &'static str,
        before: &Arc<Value>,
        mut object: Value,
    ) -> Result<Arc<Value>, Refused> {
        let key = Key::of(before);
        let mut inner = self.lock();
        let current = inner
            .kinds
            .entry(kind)
            .or_default()
            .objects
            .get(&key)
            .cloned();
        let Some(current) = current.filter(|current| {
            current["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
        }) else {
            return Err(Refused::Changed);
        };
        // A write that changes nothing is no change: the real server answers the object as it is.
        object["metadata"]["resourceVersion"] = current["metadata"]["resourceVersion"].clone();
        if object == *current {
            return Ok(current);
        }
        let version = inner.version + 1;
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        let object = Arc::new(object);
        self.record(
            &mut inner,
            kind,
            key,
            Change {
                version,
                before: Some(current),
                object: object.clone(),
                deleted: false,
            },
        );
        Ok(object)
    }

    /// Changes an object as often as it takes; `change` sees the newest state each time.
    pub(super) fn update(
        &self,
        kind: &'static str,
        key: &Key,
        change: impl Fn(&mut Value),
    ) -> Option<Arc<Value>> {
        loop {
            let before = self.get(kind, key)?;
            let mut object = Value::clone(&before);
            change(&mut object);
            if let Ok(after) = self.replace(kind, &before, object) {
                return Some(after);
            }
        }
    }

    /// Takes an object away and returns its last state.
    pub(super) fn remove(&self, kind: &'static str, key: &Key) -> Option<Arc<Value>> {
        let mut inner = self.lock();
        let before = inner.kinds.get(kind)?.objects.get(key)?.clone();
        let version = inner.version + 1;
        let mut last = Value::clone(&before);
        last["metadata"]["resourceVersion"] = json!(version.to_string());
        let object = Arc::new(last);
        self.record(
            &mut inner,
            kind,
            key.clone(),
            Change {
                version,
                before: Some(before),
                object: object.clone(),
                deleted: true,
            },
        );
        Some(object)
    }

    fn record(&self, inner: &mut Inner, kind: &'static str, key: Key, change: Change) {
        inner.version = change.version;
        let kind = inner.kinds.entry(kind).or_default();
        kind.version = change.version;
        if change.deleted {
            kind.objects.remove(&key);
        } else {
            kind.objects.insert(key, change.object.clone());
        }
        kind.log.push_back(change);
        if kind.log.len() > LOG_LENGTH
            && let Some(oldest) = kind.log.pop_front()
        {
            kind.forgotten = oldest.version;
        }
        self.newest.send_replace(inner.version);
    }

    /// The changes to a kind after `version`, at most `limit`, and the version up to which the
    /// log is read by that. The error is the oldest version that can be asked for.
    pub(super) fn changes(
        &self,
        kind: &str,
        version: u64,
        limit: usize,
    ) -> Result<(Vec<Change>, u64), u64> {
        let inner = self.lock();
        let Some(found) = inner.kinds.get(kind) else {
            return Ok((Vec::new(), inner.version));
        };
        if version < found.forgotten {
            return Err(found.forgotten);
        }
        let start = found
            .log
            .partition_point(|change| change.version <= version);
        let changes: Vec<Change> = found.log.range(start..).take(limit).cloned().collect();
        let read_to = match changes.last() {
            Some(last) if changes.len() == limit => last.version,
            _ => inner.version,
        };
        Ok((changes, read_to))
    }

    /// The kinds of which there are objects.
    pub(super) fn kinds(&self) -> Vec<&'static str> {
        self.lock().kinds.keys().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    fn object(namespace: &str, name: &str) -> Value {
        json!({ "metadata": { "namespace": namespace, "name": name } })
    }

    #[test]
    fn a_stale_write_is_refused() {
        let store = Store::new(1);
        let first = store.insert("pods", object("a", "x")).unwrap();
        let mut changed = object("a", "x");
        changed["data"] = json!(1);
        store.replace("pods", &first, changed).unwrap();
        let late = store.replace("pods", &first, object("a", "x"));
        assert_eq!(late.unwrap_err(), Refused::Changed);
    }

    #[test]
    fn a_write_that_changes_nothing_makes_no_event() {
        let store = Store::new(1);
        let first = store.insert("pods", object("a", "x")).unwrap();
        let version = store.version();
        store.replace("pods", &first, object("a", "x")).unwrap();
        assert_eq!(store.version(), version);
    }

    #[test]
    fn lists_stay_in_their_namespace() {
        let store = Store::new(1);
        for (namespace, name) in [("a", "z"), ("b", "m"), ("ab", "c"), ("b", "a")] {
            store.insert("pods", object(namespace, name)).unwrap();
        }
        let names: Vec<_> = store
            .all("pods", Some("b"))
            .iter()
            .map(|object| value::name(object).to_owned())
            .collect();
        assert_eq!(names, ["a", "m"]);
    }

    #[test]
    fn a_log_that_ran_over_says_so() {
        let store = Store::new(1);
        let start = store.version();
        for index in 0..=LOG_LENGTH {
            store
                .insert("pods", object("a", &index.to_string()))
                .unwrap();
        }
        let oldest = store.changes("pods", start, 10).unwrap_err();
        assert_eq!(oldest, start + 1);
        let (changes, read_to) = store.changes("pods", oldest, 10).unwrap();
        assert_eq!((changes.len(), read_to), (10, start + 11));
    }

    #[test]
    fn a_deletion_has_a_version_of_its_own() {
        let store = Store::new(1);
        let made = store.insert("pods", object("a", "x")).unwrap();
        let gone = store.remove("pods", &Key::new("a", "x")).unwrap();
        assert_ne!(
            made["metadata"]["resourceVersion"],
            gone["metadata"]["resourceVersion"]
        );
        let (changes, _) = store.changes("pods", 0, 10).unwrap();
        assert!(changes[1].deleted);
    }
}
