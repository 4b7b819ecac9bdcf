//! Replica sets and replication controllers: as many pods as are wanted.

use serde_json::{Value, json};

use super::super::Server;
use super::super::deletion::Dependents;
use super::super::store::Key;
use super::super::value;
use super::{events, pods};

pub(super) fn step(server: &Server) {
    for (kind, component) in [
        ("replicasets", "replicaset-controller"),
        ("replicationcontrollers", "replication-controller"),
    ] {
        for set in server.store.all(kind, None) {
            keep(server, kind, component, &set);
        }
    }
}

fn keep(server: &Server, kind: &'static str, component: &str, set: &Value) {
    let mut owned = pods::of(server, set);
    owned.retain(|pod| !matches!(value::text(pod, "/status/phase"), "Succeeded" | "Failed"));
    let wanted = value::int(set, "/spec/replicas").min(pods::MOST);
    let wanted = usize::try_from(wanted).unwrap_or_default();
    // Pods that are not ready go first, and the youngest of the others.
    owned.sort_by_key(|pod| {
        let version: u64 = value::text(pod, "/metadata/resourceVersion")
            .parse()
            .unwrap_or_default();
        (!pods::is_ready(pod), version)
    });
    for pod in owned.iter().skip(wanted) {
        server.delete("pods", &Key::of(pod), None, Dependents::Deleted);
        let message = format!("Deleted pod: {}", value::name(pod));
        events::leave(server, set, component, "SuccessfulDelete", &message);
    }
    for _ in owned.len()..wanted {
        let name = format!("{}-{}", value::name(set), server.store.suffix());
        pods::make(server, set, &name, |_| {});
        let message = format!("Created pod: {name}");
        events::leave(server, set, component, "SuccessfulCreate", &message);
    }
    let owned = pods::of(server, set);
    let ready = owned.iter().filter(|pod| pods::is_ready(pod)).count();
    let mut status = json!({
        "replicas": owned.len(),
        "observedGeneration": set["metadata"]["generation"],
    });
    if !owned.is_empty() {
        status["fullyLabeledReplicas"] = json!(owned.len());
    }
    if ready > 0 {
        status["readyReplicas"] = json!(ready);
        status["availableReplicas"] = json!(ready);
    }
    pods::set_status(server, kind, set, &status);
}
