//! What is served, as clients ask for it: group by group, or all at once.

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

use super::request::accepted;
use super::resources::{self, Resource, STORED_VERBS};
use crate::http::{Body, full, json as json_answer};

/// The version that the server says it is.
pub(super) fn version() -> Value {
    json!({
        "major": "1",
        "minor": "32",
        "gitVersion": "v1.32.4",
        "gitCommit": "59526cd4867447956156ae3a602fcbac10a2c335",
        "gitTreeState": "clean",
        "buildDate": "2025-04-22T15:56:18Z",
        "goVersion": "go1.23.6",
        "compiler": "gc",
        "platform": "linux/amd64",
    })
}

/// Answers a discovery path; none if it is no such path.
pub(super) fn answer(path: &str, headers: &HeaderMap) -> Option<Response<Body>> {
    let segments: Vec<&str> = path
        .split('/')
        .filter(|segment| !segment.is_empty())
        .collect();
    let document = match segments.as_slice() {
        ["api" | "apis"] => {
            let core = segments[0] == "api";
            if let Some(version) = aggregated_version(headers) {
                return Some(aggregated(core, version));
            }
            if core { core_versions() } else { groups() }
        }
        ["api", version] => resource_list("", version)?,
        ["apis", group] => group_document(group)?,
        ["apis", group, version] => resource_list(group, version)?,
        _ => return None,
    };
    Some(json_answer(StatusCode::OK, &document))
}

fn core_versions() -> Value {
    json!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{ "clientCIDR": "0.0.0.0/0", "serverAddress": "127.0.0.1" }],
    })
}

/// A group of which the first version is preferred.
fn group(name: &str, versions: &[&str]) -> Value {
    let versions: Vec<Value> = versions
        .iter()
        .map(|version| json!({ "groupVersion": format!("{name}/{version}"), "version": version }))
        .collect();
    json!({ "name": name, "versions": versions, "preferredVersion": versions[0] })
}

fn groups() -> Value {
    let groups: Vec<Value> = resources::groups()
        .iter()
        .filter(|(name, _)| !name.is_empty())
        .map(|(name, versions)| group(name, versions))
        .collect();
    json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups })
}

fn group_document(name: &str) -> Option<Value> {
    let groups = resources::groups();
    let (name, versions) = groups
        .iter()
        .find(|(known, _)| !known.is_empty() && *known == name)?;
    let mut document = group(name, versions);
    document["kind"] = json!("APIGroup");
    document["apiVersion"] = json!("v1");
    Some(document)
}

fn verbs(resource: &Resource) -> &'static [&'static str] {
    if resource.stored {
        STORED_VERBS
    } else {
        &["create"]
    }
}

fn resource_list(group: &str, version: &str) -> Option<Value> {
    let mut listed = Vec::new();
    for resource in resources::of(group, version) {
        let mut entry = json!({
            "name": resource.plural,
            "singularName": resource.singular,
            "namespaced": resource.namespaced,
            "kind": resource.kind,
            "verbs": verbs(resource),
        });
        if !resource.short.is_empty() {
            entry["shortNames"] = json!(resource.short);
        }
        if !resource.categories.is_empty() {
            entry["categories"] = json!(resource.categories);
        }
        listed.push(entry);
        for sub in resource.subresources {
            let (group, version, kind) = sub.kind;
            let mut entry = json!({
                "name": format!("{}/{}", resource.plural, sub.name),
                "singularName": "",
                "namespaced": resource.namespaced,
                "kind": kind,
                "verbs": sub.verbs,
            });
            if !version.is_empty() {
                entry["group"] = json!(group);
                entry["version"] = json!(version);
            }
            listed.push(entry);
        }
    }
    if listed.is_empty() {
        return None;
    }
    let group_version = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    Some(json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": group_version,
        "resources": listed,
    }))
}

/// The version of aggregated discovery that the client prefers to plain JSON.
fn aggregated_version(headers: &HeaderMap) -> Option<&'static str> {
    for offer in accepted(headers) {
        let mut parts = offer.split(';').map(str::trim);
        if parts.next() != Some("application/json") {
            continue;
        }
        let parts: Vec<&str> = parts.collect();
        if !parts.contains(&"as=APIGroupDiscoveryList") {
            return None;
        }
        if parts.contains(&"v=v2") {
            return Some("v2");
        }
        if parts.contains(&"v=v2beta1") {
            return Some("v2beta1");
        }
    }
    None
}

fn aggregated(core: bool, api_version: &str) -> Response<Body> {
    let items: Vec<Value> = resources::groups()
        .into_iter()
        .filter(|(group, _)| group.is_empty() == core)
        .map(|(group, versions)| {
            let of_version = |version| {
                let listed: Vec<Value> = resources::of(group, version).map(aggregated_resource).collect();
                json!({ "version": version, "freshness": "Current", "resources": listed })
            };
            json!({
                "metadata": { "name": if core { Value::Null } else { json!(group) }, "creationTimestamp": null },
                "versions": versions.into_iter().map(of_version).collect::<Vec<_>>(),
            })
        })
        .collect();
    let document = json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": format!("apidiscovery.k8s.io/{api_version}"),
        "metadata": {},
        "items": items,
    });
    let mut response = Response::new(full(document.to_string()));
    let media_type =
        format!("application/json;g=apidiscovery.k8s.io;v={api_version};as=APIGroupDiscoveryList");
    let headers = response.headers_mut();
    if let Ok(media_type) = HeaderValue::from_str(&media_type) {
        headers.insert(header::CONTENT_TYPE, media_type);
    }
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    response
}

fn aggregated_resource(resource: &Resource) -> Value {
    let response_kind = |group: &str, version: &str, kind: &str| json!({ "group": group, "version": version, "kind": kind });
    let subresources: Vec<Value> = resource
        .subresources
        .iter()
        .map(|sub| {
            let (group, version, kind) = match sub.kind {
                (_, "", kind) => (resource.group, resource.version, kind),
                foreign => foreign,
            };
            json!({
                "subresource": sub.name,
                "responseKind": response_kind(group, version, kind),
                "verbs": sub.verbs,
            })
        })
        .collect();
    let mut entry = json!({
        "resource": resource.plural,
        "responseKind": response_kind(resource.group, resource.version, resource.kind),
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": resource.singular,
        "verbs": verbs(resource),
    });
    if !resource.short.is_empty() {
        entry["shortNames"] = json!(resource.short);
    }
    if !resource.categories.is_empty() {
        entry["categories"] = json!(resource.categories);
    }
    if !subresources.is_empty() {
        entry["subresources"] = json!(subresources);
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(accept: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))])
    }

    #[test]
    fn aggregated_discovery_is_given_to_whom_it_is_asked_by() {
        for (accept, version) in [
            (
                "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json",
                Some("v2"),
            ),
            (
                "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json",
                Some("v2beta1"),
            ),
            ("application/json", None),
            ("*/*", None),
        ] {
            assert_eq!(aggregated_version(&headers(accept)), version, "{accept}");
        }
    }

    #[test]
    fn unknown_groups_are_no_discovery() {
        assert!(answer("/apis/nothing.example.com", &HeaderMap::new()).is_none());
        assert!(answer("/api/v2", &HeaderMap::new()).is_none());
        assert!(answer("/api/v1/pods", &HeaderMap::new()).is_none());
    }
}
