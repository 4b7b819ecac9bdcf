//! Kinds that are served in several versions: one form of each is stored, all are shown.

mod autoscalers;
mod events;

use serde_json::{Value, json};

use super::resources::{self, Resource};

/// How a version differs from the one that is stored.
struct Conversion {
    group: &'static str,
    version: &'static str,
    plural: &'static str,
    /// Group and version of the stored form.
    hub: (&'static str, &'static str),
    show: fn(&mut Value),
    store: fn(&mut Value),
}

const CONVERSIONS: &[Conversion] = &[
    Conversion {
        group: "events.k8s.io",
        version: "v1",
        plural: "events",
        hub: ("", "v1"),
        show: events::show,
        store: events::store,
    },
    Conversion {
        group: "autoscaling",
        version: "v1",
        plural: "horizontalpodautoscalers",
        hub: ("autoscaling", "v2"),
        show: autoscalers::show,
        store: autoscalers::store,
    },
];

fn conversion(resource: &Resource) -> Option<&'static Conversion> {
    CONVERSIONS.iter().find(|known| {
        known.plural == resource.plural
            && known.group == resource.group
            && known.version == resource.version
    })
}

/// The resource in whose form objects of `resource` are stored.
pub(super) fn hub(resource: &'static Resource) -> &'static Resource {
    conversion(resource)
        .and_then(|known| resources::find(known.hub.0, known.hub.1, known.plural))
        .unwrap_or(resource)
}

/// The object as `resource` shows it.
pub(super) fn shown(resource: &Resource, object: &Value) -> Value {
    let mut object = object.clone();
    object["apiVersion"] = json!(resource.api_version());
    object["kind"] = json!(resource.kind);
    if let Some(conversion) = conversion(resource) {
        (conversion.show)(&mut object);
    }
    object
}

/// The object as it is stored.
pub(super) fn stored(resource: &'static Resource, mut object: Value) -> Value {
    if let Some(conversion) = conversion(resource) {
        (conversion.store)(&mut object);
        object["apiVersion"] = json!(hub(resource).api_version());
    }
    object
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    #[test]
    fn every_conversion_is_between_kinds_that_are_served() {
        for known in CONVERSIONS {
            let resource = resources::find(known.group, known.version, known.plural).unwrap();
            let hub = hub(resource);
            assert_eq!((hub.group, hub.version), known.hub);
            assert_eq!(hub.key(), resource.key());
        }
    }
}
