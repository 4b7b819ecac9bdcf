//! Events are stored in the form of the core group and shown in that of `events.k8s.io` too.

use serde_json::{Value, json};

use super::resources::Resource;
use super::value;

const RENAMED: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("count", "deprecatedCount"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
];

fn is_converted(resource: &Resource) -> bool {
    resource.group == "events.k8s.io"
}

fn rename(object: &mut Value, forth: bool) {
    let fields = value::fields(object);
    for (stored, shown) in RENAMED {
        let (from, to) = if forth {
            (stored, shown)
        } else {
            (shown, stored)
        };
        if let Some(moved) = fields.remove(*from) {
            fields.insert((*to).to_owned(), moved);
        }
    }
}

/// The object as `resource` shows it.
pub(super) fn shown(resource: &Resource, object: &Value) -> Value {
    let mut object = object.clone();
    object["apiVersion"] = json!(resource.api_version());
    object["kind"] = json!(resource.kind);
    if is_converted(resource) {
        rename(&mut object, true);
    }
    object
}

/// The object as it is stored.
pub(super) fn stored(resource: &Resource, mut object: Value) -> Value {
    if is_converted(resource) {
        rename(&mut object, false);
        object["apiVersion"] = json!("v1");
    }
    object
}
