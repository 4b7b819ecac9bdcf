//! Which fields an object has, as sets of paths, and the `FieldsV1` form of those.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::super::schema::{ListKind, Schemas, Shape};

/// A path: its elements as `FieldsV1` writes them, like `f:spec` or `k:{"name":"web"}`.
pub(in super::super) type Path = Vec<String>;

/// A set of fields.
pub(in super::super) type FieldSet = BTreeSet<Path>;

/// The fields of `object` with their values; what only holds other fields has no value.
pub(in super::super) fn flatten(
    schemas: &Schemas,
    schema: Option<&Value>,
    object: &Value,
) -> BTreeMap<Path, Value> {
    let mut found = BTreeMap::new();
    walk(schemas, schema, object, &mut Vec::new(), &mut found);
    found.retain(|path, _| !is_bookkeeping(path));
    found
}

/// Identity and bookkeeping belong to no manager.
fn is_bookkeeping(path: &[String]) -> bool {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    match path.as_slice() {
        ["f:apiVersion" | "f:kind" | "f:metadata"] => true,
        ["f:metadata", field, ..] => matches!(
            *field,
            "f:name"
                | "f:namespace"
                | "f:uid"
                | "f:resourceVersion"
                | "f:generation"
                | "f:creationTimestamp"
                | "f:selfLink"
                | "f:managedFields"
        ),
        _ => false,
    }
}

fn walk(
    schemas: &Schemas,
    schema: Option<&Value>,
    value: &Value,
    path: &mut Path,
    found: &mut BTreeMap<Path, Value>,
) {
    match (schemas.shape(schema), value) {
        (_, Value::Null) => {}
        (Shape::Struct(properties), Value::Object(fields)) => {
            for (key, field) in fields {
                path.push(format!("f:{key}"));
                if is_empty(field) {
                    found.insert(path.clone(), field.clone());
                }
                walk(schemas, properties.get(key), field, path, found);
                path.pop();
            }
        }
        (Shape::Map(values), Value::Object(fields)) => {
            for (key, field) in fields {
                path.push(format!("f:{key}"));
                walk(schemas, Some(values), field, path, found);
                found.entry(path.clone()).or_insert(Value::Null);
                path.pop();
            }
        }
        (Shape::List(items, kind), Value::Array(elements)) if kind != ListKind::Atomic => {
            for element in elements {
                path.push(element_key(&kind, element));
                if kind != ListKind::Set {
                    walk(schemas, Some(items), element, path, found);
                }
                found.entry(path.clone()).or_insert(Value::Null);
                path.pop();
            }
        }
        _ => {
            found.insert(path.clone(), value.clone());
        }
    }
}

fn is_empty(value: &Value) -> bool {
    value.as_object().is_some_and(Map::is_empty)
}

/// What tells `element` from the others of its list.
pub(super) fn element_key(kind: &ListKind<'_>, element: &Value) -> String {
    match kind {
        ListKind::Map(keys) => {
            let mut identity = Map::new();
            for key in keys {
                // The one key field that has a default in the schemas of Kubernetes.
                let default = if *key == "protocol" {
                    json!("TCP")
                } else {
                    Value::Null
                };
                let value = element.get(*key).cloned().unwrap_or(default);
                identity.insert((*key).to_owned(), value);
            }
            format!("k:{}", Value::Object(identity))
        }
        _ => format!("v:{element}"),
    }
}

/// Writes a set as `FieldsV1`.
pub(super) fn to_json(set: &FieldSet) -> Value {
    let mut root = json!({});
    for path in set {
        let mut at = &mut root;
        for element in path {
            at = super::super::value::fields(at)
                .entry(element.clone())
                .or_insert_with(|| json!({}));
        }
    }
    // A field that is a member and holds others says so by a dot; the walk above cannot tell
    // because the order of paths puts a parent before its children.
    for path in set {
        let mut at = &mut root;
        for element in path {
            at = &mut at[element.as_str()];
        }
        if !is_empty(at) {
            at["."] = json!({});
        }
    }
    root
}

/// Reads `FieldsV1`.
pub(super) fn from_json(fields: &Value) -> FieldSet {
    fn read(fields: &Value, path: &mut Path, set: &mut FieldSet) {
        let Some(fields) = fields.as_object() else {
            return;
        };
        if fields.is_empty() && !path.is_empty() {
            set.insert(path.clone());
        }
        for (key, below) in fields {
            if key == "." {
                set.insert(path.clone());
                continue;
            }
            path.push(key.clone());
            read(below, path, set);
            path.pop();
        }
    }
    let mut set = FieldSet::new();
    read(fields, &mut Vec::new(), &mut set);
    set
}

/// The path as conflicts print it: `.spec.containers[name="web"].image`.
pub(super) fn printed(path: &[String]) -> String {
    let mut printed = String::new();
    for element in path {
        if let Some(field) = element.strip_prefix("f:") {
            printed.push('.');
            printed.push_str(field);
        } else if let Some(identity) = element.strip_prefix("k:") {
            let identity: Map<String, Value> = serde_json::from_str(identity).unwrap_or_default();
            let terms: Vec<String> = identity
                .iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect();
            printed.push_str(&format!("[{}]", terms.join(",")));
        } else if let Some(value) = element.strip_prefix("v:") {
            printed.push_str(&format!("[={value}]"));
        }
    }
    printed
}

#[cfg(test)]
mod tests {
    use super::super::super::schema::schemas;
    use super::*;

    #[test]
    fn fields_are_written_as_the_real_server_writes_them() {
        let deployment = json!({
            "metadata": { "name": "web", "labels": { "app": "web" } },
            "spec": {
                "selector": { "matchLabels": { "app": "web" } },
                "template": { "spec": { "containers": [{
                    "name": "web",
                    "image": "nginx",
                    "ports": [{ "containerPort": 80 }],
                    "args": ["a"],
                }] } },
            },
        });
        let schema = schemas().named("io.k8s.api.apps.v1.Deployment");
        let set: FieldSet = flatten(schemas(), schema, &deployment)
            .into_keys()
            .collect();
        let written = to_json(&set);
        let expected = json!({
            "f:metadata": { "f:labels": { "f:app": {} } },
            "f:spec": {
                "f:selector": {},
                "f:template": { "f:spec": { "f:containers": { "k:{\"name\":\"web\"}": {
                    ".": {},
                    "f:args": {},
                    "f:image": {},
                    "f:name": {},
                    "f:ports": { "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": { ".": {}, "f:containerPort": {} } },
                } } } },
            },
        });
        assert_eq!(written, expected);
        assert_eq!(from_json(&written), set);
    }

    #[test]
    fn paths_print_with_their_keys() {
        let path = ["f:spec", "k:{\"name\":\"web\"}", "f:image"].map(str::to_owned);
        assert_eq!(printed(&path), ".spec[name=\"web\"].image");
    }
}
