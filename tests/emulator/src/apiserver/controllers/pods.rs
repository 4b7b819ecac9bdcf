//! What controllers have in common that make pods.

use std::sync::Arc;

use serde_json::{Value, json};

use super::super::resources::known;
use super::super::store::Key;
use super::super::{Server, clock, defaults, value};

/// Pods that one owner gets at most: a slip of the finger is not to fill the machine's memory.
pub(super) const MOST: i64 = 1000;

/// The pods that `owner` controls and that are not on their way out.
pub(super) fn of(server: &Server, owner: &Value) -> Vec<Arc<Value>> {
    let uid = value::uid(owner);
    let mut pods = server.store.all("pods", Some(value::namespace(owner)));
    pods.retain(|pod| value::owned_by(pod, uid) && !value::has(pod, "/metadata/deletionTimestamp"));
    pods
}

/// Whether a pod takes traffic.
pub(super) fn is_ready(pod: &Value) -> bool {
    value::list(pod, "/status/conditions")
        .iter()
        .any(|one| value::text(one, "/type") == "Ready" && value::text(one, "/status") == "True")
}

/// Makes a pod of the template of `owner`; `adjust` has the last word.
pub(super) fn make(server: &Server, owner: &Value, name: &str, adjust: impl FnOnce(&mut Value)) {
    let template = owner.pointer("/spec/template").unwrap_or(&Value::Null);
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": template["metadata"],
        "spec": template["spec"],
    });
    let metadata = [
        ("name", json!(name)),
        ("namespace", owner["metadata"]["namespace"].clone()),
        ("uid", json!(server.store.uid())),
        ("creationTimestamp", json!(clock::stamp(server.store.now()))),
        (
            "ownerReferences",
            json!([value::controller_reference(owner)]),
        ),
    ];
    for (field, given) in metadata {
        value::set(&mut pod, &["metadata", field], given);
    }
    if let Some(prefix) = name.rfind('-').map(|at| &name[..=at]) {
        value::set(&mut pod, &["metadata", "generateName"], prefix);
    }
    adjust(&mut pod);
    defaults::fill("pods", &mut pod, &server.store);
    // A random name that is taken is tried again with another one in the next step.
    let _ = server.store.insert(known("pods").key(), pod);
}

/// Writes the status of an object if it changed.
pub(super) fn set_status(server: &Server, kind: &'static str, object: &Value, status: &Value) {
    if object["status"] == *status {
        return;
    }
    server.store.update(kind, &Key::of(object), |object| {
        object["status"] = status.clone();
    });
}

/// A condition that keeps its times while its status stays.
pub(super) fn condition(
    server: &Server,
    object: &Value,
    kind: &str,
    status: bool,
    reason: &str,
    message: &str,
) -> Value {
    let status = if status { "True" } else { "False" };
    let now = clock::stamp(server.store.now());
    let before = value::list(object, "/status/conditions")
        .iter()
        .find(|known| value::text(known, "/type") == kind);
    let kept = |field: &str, still: bool| match before {
        Some(before) if still => before[field].clone(),
        _ => json!(now),
    };
    let same_status = before.is_some_and(|before| before["status"] == status);
    let same = same_status
        && before.is_some_and(|before| before["reason"] == reason && before["message"] == message);
    json!({
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": kept("lastTransitionTime", same_status),
        "lastUpdateTime": kept("lastUpdateTime", same),
    })
}

/// A name for a pod template that is the same for the same template.
pub(super) fn template_hash(template: &Value) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in template.to_string().bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    }
    (0..10)
        .map(|_| {
            let letter = hash % LETTERS.len() as u64;
            hash /= LETTERS.len() as u64;
            char::from(LETTERS[usize::try_from(letter).unwrap_or_default()])
        })
        .collect()
}
