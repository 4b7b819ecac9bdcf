//! The schemas of the served kinds: which fields there are, and how lists and maps merge.
//!
//! The schemas are those of Kubernetes itself, by way of `k8s-openapi`; what that leaves out, the
//! merge rules of lists and maps, is added here, so that discovery, validation, strategic merge
//! and apply all read one source.

use std::sync::OnceLock;

use k8s_openapi::api;
use schemars::JsonSchema;
use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};

const REFERENCE: &str = "#/components/schemas/";

/// How a list takes part in merges.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum ListKind<'a> {
    /// As a whole.
    Atomic,
    /// Its elements are values without order of their own.
    Set,
    /// Its elements are objects, told apart by these fields.
    Map(Vec<&'a str>),
}

/// What a schema describes.
#[derive(Debug, Clone)]
pub(super) enum Shape<'a> {
    /// A scalar, or something that may be anything: merged as a whole.
    Leaf,
    /// An object with known fields.
    Struct(&'a Map<String, Value>),
    /// An object whose keys are data.
    Map(&'a Value),
    /// A list.
    List(&'a Value, ListKind<'a>),
}

/// The schemas of all served kinds.
#[derive(Debug)]
pub(super) struct Schemas {
    definitions: Map<String, Value>,
}

/// The schemas, made on first use.
pub(super) fn schemas() -> &'static Schemas {
    static SCHEMAS: OnceLock<Schemas> = OnceLock::new();
    SCHEMAS.get_or_init(Schemas::new)
}

impl Schemas {
    fn new() -> Self {
        let mut generator = SchemaSettings::openapi3().into_generator();
        generate(&mut generator);
        let mut definitions = generator.take_definitions(true);
        for definition in definitions.values_mut() {
            wrap_references(definition);
        }
        definitions.insert(
            "io.k8s.apimachinery.pkg.util.intstr.IntOrString".to_owned(),
            json!({
                "description": "IntOrString is a type that can hold an int32 or a string.",
                "type": "string",
                "format": "int-or-string",
            }),
        );
        for (definition, field, rule) in MERGE_RULES {
            for name in definitions_named(&definitions, definition) {
                if let Some(property) =
                    definitions[&name].pointer_mut(&format!("/properties/{field}"))
                {
                    rule.write(property);
                }
            }
        }
        for short in ATOMIC_STRUCTS {
            for name in definitions_named(&definitions, short) {
                definitions[&name]["x-kubernetes-map-type"] = json!("atomic");
            }
        }
        for definition in definitions.values_mut() {
            declare_lists_atomic(definition);
        }
        Self { definitions }
    }

    /// The schema of this name.
    pub(super) fn named(&self, name: &str) -> Option<&Value> {
        self.definitions.get(name)
    }

    /// What `schema` describes.
    pub(super) fn shape<'a>(&'a self, schema: Option<&'a Value>) -> Shape<'a> {
        let Some(schema) = schema.map(|schema| self.resolve(schema)) else {
            return Shape::Leaf;
        };
        if schema["x-kubernetes-map-type"] == "atomic" {
            return Shape::Leaf;
        }
        self.described(schema)
    }

    /// Like [`Schemas::shape`], but looks into what merges as a whole, too.
    pub(super) fn described<'a>(&'a self, schema: &'a Value) -> Shape<'a> {
        let schema = self.resolve(schema);
        if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
            return Shape::Struct(properties);
        }
        if let Some(values) = schema
            .get("additionalProperties")
            .filter(|values| values.is_object())
        {
            return Shape::Map(values);
        }
        match schema.get("items") {
            Some(items) => Shape::List(items, list_kind(schema)),
            None => Shape::Leaf,
        }
    }

    /// Follows references.
    pub(super) fn resolve<'a>(&'a self, schema: &'a Value) -> &'a Value {
        let reference = schema
            .get("$ref")
            .or_else(|| schema.pointer("/allOf/0/$ref"));
        reference
            .and_then(Value::as_str)
            .and_then(|reference| reference.strip_prefix(REFERENCE))
            .and_then(|name| self.definitions.get(name))
            .unwrap_or(schema)
    }
}

fn list_kind(schema: &Value) -> ListKind<'_> {
    match schema["x-kubernetes-list-type"].as_str() {
        Some("set") => ListKind::Set,
        Some("map") => ListKind::Map(
            schema["x-kubernetes-list-map-keys"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect(),
        ),
        _ => ListKind::Atomic,
    }
}

