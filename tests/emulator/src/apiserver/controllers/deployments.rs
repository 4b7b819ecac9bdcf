//! The deployment controller: replica sets by template, revisions and rollouts.

use std::sync::Arc;

use serde_json::{Value, json};

use super::super::store::Key;
use super::super::{Server, clock, value};
use super::{events, pods};

const HASH: &str = "pod-template-hash";
const REVISION: &str = "deployment.kubernetes.io/revision";
const COMPONENT: &str = "deployment-controller";

pub(super) fn step(server: &Server) {
    for deployment in server.store.all("deployments", None) {
        if !value::has(&deployment, "/metadata/deletionTimestamp") {
            roll_out(server, &deployment);
        }
    }
}

fn roll_out(server: &Server, deployment: &Value) {
    let uid = value::uid(deployment);
    let mut sets = server
        .store
        .all("replicasets", Some(value::namespace(deployment)));
    sets.retain(|set| value::owned_by(set, uid));
    let template = &deployment["spec"]["template"];
    let paused = value::flag(deployment, "/spec/paused");
    let current = sets.iter().find(|set| is_made_of(set, template)).cloned();
    let newest = sets
        .iter()
        .map(|set| revision(set))
        .max()
        .unwrap_or_default();
    let wanted = value::int(deployment, "/spec/replicas");

    let current = match current {
        Some(set) if revision(&set) < newest && !paused => {
            number(server, &set, newest.saturating_add(1))
        }
        Some(set) => Some(set),
        None if paused => None,
        None => make_set(server, deployment, newest.saturating_add(1)),
    };
    if let Some(current) = &current {
        annotate(server, deployment, revision(current));
        if value::int(current, "/spec/replicas") != wanted {
            scale(server, deployment, current, wanted);
        }
        // The old pods go when the new ones stand in for them.
        let stands = value::int(current, "/status/availableReplicas") >= wanted;
        for old in sets
            .iter()
            .filter(|set| value::uid(set) != value::uid(current))
        {
            if stands && !paused && value::int(old, "/spec/replicas") > 0 {
                scale(server, deployment, old, 0);
            }
        }
    }
    forget_old(server, deployment, current.as_deref(), &sets);
    report(server, deployment, current.as_deref());
}

fn revision(set: &Value) -> i64 {
    set["metadata"]["annotations"][REVISION]
        .as_str()
        .and_then(|revision| revision.parse().ok())
        .unwrap_or_default()
}

fn is_made_of(set: &Value, template: &Value) -> bool {
    let mut made = set["spec"]["template"].clone();
    value::remove(&mut made, &["metadata", "labels", HASH]);
    made == *template
}

fn make_set(server: &Server, deployment: &Value, revision: i64) -> Option<Arc<Value>> {
    let mut template = deployment["spec"]["template"].clone();
    let hash = pods::template_hash(&template);
    value::set(&mut template, &["metadata", "labels", HASH], hash.clone());
    let mut selector = deployment["spec"]["selector"].clone();
    value::set(&mut selector, &["matchLabels", HASH], hash.clone());
    let mut annotations = deployment["metadata"]["annotations"].clone();
    let wanted = value::int(deployment, "/spec/replicas");
    for (key, given) in [
        (REVISION, revision.to_string()),
        (
            "deployment.kubernetes.io/desired-replicas",
            wanted.to_string(),
        ),
        (
            "deployment.kubernetes.io/max-replicas",
            (wanted + (wanted + 3) / 4).to_string(),
        ),
    ] {
        value::set(&mut annotations, &[key], given);
    }
    value::remove(
        &mut annotations,
        &["kubectl.kubernetes.io/last-applied-configuration"],
    );
    let set = json!({
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": format!("{}-{hash}", value::name(deployment)),
            "namespace": deployment["metadata"]["namespace"],
            "uid": server.store.uid(),
            "creationTimestamp": clock::stamp(server.store.now()),
            "generation": 1,
            "labels": template["metadata"]["labels"],
            "annotations": annotations,
            "ownerReferences": [value::controller_reference(deployment)],
        },
        "spec": { "replicas": 0, "selector": selector, "template": template },
        "status": { "replicas": 0, "observedGeneration": 1 },
    });
    server.store.insert("replicasets", set).ok()
}

