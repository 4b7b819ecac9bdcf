//! Watches: the changes of a kind as a stream of JSON lines.
//!
//! A watch has a place in the store's log and nothing else: it reads on when its consumer does, so
//! a slow consumer costs no memory, and one that is too slow is told that its place is gone.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::request::Form;
use super::resources::Resource;
use super::selectors::Selection;
use super::store::{Change, Store};
use super::{convert, table, value};
use crate::http::{Body, BodyError};

/// A watch that asks for bookmarks gets one at least this often.
const BOOKMARK_EVERY: Duration = Duration::from_mins(1);

/// Changes taken from the log at once.
const BATCH: usize = 256;

/// What a watch is about.
#[derive(Debug)]
pub(super) struct Watch {
    /// The store.
    pub(super) store: Arc<Store>,
    /// The kind.
    pub(super) resource: &'static Resource,
    /// The namespace; none for all.
    pub(super) namespace: Option<String>,
    /// The name; empty for all.
    pub(super) name: String,
    /// The selectors.
    pub(super) selection: Selection,
    /// The form of the objects.
    pub(super) form: Form,
    /// Whether rows of tables carry whole objects.
    pub(super) whole_rows: bool,
    /// Whether bookmarks are wanted.
    pub(super) bookmarks: bool,
    /// How long the watch lasts.
    pub(super) lasts: Duration,
}

/// Where a watch starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// After this version.
    After(u64),
    /// With what there is now.
    Now,
    /// With what there is now, and a bookmark that says when that is all.
    NowMarked,
}

struct State {
    watch: Watch,
    newest: tokio::sync::watch::Receiver<u64>,
    version: u64,
    lines: VecDeque<Vec<u8>>,
    ends: Instant,
    next_bookmark: Instant,
    columns_sent: bool,
    ended: bool,
}

impl Watch {
    /// The stream of events.
    pub(super) fn body(self, start: Start) -> Body {
        let newest = self.store.newest();
        let now = Instant::now();
        let mut state = State {
            newest,
            version: 0,
            lines: VecDeque::new(),
            ends: now + self.lasts,
            next_bookmark: now + BOOKMARK_EVERY,
            columns_sent: false,
            ended: false,
            watch: self,
        };
        match start {
            Start::After(version) => state.version = version,
            Start::Now | Start::NowMarked => state.initial(start == Start::NowMarked),
        }
        let frames = stream::unfold(state, |mut state| async move {
            let bytes = state.next().await?;
            Some((Ok::<_, BodyError>(Frame::data(bytes)), state))
        });
        StreamBody::new(frames).boxed_unsync()
    }

    fn covers(&self, object: &Value) -> bool {
        (self.name.is_empty() || value::name(object) == self.name)
            && self
                .namespace
                .as_deref()
                .is_none_or(|wanted| value::namespace(object) == wanted)
            && self.selection.matches(object)
    }

    /// An object may come into or go out of sight by a change of its labels: for the watch that
    /// is an addition or a deletion.
    fn event(&self, change: &Change) -> Option<(&'static str, Value)> {
        let was = change
            .before
            .as_ref()
            .is_some_and(|before| self.covers(before));
        let is = !change.deleted && self.covers(&change.object);
        match (was, is) {
            (false, true) => Some(("ADDED", Value::clone(&change.object))),
            (true, true) => Some(("MODIFIED", Value::clone(&change.object))),
            (true, false) => {
                let mut last = Value::clone(change.before.as_ref()?);
                last["metadata"]["resourceVersion"] = json!(change.version.to_string());
                Some(("DELETED", last))
            }
            (false, false) => None,
        }
    }
}

