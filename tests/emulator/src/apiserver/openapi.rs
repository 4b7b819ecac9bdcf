//! `OpenAPI` documents of what is served.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::sync::{Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::discovery;
use super::resources::{self, Resource};
use super::schema::schemas;

const REFERENCE: &str = "#/components/schemas/";

/// The index of the version 3 documents.
pub(super) fn index() -> Value {
    let mut paths = Map::new();
    for (group, version) in resources::group_versions() {
        let path = root(group, version);
        let document = document(&path).unwrap_or_default();
        let hash = Sha256::digest(&document)
            .iter()
            .fold(String::new(), |mut hash, byte| {
                let _ = write!(hash, "{byte:02X}");
                hash
            });
        let url = format!("/openapi/v3/{path}?hash={hash}");
        paths.insert(path, json!({ "serverRelativeURL": url }));
    }
    json!({ "paths": paths })
}

/// The version 3 document below a path such as `apis/apps/v1`, kept once it was made.
pub(super) fn document(path: &str) -> Option<Bytes> {
    static MADE: OnceLock<Mutex<HashMap<String, Bytes>>> = OnceLock::new();
    let made = MADE.get_or_init(Mutex::default);
    let mut made = made.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(document) = made.get(path) {
        return Some(document.clone());
    }
    let (group, version) = resources::group_versions()
        .into_iter()
        .find(|(group, version)| root(group, version) == path)?;
    let document = Bytes::from(build(group, version).to_string());
    made.insert(path.to_owned(), document.clone());
    Some(document)
}

/// A version 2 document that is valid and says little; kubectl reads version 3 first.
pub(super) fn swagger() -> Value {
    json!({
        "swagger": "2.0",
        "info": { "title": "Kubernetes", "version": discovery::version()["gitVersion"] },
        "paths": {},
        "definitions": {},
    })
}

/// The media type in which older kubectls want the version 2 document.
pub(super) const SWAGGER_PROTOBUF: &str =
    "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

/// The same in protobuf.
pub(super) fn swagger_protobuf() -> Vec<u8> {
    // Every part is shorter than 128 bytes, so that its length is one byte.
    let field = |number: u8, content: &[u8]| {
        let length = u8::try_from(content.len()).unwrap_or_default();
        [&[number << 3 | 2, length], content].concat()
    };
    let version = discovery::version();
    let version = version["gitVersion"].as_str().unwrap_or_default();
    let info = [field(1, b"Kubernetes"), field(2, version.as_bytes())].concat();
    let (paths, definitions) = (field(8, &[]), field(9, &[]));
    [field(1, b"2.0"), field(2, &info), paths, definitions].concat()
}

fn root(group: &str, version: &str) -> String {
    if group.is_empty() {
        format!("api/{version}")
    } else {
        format!("apis/{group}/{version}")
    }
}

fn build(group: &str, version: &str) -> Value {
    let mut paths = Map::new();
    let mut kinds = Map::new();
    let mut names = BTreeSet::new();
    for resource in resources::of(group, version) {
        collect(resource.schema, &mut names);
        let kind = kind_of(resource);
        kinds.insert(resource.schema.to_owned(), kind.clone());
        let base = if resource.namespaced {
            format!(
                "/{}/namespaces/{{namespace}}/{}",
                root(group, version),
                resource.plural
            )
        } else {
            format!("/{}/{}", root(group, version), resource.plural)
        };
        let mut collection = json!({ "post": operation(resource, &kind, "post") });
        if resource.stored {
            collection["get"] = operation(resource, &kind, "list");
            let one = json!({
                "get": operation(resource, &kind, "get"),
                "put": operation(resource, &kind, "put"),
                "patch": operation(resource, &kind, "patch"),
                "delete": operation(resource, &kind, "delete"),
            });
            paths.insert(format!("{base}/{{name}}"), one);
        }
        paths.insert(base, collection);
    }
    let mut components = Map::new();
    for name in names {
        if let Some(schema) = schemas().named(&name) {
            let mut schema = schema.clone();
            if let Some(kind) = kinds.get(&name) {
                schema["x-kubernetes-group-version-kind"] = json!([kind]);
            }
            components.insert(name, schema);
        }
    }
    json!({
        "openapi": "3.0.0",
        "info": { "title": "Kubernetes", "version": discovery::version()["gitVersion"] },
        "paths": paths,
        "components": { "schemas": components },
    })
}

