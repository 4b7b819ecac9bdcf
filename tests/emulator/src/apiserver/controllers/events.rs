//! Events that controllers leave about what they did.

use serde_json::{Value, json};

use super::super::store::Key;
use super::super::{Server, clock, value};

/// Leaves an event about `object`.
pub(super) fn leave(server: &Server, object: &Value, component: &str, reason: &str, message: &str) {
    record(server, object, component, "Normal", reason, message);
}

/// Leaves a warning about `object`.
pub(super) fn warn(server: &Server, object: &Value, component: &str, reason: &str, message: &str) {
    record(server, object, component, "Warning", reason, message);
}

fn record(
    server: &Server,
    object: &Value,
    component: &str,
    kind: &str,
    reason: &str,
    message: &str,
) {
    let namespace = match value::namespace(object) {
        "" => "default",
        namespace => namespace,
    };
    let now = clock::stamp(server.store.now());
    let name = format!("{}.{:016x}", value::name(object), server.store.random());
    let event = json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": server.store.uid(),
            "creationTimestamp": now,
        },
        "involvedObject": {
            "apiVersion": object["apiVersion"],
            "kind": object["kind"],
            "name": object["metadata"]["name"],
            "namespace": object["metadata"]["namespace"],
            "uid": object["metadata"]["uid"],
            "resourceVersion": object["metadata"]["resourceVersion"],
        },
        "reason": reason,
        "message": message,
        "source": { "component": component },
        "reportingComponent": component,
        "reportingInstance": "",
        "firstTimestamp": now,
        "lastTimestamp": now,
        "eventTime": null,
        "count": 1,
        "type": kind,
    });
    // A random name that is taken costs one event of a demo.
    let _ = server.store.insert("events", event);
    forget_old(server, namespace);
}

/// Events live for an hour on a real server; here the newest few hundred of a namespace do.
fn forget_old(server: &Server, namespace: &str) {
    const KEPT: usize = 300;
    let mut events = server.store.all("events", Some(namespace));
    if events.len() <= KEPT {
        return;
    }
    let version = |event: &Value| {
        value::text(event, "/metadata/resourceVersion")
            .parse::<u64>()
            .unwrap_or_default()
    };
    events.sort_by_key(|event| version(event));
    for event in &events[..events.len() - KEPT] {
        server.store.remove("events", &Key::of(event));
    }
}
