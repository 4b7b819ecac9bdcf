//! Small GETs and lists of objects that never change.

use serde_json::{Value, json};

use super::super::board::Verdict;
use super::request::{Answer, Ask, ask};
use super::{Load, NAMESPACE, Shared};
use arc_emulator::pattern::Pattern;

/// How many objects there are.
pub(super) const OBJECTS: u64 = 20;

/// The text of an object, bytes.
const TEXT: usize = 1_500;

fn name(number: u64) -> String {
    format!("fixed-{number:02}")
}

fn text(number: u64) -> String {
    arc_emulator::names::hex(&Pattern::new(number).take(TEXT / 2))
}

/// An object as it is to be.
pub(super) fn object(number: u64) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name(number), "labels": {"soak": "fixed"}},
        "data": {"text": text(number)},
    })
}

/// GETs one object, over a connection of its own if it is to be as kubectl's are.
pub(super) async fn get(shared: &Shared, number: u64, object: u64, load: Load) -> bool {
    let path = format!("/api/v1/namespaces/{NAMESPACE}/configmaps/{}", name(object));
    let asked = Ask::get(load, path);
    let check = |answer: &Answer| {
        let found = expect_ok(answer)?;
        same(&found, object)
    };
    ask(&shared.board, &shared.line(number), &asked, check)
        .await
        .is_some()
}

/// Lists all objects, in pages if `limit` is not zero.
pub(super) async fn list(shared: &Shared, number: u64, limit: u64) {
    let line = shared.line(number);
    let mut found = Vec::new();
    let mut next = String::new();
    loop {
        let mut path =
            format!("/api/v1/namespaces/{NAMESPACE}/configmaps?labelSelector=soak%3Dfixed");
        if limit > 0 {
            path = format!("{path}&limit={limit}&continue={next}");
        }
        let asked = Ask::get(Load::List, path);
        let page = ask(&shared.board, &line, &asked, |answer| {
            let list = expect_ok(answer)?;
            let items = list["items"].as_array().cloned();
            let items = items.ok_or_else(|| Verdict::Wrong("a list without items".to_owned()))?;
            let from = found.len() as u64;
            for (item, number) in items.iter().zip(from..) {
                same(item, number)?;
            }
            let next = list["metadata"]["continue"].as_str().unwrap_or_default();
            if next.is_empty() && from + items.len() as u64 != OBJECTS {
                return Err(Verdict::Wrong(format!("a list of {} items", items.len())));
            }
            Ok((items, next.to_owned()))
        });
        let Some((items, more)) = page.await else {
            return;
        };
        found.extend(items);
        if more.is_empty() {
            return;
        }
        next = more;
    }
}

/// The JSON of an answer with 200 or 201.
pub(super) fn expect_ok(answer: &Answer) -> Result<Value, Verdict> {
    if answer.status.is_success() {
        answer.json()
    } else {
        Err(answer.unexpected())
    }
}

fn same(object: &Value, number: u64) -> Result<(), Verdict> {
    let found = &object["metadata"]["name"];
    if *found != json!(name(number)) {
        return Err(Verdict::Wrong(format!("{found} in place of {number}")));
    }
    if object["data"]["text"] != json!(text(number)) {
        return Err(Verdict::Wrong(format!("another text in {found}")));
    }
    Ok(())
}