fn kind_of(resource: &Resource) -> Value {
    json!({ "group": resource.group, "version": resource.version, "kind": resource.kind })
}

fn collect(name: &str, names: &mut BTreeSet<String>) {
    if !names.insert(name.to_owned()) {
        return;
    }
    if let Some(schema) = schemas().named(name) {
        collect_references(schema, names);
    }
}

fn collect_references(schema: &Value, names: &mut BTreeSet<String>) {
    match schema {
        Value::Object(fields) => {
            let reference = fields.get("$ref").and_then(Value::as_str);
            if let Some(name) = reference.and_then(|reference| reference.strip_prefix(REFERENCE)) {
                collect(name, names);
            }
            fields
                .values()
                .for_each(|field| collect_references(field, names));
        }
        Value::Array(items) => items
            .iter()
            .for_each(|item| collect_references(item, names)),
        _ => {}
    }
}

fn operation(resource: &Resource, kind: &Value, verb: &str) -> Value {
    let parameter = |name: &str| json!({ "name": name, "in": "query", "schema": { "type": "string", "uniqueItems": true } });
    let reference = json!({ "$ref": format!("{REFERENCE}{}", resource.schema) });
    let mut operation = json!({
        "x-kubernetes-action": verb,
        "x-kubernetes-group-version-kind": kind,
        "responses": { "200": {
            "description": "OK",
            "content": { "application/json": { "schema": reference } },
        } },
    });
    let names: &[&str] = match verb {
        "post" | "put" => &["dryRun", "fieldManager", "fieldValidation"],
        "patch" => &["dryRun", "fieldManager", "fieldValidation", "force"],
        "list" => &[
            "labelSelector",
            "fieldSelector",
            "limit",
            "continue",
            "watch",
        ],
        "delete" => &["dryRun", "gracePeriodSeconds", "propagationPolicy"],
        _ => &[],
    };
    operation["parameters"] = names.iter().map(|name| parameter(name)).collect();
    if verb == "patch" {
        let body = json!({ "schema": { "type": "object" } });
        operation["requestBody"] = json!({ "content": {
            "application/apply-patch+yaml": body,
            "application/json-patch+json": body,
            "application/merge-patch+json": body,
            "application/strategic-merge-patch+json": body,
        } });
    } else if verb == "post" || verb == "put" {
        operation["requestBody"] = json!({ "content": { "*/*": { "schema": reference } } });
    }
    operation
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    #[test]
    fn a_document_holds_all_that_it_refers_to() {
        for (group, version) in resources::group_versions() {
            let document = document(&root(group, version)).unwrap();
            let document: Value = serde_json::from_slice(&document).unwrap();
            let mut names = BTreeSet::new();
            collect_references(&document, &mut names);
            for name in names {
                assert!(
                    document["components"]["schemas"].get(&name).is_some(),
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn the_old_document_is_well_formed_in_protobuf() {
        let mut rest = swagger_protobuf();
        let mut numbers = Vec::new();
        while let [key, length, ..] = rest[..] {
            numbers.push(key >> 3);
            rest.drain(..2 + usize::from(length));
        }
        assert!(rest.is_empty());
        assert_eq!(numbers, [1, 2, 8, 9]);
    }

    #[test]
    fn the_index_leads_to_the_documents() {
        let index = index();
        let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"]
            .as_str()
            .unwrap();
        assert!(url.starts_with("/openapi/v3/apis/apps/v1?hash="));
        assert_eq!(document("apis/nothing/v1"), None);
    }
}
