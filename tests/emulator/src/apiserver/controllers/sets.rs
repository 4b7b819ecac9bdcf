//! Stateful sets and daemon sets: pods with a place of their own.

use serde_json::{Value, json};

use super::super::Server;
use super::super::deletion::Dependents;
use super::super::store::Key;
use super::super::{clock, value};
use super::{events, pods};

const REVISION: &str = "controller-revision-hash";

/// One stateful set after the other.
pub(super) fn step_stateful(server: &Server) {
    for set in server.store.all("statefulsets", None) {
        stateful(server, &set);
    }
}

/// One daemon set after the other.
pub(super) fn step_daemon(server: &Server) {
    for set in server.store.all("daemonsets", None) {
        daemon(server, &set);
    }
}

/// The revision of the set's template, kept as an object for `kubectl rollout history`.
fn revision(server: &Server, set: &Value) -> String {
    let template = &set["spec"]["template"];
    let name = format!("{}-{}", value::name(set), pods::template_hash(template));
    let key = Key::new(value::namespace(set), &name);
    if server.store.get("controllerrevisions", &key).is_none() {
        let uid = value::uid(set);
        let newest = server
            .store
            .all("controllerrevisions", Some(&key.namespace))
            .iter()
            .filter(|known| value::owned_by(known, uid))
            .map(|known| value::int(known, "/revision"))
            .max()
            .unwrap_or_default();
        let mut kept = template.clone();
        kept["$patch"] = json!("replace");
        let object = json!({
            "apiVersion": "apps/v1",
            "kind": "ControllerRevision",
            "metadata": {
                "name": name,
                "namespace": key.namespace,
                "uid": server.store.uid(),
                "creationTimestamp": clock::stamp(server.store.now()),
                "labels": template["metadata"]["labels"],
                "ownerReferences": [value::controller_reference(set)],
            },
            "data": { "spec": { "template": kept } },
            "revision": newest.saturating_add(1),
        });
        // It was not there a moment ago, and nobody else makes these.
        let _ = server.store.insert("controllerrevisions", object);
    }
    name
}

fn is_current(pod: &Value, revision: &str) -> bool {
    pod["metadata"]["labels"][REVISION] == revision
}

fn stateful(server: &Server, set: &Value) {
    let revision = revision(server, set);
    let wanted = value::int(set, "/spec/replicas").min(pods::MOST);
    let namespace = value::namespace(set).to_owned();
    for ordinal in 0..wanted {
        let name = format!("{}-{ordinal}", value::name(set));
        let key = Key::new(&namespace, &name);
        match server.store.get("pods", &key) {
            Some(pod) if value::has(&pod, "/metadata/deletionTimestamp") => {}
            Some(pod) if !is_current(&pod, &revision) => {
                server.delete("pods", &key, None, Dependents::Deleted);
            }
            Some(_) => {}
            None => {
                pods::make(server, set, &name, |pod| {
                    let labels = ["metadata", "labels"];
                    value::set(pod, &[labels[0], labels[1], REVISION], revision.clone());
                    let own = "statefulset.kubernetes.io/pod-name";
                    value::set(pod, &[labels[0], labels[1], own], name.clone());
                    value::set(pod, &["spec", "hostname"], name.clone());
                });
                let message = format!(
                    "create Pod {name} in StatefulSet {} successful",
                    value::name(set)
                );
                events::leave(
                    server,
                    set,
                    "statefulset-controller",
                    "SuccessfulCreate",
                    &message,
                );
            }
        }
    }
    for pod in pods::of(server, set) {
        let ordinal = value::name(&pod)
            .rsplit('-')
            .next()
            .and_then(|last| last.parse::<i64>().ok());
        if ordinal.is_none_or(|ordinal| ordinal >= wanted) {
            server.delete("pods", &Key::of(&pod), None, Dependents::Deleted);
        }
    }
    let owned = pods::of(server, set);
    let ready = owned.iter().filter(|pod| pods::is_ready(pod)).count();
    let updated = owned
        .iter()
        .filter(|pod| is_current(pod, &revision))
        .count();
    let done = i64::try_from(updated) == Ok(wanted) && i64::try_from(ready) == Ok(wanted);
    let current = match value::text(set, "/status/currentRevision") {
        before if !done && !before.is_empty() => before.to_owned(),
        _ => revision.clone(),
    };
    let status = json!({
        "observedGeneration": set["metadata"]["generation"],
        "replicas": owned.len(),
        "readyReplicas": ready,
        "availableReplicas": ready,
        "currentReplicas": if done { owned.len() } else { owned.len() - updated },
        "updatedReplicas": updated,
        "currentRevision": current,
        "updateRevision": revision,
        "collisionCount": 0,
    });
    pods::set_status(server, "statefulsets", set, &status);
}

fn daemon(server: &Server, set: &Value) {
    let revision = revision(server, set);
    let hash = revision.rsplit('-').next().unwrap_or_default().to_owned();
    let nodes = server.store.all("nodes", None);
    let owned = pods::of(server, set);
    let mut going = server.store.all("pods", Some(value::namespace(set)));
    going.retain(|pod| {
        value::owned_by(pod, value::uid(set)) && value::has(pod, "/metadata/deletionTimestamp")
    });
    for node in &nodes {
        let node = value::name(node);
        let on_node = |pod: &Value| value::text(pod, "/spec/nodeName") == node;
        match owned.iter().find(|pod| on_node(pod)) {
            Some(pod) if !is_current(pod, &hash) => {
                server.delete("pods", &Key::of(pod), None, Dependents::Deleted);
            }
            Some(_) => {}
            None if going.iter().any(|pod| on_node(pod)) => {}
            None => {
                let name = format!("{}-{}", value::name(set), server.store.suffix());
                pods::make(server, set, &name, |pod| {
                    value::set(pod, &["metadata", "labels", REVISION], hash.clone());
                    value::set(pod, &["spec", "nodeName"], node);
                });
            }
        }
    }
    let owned = pods::of(server, set);
    let ready = owned.iter().filter(|pod| pods::is_ready(pod)).count();
    let updated = owned.iter().filter(|pod| is_current(pod, &hash)).count();
    let mut status = json!({
        "observedGeneration": set["metadata"]["generation"],
        "desiredNumberScheduled": nodes.len(),
        "currentNumberScheduled": owned.len(),
        "updatedNumberScheduled": updated,
        "numberReady": ready,
        "numberAvailable": ready,
        "numberMisscheduled": 0,
    });
    if nodes.len() > ready {
        status["numberUnavailable"] = json!(nodes.len() - ready);
    }
    pods::set_status(server, "daemonsets", set, &status);
}