impl State {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if !self.lines.is_empty() {
                let lines: Vec<Vec<u8>> = self.lines.drain(..).collect();
                return Some(lines.concat().into());
            }
            if self.ended {
                return None;
            }
            self.newest.mark_unchanged();
            self.read_log();
            if !self.lines.is_empty() || self.ended {
                continue;
            }
            let wake = self.ends.min(self.next_bookmark);
            tokio::select! {
                changed = self.newest.changed() => self.ended = changed.is_err(),
                () = tokio::time::sleep_until(wake) => self.tick(),
            }
        }
    }

    fn tick(&mut self) {
        let now = Instant::now();
        self.ended = now >= self.ends;
        self.next_bookmark = now + BOOKMARK_EVERY;
        if self.watch.bookmarks {
            self.bookmark(false);
        }
    }

    fn initial(&mut self, marked: bool) {
        let watch = &self.watch;
        let (objects, version) =
            watch
                .store
                .list(watch.resource.key(), watch.namespace.as_deref(), None);
        self.version = version;
        for object in objects {
            if self.watch.covers(&object) {
                self.push("ADDED", &object);
            }
        }
        if marked {
            self.bookmark(true);
        }
    }

    fn read_log(&mut self) {
        let kind = self.watch.resource.key();
        match self.watch.store.changes(kind, self.version, BATCH) {
            Ok((changes, read_to)) => {
                self.version = read_to;
                for change in &changes {
                    if let Some((event, object)) = self.watch.event(change) {
                        self.push(event, &object);
                    }
                }
            }
            Err(oldest) => {
                let status = super::status::Status::expired(self.version, oldest).object();
                self.line(&json!({ "type": "ERROR", "object": status }));
                self.ended = true;
            }
        }
    }

    fn push(&mut self, event: &str, object: &Value) {
        let shown = self.shown(object);
        self.line(&json!({ "type": event, "object": shown }));
    }

    fn shown(&mut self, object: &Value) -> Value {
        let watch = &self.watch;
        match watch.form {
            Form::Object => convert::shown(watch.resource, object),
            Form::Metadata => table::partial(object),
            Form::Table => {
                let now = watch.store.now();
                let objects = [object];
                let mut table =
                    table::table(watch.resource, objects.into_iter(), now, watch.whole_rows);
                if self.columns_sent {
                    table["columnDefinitions"] = Value::Null;
                }
                self.columns_sent = true;
                table
            }
        }
    }

    fn bookmark(&mut self, initial_end: bool) {
        let resource = self.watch.resource;
        let mut object = json!({
            "apiVersion": resource.api_version(),
            "kind": resource.kind,
            "metadata": { "resourceVersion": self.version.to_string(), "creationTimestamp": null },
        });
        if initial_end {
            object["metadata"]["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
        }
        self.line(&json!({ "type": "BOOKMARK", "object": object }));
    }

    fn line(&mut self, event: &Value) {
        let mut line = event.to_string().into_bytes();
        line.push(b'\n');
        self.lines.push_back(line);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;
    use crate::apiserver::resources;
    use crate::apiserver::store::Key;

    fn watch(store: &Arc<Store>, labels: &str) -> Watch {
        Watch {
            store: store.clone(),
            resource: resources::known("configmaps"),
            namespace: Some("demo".to_owned()),
            name: String::new(),
            selection: Selection::parse("configmaps", labels, "").unwrap(),
            form: Form::Object,
            whole_rows: false,
            bookmarks: true,
            lasts: Duration::from_secs(90),
        }
    }

    fn object(name: &str, app: &str) -> Value {
        json!({ "metadata": { "namespace": "demo", "name": name, "labels": { "app": app } } })
    }

    async fn next(body: &mut Body) -> Vec<(String, String)> {
        let Some(frame) = body.frame().await else {
            return Vec::new();
        };
        let bytes = frame.unwrap().into_data().unwrap();
        serde_json::Deserializer::from_slice(&bytes)
            .into_iter::<Value>()
            .map(|event| {
                let event = event.unwrap();
                let of = |pointer: &str| value::text(&event, pointer).to_owned();
                (of("/type"), of("/object/metadata/name"))
            })
            .collect()
    }

    fn event(kind: &str, name: &str) -> Vec<(String, String)> {
        vec![(kind.to_owned(), name.to_owned())]
    }

    #[tokio::test]
    async fn what_there_is_comes_first_and_changes_follow() {
        let store = Arc::new(Store::new(0));
        store.insert("configmaps", object("a", "x")).unwrap();
        let mut body = watch(&store, "").body(Start::Now);
        assert_eq!(next(&mut body).await, event("ADDED", "a"));
        let added = store.insert("configmaps", object("b", "x")).unwrap();
        assert_eq!(next(&mut body).await, event("ADDED", "b"));
        store
            .replace("configmaps", &added, object("b", "y"))
            .unwrap();
        assert_eq!(next(&mut body).await, event("MODIFIED", "b"));
        store.remove("configmaps", &Key::new("demo", "b"));
        assert_eq!(next(&mut body).await, event("DELETED", "b"));
    }

    #[tokio::test]
    async fn a_selector_turns_changes_into_additions_and_deletions() {
        let store = Arc::new(Store::new(0));
        let made = store.insert("configmaps", object("a", "x")).unwrap();
        let mut body = watch(&store, "app=y").body(Start::After(store.version()));
        let moved = store
            .replace("configmaps", &made, object("a", "y"))
            .unwrap();
        assert_eq!(next(&mut body).await, event("ADDED", "a"));
        store
            .replace("configmaps", &moved, object("a", "x"))
            .unwrap();
        assert_eq!(next(&mut body).await, event("DELETED", "a"));
    }

    #[tokio::test(start_paused = true)]
    async fn bookmarks_come_while_nothing_happens_and_the_watch_ends_in_time() {
        let store = Arc::new(Store::new(0));
        let mut body = watch(&store, "").body(Start::After(store.version()));
        assert_eq!(next(&mut body).await, event("BOOKMARK", ""));
        assert_eq!(next(&mut body).await, event("BOOKMARK", ""));
        assert!(next(&mut body).await.is_empty());
    }

    #[tokio::test]
    async fn a_place_that_is_gone_ends_the_watch_with_expired() {
        let store = Arc::new(Store::new(0));
        for index in 0..5000 {
            store
                .insert("configmaps", object(&index.to_string(), "x"))
                .unwrap();
        }
        let mut body = watch(&store, "").body(Start::After(1));
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        let error: Value = serde_json::from_slice(&frame).unwrap();
        assert_eq!(error["object"]["code"], 410);
        assert_eq!(error["object"]["reason"], "Expired");
        assert!(body.frame().await.is_none());
    }
}
