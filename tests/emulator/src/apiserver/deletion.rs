//! Taking objects away: gracefully where pods are concerned, with what they own, and without
//! leaving anything in a namespace that is gone.

use std::sync::Arc;

use jiff::SignedDuration;
use serde_json::Value;

use super::Server;
use super::clock::stamp;
use super::store::Key;
use super::value;

/// What becomes of the objects that a deleted one owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dependents {
    /// They are deleted too.
    Deleted,
    /// They stay, without an owner.
    Orphaned,
}

/// What a deletion came to.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The object is gone.
    Gone(Arc<Value>),
    /// The object is marked and goes soon.
    Going(Arc<Value>),
}

impl Server {
    /// Deletes an object; `grace` overrides how many seconds a pod has to end.
    pub(super) fn delete(
        &self,
        kind: &'static str,
        key: &Key,
        grace: Option<i64>,
        dependents: Dependents,
    ) -> Option<Outcome> {
        let object = self.store.get(kind, key)?;
        let going = match kind {
            "pods" => {
                let own = value::int(&object, "/spec/terminationGracePeriodSeconds");
                // A pod that no node has taken has nothing to end.
                let placed = value::has(&object, "/spec/nodeName");
                Some(grace.unwrap_or(own)).filter(|seconds| *seconds > 0 && placed)
            }
            "namespaces" => Some(0),
            _ if !value::list(&object, "/metadata/finalizers").is_empty() => Some(0),
            _ => None,
        };
        if let Some(seconds) = going {
            let marked = self.mark(kind, key, seconds)?;
            if kind != "pods" {
                self.release(&object, dependents);
            }
            return Some(Outcome::Going(marked));
        }
        let last = self.remove(kind, key)?;
        self.release(&last, dependents);
        Some(Outcome::Gone(last))
    }

    fn mark(&self, kind: &'static str, key: &Key, seconds: i64) -> Option<Arc<Value>> {
        let until = self
            .store
            .now()
            .checked_add(SignedDuration::from_secs(seconds))
            .unwrap_or_else(|_| self.store.now());
        self.store.update(kind, key, |object| {
            value::set_default(object, &["metadata", "deletionTimestamp"], stamp(until));
            if kind == "pods" {
                value::set(object, &["metadata", "deletionGracePeriodSeconds"], seconds);
            }
            if kind == "namespaces" {
                value::set(object, &["status", "phase"], "Terminating");
            }
        })
    }

    /// Takes an object out of the store at once.
    pub(super) fn remove(&self, kind: &'static str, key: &Key) -> Option<Arc<Value>> {
        let last = self.store.remove(kind, key)?;
        if kind == "pods" {
            self.runtime.stop_pod(value::uid(&last));
        }
        Some(last)
    }

    fn release(&self, owner: &Value, dependents: Dependents) {
        let uid = value::uid(owner);
        for kind in self.store.kinds() {
            for object in self.store.all(kind, None) {
                if !value::owned_by(&object, uid) {
                    continue;
                }
                let key = Key::of(&object);
                let owners = value::list(&object, "/metadata/ownerReferences").len();
                if owners == 1 && dependents == Dependents::Deleted {
                    self.delete(kind, &key, None, dependents);
                } else {
                    self.store.update(kind, &key, |object| disown(object, uid));
                }
            }
        }
    }

    /// Ends the namespaces that were deleted, with all that is in them. Whether any was.
    pub(super) fn finish_namespaces(&self) -> bool {
        let mut ended = false;
        for namespace in self.store.all("namespaces", None) {
            if !value::has(&namespace, "/metadata/deletionTimestamp") {
                continue;
            }
            let name = value::name(&namespace);
            for kind in self.store.kinds() {
                for object in self.store.all(kind, Some(name)) {
                    self.remove(kind, &Key::of(&object));
                }
            }
            self.remove("namespaces", &Key::new("", name));
            ended = true;
        }
        ended
    }
}

fn disown(object: &mut Value, uid: &str) {
    let metadata = &mut object["metadata"];
    if let Some(Value::Array(owners)) = metadata.get_mut("ownerReferences") {
        owners.retain(|owner| value::text(owner, "/uid") != uid);
        if owners.is_empty() {
            value::remove(metadata, &["ownerReferences"]);
        }
    }
}
