//! Writes whose objects carry an id, so that one that was done twice, or not at all, is found.
//!
//! A create asks for a generated name: done twice, it makes two objects of one id. A patch moves a
//! field: done twice, it is refused. A delete that is done twice does not find its object.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::super::Error;
use super::super::board::Verdict;
use super::super::endpoint::Line;
use super::request::{self, Ask, ask};
use super::small::expect_ok;
use super::{Load, NAMESPACE, Shared};

/// What is known of the object of an id.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    /// Its create failed: it may be there once.
    Unknown,
    /// It is there, by this name.
    Exists(String),
    /// Its delete failed: it may be there by this name, and by no other.
    Going(String),
    /// It is gone.
    Gone,
}

/// What has been written.
#[derive(Debug, Default)]
pub(super) struct Ledger(Mutex<HashMap<String, Fate>>);

impl Ledger {
    fn set(&self, id: &str, fate: Fate) {
        let mut fates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        fates.insert(id.to_owned(), fate);
    }

    /// Compares what is there with what was answered. `found` has id and name of each object.
    fn audit(&self, found: &[(String, String)]) -> Vec<String> {
        let fates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut names: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (id, name) in found {
            names.entry(id).or_default().push(name);
        }
        let mut faults = Vec::new();
        for (id, fate) in &*fates {
            let names = names.get(id.as_str()).map_or(&[][..], Vec::as_slice);
            let right = match fate {
                Fate::Unknown => names.len() <= 1,
                Fate::Exists(name) => names == [name.as_str()],
                Fate::Going(name) => names.is_empty() || names == [name.as_str()],
                Fate::Gone => names.is_empty(),
            };
            if !right {
                faults.push(format!("{id}: {fate:?}, and there is {names:?}"));
            }
        }
        faults
    }
}

/// Creates, reads, patches, reads and deletes one object.
pub(super) async fn sequence(shared: &Shared, number: u64) {
    let id = format!("{:x}-{number}", shared.seed);
    let line = shared.line(number);
    let collection = format!("/api/v1/namespaces/{NAMESPACE}/configmaps");
    shared.ledger.set(&id, Fate::Unknown);
    let Some(name) = create(shared, &line, &collection, &id).await else {
        return;
    };
    shared.ledger.set(&id, Fate::Exists(name.clone()));
    let path = format!("{collection}/{name}");
    read(shared, &line, &path, &id, &["before"]).await;
    let now: &[&str] = if patch(shared, &line, &path, &id).await {
        &["after"]
    } else {
        &["before", "after"]
    };
    read(shared, &line, &path, &id, now).await;
    shared.ledger.set(&id, Fate::Going(name));
    let asked = Ask {
        load: Load::Write,
        method: Method::DELETE,
        path,
        body: None,
    };
    if ask(&shared.board, &line, &asked, expect_ok).await.is_some() {
        shared.ledger.set(&id, Fate::Gone);
    }
}

async fn create(shared: &Shared, line: &Line, collection: &str, id: &str) -> Option<String> {
    let object = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"generateName": "written-", "labels": {"soak": "written", "soak-id": id}},
        "data": {"before": id},
    });
    let asked = Ask {
        load: Load::Write,
        method: Method::POST,
        path: collection.to_owned(),
        body: Some((object, "application/json")),
    };
    ask(&shared.board, line, &asked, |answer| {
        let created = expect_ok(answer)?;
        if answer.status != StatusCode::CREATED || created["metadata"]["labels"]["soak-id"] != id {
            return Err(Verdict::Wrong("another answer than a create's".to_owned()));
        }
        let name = created["metadata"]["name"].as_str();
        name.map(str::to_owned)
            .ok_or_else(|| Verdict::Wrong("an object without a name".to_owned()))
    })
    .await
}

/// GETs the object, which must hold its id under one of `keys` and nothing else.
async fn read(shared: &Shared, line: &Line, path: &str, id: &str, keys: &[&str]) {
    let asked = Ask::get(Load::Write, path);
    let check = |answer: &request::Answer| {
        let object = expect_ok(answer)?;
        if keys.iter().any(|key| object["data"] == json!({ *key: id })) {
            return Ok(());
        }
        let data = &object["data"];
        Err(Verdict::Wrong(format!("{data}, not {id} under {keys:?}")))
    };
    ask(&shared.board, line, &asked, check).await;
}

async fn patch(shared: &Shared, line: &Line, path: &str, id: &str) -> bool {
    let change = json!([{"op": "move", "from": "/data/before", "path": "/data/after"}]);
    let asked = Ask {
        load: Load::Write,
        method: Method::PATCH,
        path: path.to_owned(),
        body: Some((change, "application/json-patch+json")),
    };
    let check = |answer: &request::Answer| {
        let object = expect_ok(answer)?;
        if object["data"] == json!({ "after": id }) {
            Ok(())
        } else {
            Err(Verdict::Wrong(format!("{} patched", object["data"])))
        }
    };
    ask(&shared.board, line, &asked, check).await.is_some()
}

/// Compares what the apiserver has with what was answered.
pub(super) async fn audit(ledger: &Ledger, direct: &Line) -> Result<Vec<String>, Error> {
    let path = format!("/api/v1/namespaces/{NAMESPACE}/configmaps?labelSelector=soak%3Dwritten");
    let list = super::direct(direct, Method::GET, &path, None).await?;
    let items = list["items"].as_array().ok_or("a list without items")?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let found: Vec<_> = items
        .iter()
        .map(|item| {
            let metadata = &item["metadata"];
            (
                text(&metadata["labels"]["soak-id"]),
                text(&metadata["name"]),
            )
        })
        .collect();
    Ok(ledger.audit(&found))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn audit(fate: Fate, names: &[&str]) -> bool {
        let ledger = Ledger::default();
        ledger.set("id", fate);
        let found: Vec<_> = names
            .iter()
            .map(|name| ("id".to_owned(), (*name).to_owned()))
            .collect();
        ledger.audit(&found).is_empty()
    }

    #[test]
    fn an_answered_create_is_there_exactly_once() {
        let exists = || Fate::Exists("a".to_owned());
        assert!(audit(exists(), &["a"]));
        assert!(!audit(exists(), &[]));
        assert!(!audit(exists(), &["b"]));
        assert!(!audit(exists(), &["a", "b"]));
    }

    #[test]
    fn a_create_that_failed_is_there_at_most_once() {
        assert!(audit(Fate::Unknown, &[]));
        assert!(audit(Fate::Unknown, &["a"]));
        assert!(!audit(Fate::Unknown, &["a", "b"]));
    }

    #[test]
    fn a_deleted_object_has_no_twin() {
        assert!(audit(Fate::Gone, &[]));
        assert!(!audit(Fate::Gone, &["b"]));
        let going = || Fate::Going("a".to_owned());
        assert!(audit(going(), &[]));
        assert!(audit(going(), &["a"]));
        assert!(!audit(going(), &["b"]));
    }
}