fn number(server: &Server, set: &Value, revision: i64) -> Option<Arc<Value>> {
    server.store.update("replicasets", &Key::of(set), |set| {
        value::set(
            set,
            &["metadata", "annotations", REVISION],
            revision.to_string(),
        );
    })
}

fn annotate(server: &Server, deployment: &Value, revision: i64) {
    if self::revision(deployment) == revision {
        return;
    }
    server
        .store
        .update("deployments", &Key::of(deployment), |deployment| {
            value::set(
                deployment,
                &["metadata", "annotations", REVISION],
                revision.to_string(),
            );
        });
}

fn scale(server: &Server, deployment: &Value, set: &Value, replicas: i64) {
    let before = value::int(set, "/spec/replicas");
    server.store.update("replicasets", &Key::of(set), |set| {
        value::set(set, &["spec", "replicas"], replicas);
        let generation = value::int(set, "/metadata/generation") + 1;
        value::set(set, &["metadata", "generation"], generation);
    });
    let direction = if replicas > before { "up" } else { "down" };
    let message = format!(
        "Scaled {direction} replica set {} from {before} to {replicas}",
        value::name(set)
    );
    events::leave(server, deployment, COMPONENT, "ScalingReplicaSet", &message);
}

fn forget_old(server: &Server, deployment: &Value, current: Option<&Value>, sets: &[Arc<Value>]) {
    let limit =
        usize::try_from(value::int(deployment, "/spec/revisionHistoryLimit")).unwrap_or_default();
    let mut old: Vec<&Arc<Value>> = sets
        .iter()
        .filter(|set| current.is_none_or(|current| value::uid(current) != value::uid(set)))
        .filter(|set| {
            value::int(set, "/spec/replicas") == 0 && value::int(set, "/status/replicas") == 0
        })
        .collect();
    old.sort_by_key(|set| revision(set));
    let surplus = old.len().saturating_sub(limit);
    for set in &old[..surplus] {
        server.remove("replicasets", &Key::of(set));
    }
}

fn report(server: &Server, deployment: &Value, current: Option<&Value>) {
    let key = Key::of(deployment);
    let Some(deployment) = server.store.get("deployments", &key) else {
        return;
    };
    let uid = value::uid(&deployment);
    let mut sets = server.store.all("replicasets", Some(&key.namespace));
    sets.retain(|set| value::owned_by(set, uid));
    let sum = |field: &str| -> i64 { sets.iter().map(|set| value::int(set, field)).sum() };
    let updated = current
        .and_then(|current| {
            sets.iter()
                .find(|set| value::uid(set) == value::uid(current))
        })
        .cloned();
    let of_updated = |field: &str| updated.as_ref().map_or(0, |set| value::int(set, field));
    let wanted = value::int(&deployment, "/spec/replicas");
    let available = sum("/status/availableReplicas");
    let complete = of_updated("/status/availableReplicas") == wanted
        && sum("/status/replicas") == wanted
        && updated.is_some();
    let enough = available >= wanted - wanted / 4;
    let set_name = updated.as_ref().map_or("", |set| value::name(set));
    let availability = if enough {
        (
            "MinimumReplicasAvailable",
            "Deployment has minimum availability.",
        )
    } else {
        (
            "MinimumReplicasUnavailable",
            "Deployment does not have minimum availability.",
        )
    };
    let progress = if complete {
        (
            "NewReplicaSetAvailable",
            format!("ReplicaSet \"{set_name}\" has successfully progressed."),
        )
    } else {
        (
            "ReplicaSetUpdated",
            format!("ReplicaSet \"{set_name}\" is progressing."),
        )
    };
    let mut status = json!({
        "observedGeneration": deployment["metadata"]["generation"],
        "conditions": [
            pods::condition(server, &deployment, "Available", enough, availability.0, availability.1),
            pods::condition(server, &deployment, "Progressing", true, progress.0, &progress.1),
        ],
    });
    for (field, count) in [
        ("replicas", sum("/status/replicas")),
        ("updatedReplicas", of_updated("/status/replicas")),
        ("readyReplicas", sum("/status/readyReplicas")),
        ("availableReplicas", available),
        ("unavailableReplicas", (wanted - available).max(0)),
    ] {
        if count > 0 {
            status[field] = json!(count);
        }
    }
    pods::set_status(server, "deployments", &deployment, &status);
}
