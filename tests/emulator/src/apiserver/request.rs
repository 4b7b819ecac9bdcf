//! What a request is about: its path, its query, and the form of answer it accepts.

use http::{HeaderMap, Method, header};
use percent_encoding::percent_decode_str;

use super::resources::{self, Resource};

/// An object or collection that a path names.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// The kind.
    pub(super) resource: &'static Resource,
    /// The namespace, empty for the whole cluster.
    pub(super) namespace: String,
    /// The name; empty for a collection.
    pub(super) name: String,
    /// What below the object; empty for the object itself.
    pub(super) subresource: String,
}

impl Target {
    /// Reads the path of a request; none if no kind is served there.
    pub(super) fn parse(path: &str) -> Option<Self> {
        let decoded: Vec<String> = path
            .split('/')
            .filter(|segment| !segment.is_empty())
            .map(|segment| percent_decode_str(segment).decode_utf8_lossy().into_owned())
            .collect();
        let segments: Vec<&str> = decoded.iter().map(String::as_str).collect();
        let (group, version, rest) = match segments.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return None,
        };
        let (namespace, rest) = match rest {
            // `namespaces/x/status` is about the namespace, `namespaces/x/pods` about its pods.
            ["namespaces", namespace, plural, ..]
                if resources::find(group, version, plural)
                    .is_some_and(|found| found.namespaced) =>
            {
                (*namespace, &rest[2..])
            }
            rest => ("", rest),
        };
        let (plural, name, subresource) = match rest {
            [plural] => (*plural, "", ""),
            [plural, name] => (*plural, *name, ""),
            [plural, name, subresource] => (*plural, *name, *subresource),
            _ => return None,
        };
        let resource = resources::find(group, version, plural)?;
        if !resource.namespaced && !namespace.is_empty() {
            return None;
        }
        if !subresource.is_empty() && resource.subresource(subresource).is_none() {
            return None;
        }
        Some(Self {
            resource,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            subresource: subresource.to_owned(),
        })
    }

    /// The namespace, if the target is in one.
    pub(super) fn in_namespace(&self) -> Option<&str> {
        (!self.namespace.is_empty()).then_some(self.namespace.as_str())
    }

    /// The verb of the request, as authorization names it.
    pub(super) fn verb(&self, method: &Method, query: &Query) -> &'static str {
        match *method {
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE if self.name.is_empty() => "deletecollection",
            Method::DELETE => "delete",
            _ if query.flag("watch") => "watch",
            _ if self.name.is_empty() => "list",
            _ => "get",
        }
    }
}

/// The query of a request.
#[derive(Debug, Clone, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads a raw query.
    pub(super) fn parse(raw: Option<&str>) -> Self {
        Self(
            url::form_urlencoded::parse(raw.unwrap_or_default().as_bytes())
                .into_owned()
                .collect(),
        )
    }

    /// The first value of `key`, or nothing's text.
    pub(super) fn text(&self, key: &str) -> &str {
        self.0
            .iter()
            .find(|(known, _)| known == key)
            .map(|(_, value)| value.as_str())
            .unwrap_or_default()
    }

    /// Whether `key` is set to something true.
    pub(super) fn flag(&self, key: &str) -> bool {
        self.0
            .iter()
            .any(|(known, value)| known == key && !matches!(value.as_str(), "false" | "0"))
    }

    /// The number that `key` is set to.
    pub(super) fn number(&self, key: &str) -> Option<u64> {
        self.text(key).parse().ok()
    }
}

/// The form in which an answer is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Whole objects.
    Object,
    /// A table to print.
    Table,
    /// Metadata alone.
    Metadata,
}

impl Form {
    /// The most wanted form among those that can be given.
    pub(super) fn accepted(headers: &HeaderMap) -> Self {
        for offer in accepted(headers) {
            let mut parts = offer.split(';').map(str::trim);
            if !matches!(
                parts.next(),
                Some("application/json" | "*/*" | "application/*" | "")
            ) {
                continue;
            }
            for part in parts {
                match part.strip_prefix("as=") {
                    Some("Table") => return Self::Table,
                    Some("PartialObjectMetadata" | "PartialObjectMetadataList") => {
                        return Self::Metadata;
                    }
                    _ => {}
                }
            }
            return Self::Object;
        }
        Self::Object
    }
}

/// The offers of the `Accept` header, in order.
pub(super) fn accepted(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(header::ACCEPT)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    fn parsed(path: &str) -> (String, String, String, String) {
        let target = Target::parse(path).unwrap();
        (
            target.resource.qualified(),
            target.namespace,
            target.name,
            target.subresource,
        )
    }

    fn parts(all: [&str; 4]) -> (String, String, String, String) {
        let [resource, namespace, name, subresource] = all.map(str::to_owned);
        (resource, namespace, name, subresource)
    }

    #[test]
    fn paths_name_objects_and_collections() {
        for (path, expected) in [
            ("/api/v1/pods", ["pods", "", "", ""]),
            ("/api/v1/namespaces", ["namespaces", "", "", ""]),
            ("/api/v1/namespaces/a", ["namespaces", "", "a", ""]),
            (
                "/api/v1/namespaces/a/status",
                ["namespaces", "", "a", "status"],
            ),
            ("/api/v1/namespaces/a/pods", ["pods", "a", "", ""]),
            ("/api/v1/namespaces/a/pods/b/log", ["pods", "a", "b", "log"]),
            (
                "/apis/apps/v1/namespaces/a/deployments/b/scale",
                ["deployments.apps", "a", "b", "scale"],
            ),
            (
                "/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode",
                [
                    "clusterroles.rbac.authorization.k8s.io",
                    "",
                    "system:node",
                    "",
                ],
            ),
        ] {
            assert_eq!(parsed(path), parts(expected), "{path}");
        }
    }

    #[test]
    fn other_paths_name_nothing() {
        for path in [
            "/",
            "/api/v1",
            "/api/v2/pods",
            "/api/v1/gadgets",
            "/api/v1/namespaces/a/nodes/b",
            "/api/v1/namespaces/a/pods/b/smell",
        ] {
            assert!(Target::parse(path).is_none(), "{path}");
        }
    }
}