/// A reference beside a description is written as the real server writes it, because readers of
/// `OpenAPI` ignore what stands beside a bare reference.
fn wrap_references(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if fields.len() > 1
                && let Some(reference) = fields.remove("$ref")
            {
                fields.insert("allOf".to_owned(), json!([{ "$ref": reference }]));
                return;
            }
            for field in fields.values_mut() {
                wrap_references(field);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(wrap_references),
        _ => {}
    }
}

fn declare_lists_atomic(definition: &mut Value) {
    let Some(properties) = definition
        .get_mut("properties")
        .and_then(Value::as_object_mut)
    else {
        return;
    };
    for property in properties.values_mut() {
        if property["type"] == "array" && property.get("x-kubernetes-list-type").is_none() {
            property["x-kubernetes-list-type"] = json!("atomic");
        }
    }
}

fn definitions_named(definitions: &Map<String, Value>, suffix: &str) -> Vec<String> {
    let dotted = format!(".{suffix}");
    definitions
        .keys()
        .filter(|name| name.ends_with(&dotted))
        .cloned()
        .collect()
}

enum Rule {
    Keys(&'static [&'static str]),
    /// As `Keys`, and a patch keeps only the fields it names in the union.
    RetainingKeys(&'static [&'static str]),
    Set,
    AtomicMap,
    RetainKeys,
}

impl Rule {
    fn write(&self, property: &mut Value) {
        match self {
            Self::Keys(keys) | Self::RetainingKeys(keys) => {
                property["x-kubernetes-list-type"] = json!("map");
                property["x-kubernetes-list-map-keys"] = json!(keys);
                property["x-kubernetes-patch-merge-key"] = json!(keys[0]);
                property["x-kubernetes-patch-strategy"] = match self {
                    Self::RetainingKeys(_) => json!("merge,retainKeys"),
                    _ => json!("merge"),
                };
            }
            Self::Set => {
                property["x-kubernetes-list-type"] = json!("set");
                property["x-kubernetes-patch-strategy"] = json!("merge");
            }
            Self::AtomicMap => property["x-kubernetes-map-type"] = json!("atomic"),
            Self::RetainKeys => property["x-kubernetes-patch-strategy"] = json!("retainKeys"),
        }
    }
}

const CONTAINER_PORT: Rule = Rule::Keys(&["containerPort", "protocol"]);
const ENV: Rule = Rule::Keys(&["name"]);
const MOUNTS: Rule = Rule::Keys(&["mountPath"]);
const DEVICES: Rule = Rule::Keys(&["devicePath"]);
const CONDITIONS: Rule = Rule::Keys(&["type"]);
const NAMED: Rule = Rule::Keys(&["name"]);

const MERGE_RULES: &[(&str, &str, Rule)] = &[
    ("Container", "env", ENV),
    ("Container", "ports", CONTAINER_PORT),
    ("Container", "volumeDevices", DEVICES),
    ("Container", "volumeMounts", MOUNTS),
    ("EphemeralContainer", "env", ENV),
    ("EphemeralContainer", "ports", CONTAINER_PORT),
    ("EphemeralContainer", "volumeDevices", DEVICES),
    ("EphemeralContainer", "volumeMounts", MOUNTS),
    ("PodSpec", "containers", NAMED),
    ("PodSpec", "ephemeralContainers", NAMED),
    ("PodSpec", "hostAliases", Rule::Keys(&["ip"])),
    ("PodSpec", "imagePullSecrets", NAMED),
    ("PodSpec", "initContainers", NAMED),
    ("PodSpec", "nodeSelector", Rule::AtomicMap),
    ("PodSpec", "resourceClaims", Rule::RetainingKeys(&["name"])),
    ("PodSpec", "schedulingGates", NAMED),
    (
        "PodSpec",
        "topologySpreadConstraints",
        Rule::Keys(&["topologyKey", "whenUnsatisfiable"]),
    ),
    ("PodSpec", "volumes", Rule::RetainingKeys(&["name"])),
    ("PodStatus", "hostIPs", Rule::Keys(&["ip"])),
    ("PodStatus", "podIPs", Rule::Keys(&["ip"])),
    ("ServiceSpec", "ports", Rule::Keys(&["port", "protocol"])),
    ("ServiceSpec", "selector", Rule::AtomicMap),
    ("ReplicationControllerSpec", "selector", Rule::AtomicMap),
    ("ServiceAccount", "secrets", NAMED),
    ("NodeSpec", "podCIDRs", Rule::Set),
    ("NodeStatus", "addresses", CONDITIONS),
    ("Endpoint", "addresses", Rule::Set),
    ("ObjectMeta", "finalizers", Rule::Set),
    ("ObjectMeta", "ownerReferences", Rule::Keys(&["uid"])),
    ("DeploymentSpec", "strategy", Rule::RetainKeys),
    ("DaemonSetStatus", "conditions", CONDITIONS),
    ("DeploymentStatus", "conditions", CONDITIONS),
    ("HorizontalPodAutoscalerStatus", "conditions", CONDITIONS),
    ("NamespaceStatus", "conditions", CONDITIONS),
    ("NodeStatus", "conditions", CONDITIONS),
    ("PersistentVolumeClaimStatus", "conditions", CONDITIONS),
    ("PodDisruptionBudgetStatus", "conditions", CONDITIONS),
    ("PodStatus", "conditions", CONDITIONS),
    ("ReplicaSetStatus", "conditions", CONDITIONS),
    ("ReplicationControllerStatus", "conditions", CONDITIONS),
    ("ServiceStatus", "conditions", CONDITIONS),
    ("StatefulSetStatus", "conditions", CONDITIONS),
];

