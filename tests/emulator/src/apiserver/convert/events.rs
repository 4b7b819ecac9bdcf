//! Events are stored in the form of the core group and shown in that of `events.k8s.io` too.

use serde_json::Value;

use super::super::value;

const RENAMED: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("count", "deprecatedCount"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
];

pub(super) fn show(object: &mut Value) {
    for (stored, shown) in RENAMED {
        rename(object, stored, shown);
    }
}

pub(super) fn store(object: &mut Value) {
    for (stored, shown) in RENAMED {
        rename(object, shown, stored);
    }
}

fn rename(object: &mut Value, from: &str, to: &str) {
    let fields = value::fields(object);
    if let Some(moved) = fields.remove(from) {
        fields.insert(to.to_owned(), moved);
    }
}
