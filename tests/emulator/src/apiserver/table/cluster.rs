//! Nodes, namespaces, storage and access rules.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::format::{age, count, joined, name, or};
use super::{Column, Printer, number, text as column, wide};
use crate::apiserver::value::{flag, list, map, text};

pub(super) fn printer(plural: &str) -> Option<Printer> {
    let (columns, cells): (Vec<Column>, fn(&Value, Timestamp) -> Vec<Value>) = match plural {
        "nodes" => (
            vec![
                column("Name"),
                column("Status"),
                column("Roles"),
                column("Age"),
                column("Version"),
                wide("Internal-IP"),
                wide("External-IP"),
                wide("OS-Image"),
                wide("Kernel-Version"),
                wide("Container-Runtime"),
            ],
            node,
        ),
        "namespaces" => (
            vec![column("Name"), column("Status"), column("Age")],
            |object, now| {
                vec![
                    name(object),
                    or(object, "/status/phase", ""),
                    age(object, now),
                ]
            },
        ),
        "persistentvolumes" => (
            vec![
                column("Name"),
                column("Capacity"),
                column("Access Modes"),
                column("Reclaim Policy"),
                column("Status"),
                column("Claim"),
                column("StorageClass"),
                column("VolumeAttributesClass"),
                column("Reason"),
                column("Age"),
                wide("VolumeMode"),
            ],
            volume,
        ),
        "persistentvolumeclaims" => (
            vec![
                column("Name"),
                column("Status"),
                column("Volume"),
                column("Capacity"),
                column("Access Modes"),
                column("StorageClass"),
                column("VolumeAttributesClass"),
                column("Age"),
                wide("VolumeMode"),
            ],
            claim,
        ),
        "storageclasses" => (
            vec![
                column("Name"),
                column("Provisioner"),
                column("ReclaimPolicy"),
                column("VolumeBindingMode"),
                column("AllowVolumeExpansion"),
                column("Age"),
            ],
            storage_class,
        ),
        "roles" | "clusterroles" | "limitranges" => {
            (vec![column("Name"), column("Created At")], |object, _| {
                vec![
                    name(object),
                    or(object, "/metadata/creationTimestamp", "<unknown>"),
                ]
            })
        }
        "rolebindings" | "clusterrolebindings" => (
            vec![
                column("Name"),
                column("Role"),
                column("Age"),
                wide("Users"),
                wide("Groups"),
                wide("ServiceAccounts"),
            ],
            binding,
        ),
        "leases" => (
            vec![column("Name"), column("Holder"), column("Age")],
            |object, now| {
                vec![
                    name(object),
                    or(object, "/spec/holderIdentity", ""),
                    age(object, now),
                ]
            },
        ),
        "priorityclasses" => (
            vec![
                column("Name"),
                number("Value"),
                column("Global-Default"),
                column("Age"),
            ],
            |object, now| {
                vec![
                    name(object),
                    count(object, "/value"),
                    json!(flag(object, "/globalDefault")),
                    age(object, now),
                ]
            },
        ),
        _ => return None,
    };
    Some(Printer { columns, cells })
}

fn node(node: &Value, now: Timestamp) -> Vec<Value> {
    let ready = list(node, "/status/conditions")
        .iter()
        .find(|condition| text(condition, "/type") == "Ready")
        .map_or("Unknown", |condition| {
            if text(condition, "/status") == "True" {
                "Ready"
            } else {
                "NotReady"
            }
        });
    let mut status = ready.to_owned();
    if flag(node, "/spec/unschedulable") {
        status.push_str(",SchedulingDisabled");
    }
    let roles = joined(
        map(node, "/metadata/labels")
            .into_iter()
            .flatten()
            .filter_map(|(key, _)| key.strip_prefix("node-role.kubernetes.io/")),
        "<none>",
    );
    let address = |wanted: &str| {
        list(node, "/status/addresses")
            .iter()
            .find(|address| text(address, "/type") == wanted)
            .map_or("<none>", |address| text(address, "/address"))
    };
    vec![
        name(node),
        json!(status),
        roles,
        age(node, now),
        or(node, "/status/nodeInfo/kubeletVersion", ""),
        json!(address("InternalIP")),
        json!(address("ExternalIP")),
        or(node, "/status/nodeInfo/osImage", "<unknown>"),
        or(node, "/status/nodeInfo/kernelVersion", "<unknown>"),
        or(
            node,
            "/status/nodeInfo/containerRuntimeVersion",
            "<unknown>",
        ),
    ]
}

fn access_modes(object: &Value, pointer: &str) -> Value {
    let short = |mode: &Value| match mode.as_str() {
        Some("ReadWriteOnce") => "RWO",
        Some("ReadOnlyMany") => "ROX",
        Some("ReadWriteMany") => "RWX",
        Some("ReadWriteOncePod") => "RWOP",
        _ => "",
    };
    joined(list(object, pointer).iter().map(short), "")
}

fn volume(object: &Value, now: Timestamp) -> Vec<Value> {
    let claim = match text(object, "/spec/claimRef/name") {
        "" => String::new(),
        claim => format!("{}/{claim}", text(object, "/spec/claimRef/namespace")),
    };
    vec![
        name(object),
        or(object, "/spec/capacity/storage", ""),
        access_modes(object, "/spec/accessModes"),
        or(object, "/spec/persistentVolumeReclaimPolicy", ""),
        or(object, "/status/phase", ""),
        json!(claim),
        or(object, "/spec/storageClassName", ""),
        or(object, "/spec/volumeAttributesClassName", "<unset>"),
        or(object, "/status/reason", ""),
        age(object, now),
        or(object, "/spec/volumeMode", "<unset>"),
    ]
}

fn claim(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        name(object),
        or(object, "/status/phase", ""),
        or(object, "/spec/volumeName", ""),
        or(object, "/status/capacity/storage", ""),
        access_modes(object, "/status/accessModes"),
        or(object, "/spec/storageClassName", ""),
        or(object, "/spec/volumeAttributesClassName", "<unset>"),
        age(object, now),
        or(object, "/spec/volumeMode", "<unset>"),
    ]
}

fn storage_class(object: &Value, now: Timestamp) -> Vec<Value> {
    let default = "/metadata/annotations/storageclass.kubernetes.io~1is-default-class";
    let marked = if text(object, default) == "true" {
        json!(format!(
            "{} (default)",
            crate::apiserver::value::name(object)
        ))
    } else {
        name(object)
    };
    vec![
        marked,
        or(object, "/provisioner", ""),
        or(object, "/reclaimPolicy", "Delete"),
        or(object, "/volumeBindingMode", "Immediate"),
        json!(flag(object, "/allowVolumeExpansion")),
        age(object, now),
    ]
}

fn binding(object: &Value, now: Timestamp) -> Vec<Value> {
    let of = |kind: &str| {
        let subjects: Vec<String> = list(object, "/subjects")
            .iter()
            .filter(|subject| text(subject, "/kind") == kind)
            .map(|subject| match text(subject, "/namespace") {
                "" => text(subject, "/name").to_owned(),
                namespace => format!("{namespace}/{}", text(subject, "/name")),
            })
            .collect();
        json!(subjects.join(", "))
    };
    vec![
        name(object),
        json!(format!(
            "{}/{}",
            text(object, "/roleRef/kind"),
            text(object, "/roleRef/name")
        )),
        age(object, now),
        of("User"),
        of("Group"),
        of("ServiceAccount"),
    ]
}