const ATOMIC_STRUCTS: &[&str] = &[
    "ConfigMapKeySelector",
    "CrossVersionObjectReference",
    "EndpointAddress",
    "LabelSelector",
    "LocalObjectReference",
    "NodeSelector",
    "NodeSelectorTerm",
    "ObjectFieldSelector",
    "ObjectReference",
    "ResourceFieldSelector",
    "RoleRef",
    "ScopeSelector",
    "SecretKeySelector",
    "SecretReference",
    "ServiceBackendPort",
    "Subject",
    "TypedLocalObjectReference",
];

fn generate(generator: &mut SchemaGenerator) {
    fn with<T: JsonSchema>(generator: &mut SchemaGenerator) {
        generator.subschema_for::<T>();
    }
    macro_rules! kinds {
        ($($module:path => $($kind:ident)*;)*) => {
            $({ use $module as module; $(with::<module::$kind>(generator);)* })*
        };
    }
    kinds! {
        api::core::v1 => ConfigMap Endpoints Event LimitRange Namespace Node PersistentVolumeClaim
            PersistentVolume Pod ReplicationController ResourceQuota Secret ServiceAccount Service;
        api::apps::v1 => ControllerRevision DaemonSet Deployment ReplicaSet StatefulSet;
        api::events::v1 => Event;
        api::authentication::v1 => SelfSubjectReview TokenReview TokenRequest;
        api::authorization::v1 => LocalSubjectAccessReview SelfSubjectAccessReview
            SelfSubjectRulesReview SubjectAccessReview;
        api::autoscaling::v1 => Scale HorizontalPodAutoscaler;
        api::autoscaling::v2 => HorizontalPodAutoscaler;
        api::batch::v1 => CronJob Job;
        api::networking::v1 => IngressClass Ingress NetworkPolicy;
        api::policy::v1 => PodDisruptionBudget Eviction;
        api::rbac::v1 => ClusterRoleBinding ClusterRole RoleBinding Role;
        api::storage::v1 => StorageClass;
        api::scheduling::v1 => PriorityClass;
        api::coordination::v1 => Lease;
        api::discovery::v1 => EndpointSlice;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::resources::RESOURCES;

    #[test]
    fn every_served_kind_has_a_schema() {
        for resource in RESOURCES {
            let schema = schemas().named(resource.schema);
            assert!(
                schema.is_some_and(|schema| schema["properties"].is_object()),
                "{}",
                resource.schema
            );
        }
    }

    #[test]
    fn every_merge_rule_meets_a_field() {
        for (definition, field, _) in MERGE_RULES {
            let met = definitions_named(&schemas().definitions, definition)
                .iter()
                .any(|name| {
                    schemas().definitions[name]["properties"]
                        .get(field)
                        .is_some()
                });
            assert!(met, "{definition}.{field}");
        }
    }
}
