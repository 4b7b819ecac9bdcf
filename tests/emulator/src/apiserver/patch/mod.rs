//! The four ways to change an object by a patch.

pub(super) mod apply;
pub(super) mod fields;
pub(super) mod managed;
pub(super) mod strategic;

use serde_json::Value;

use super::schema::schemas;
use super::status::{Result, Status};

/// A patch that is computed from the object alone; apply needs to know its manager too.
#[derive(Debug, Clone)]
pub(super) enum Patch {
    /// RFC 6902.
    Json(json_patch::Patch),
    /// RFC 7386.
    Merge(Value),
    /// Kubernetes' own, which merges lists by their keys.
    Strategic(Value),
}

impl Patch {
    /// Reads the body of a request of this media type.
    pub(super) fn parse(media_type: &str, body: &[u8]) -> Result<Self> {
        let unreadable = |error: serde_json::Error| {
            Status::bad_request(format!("error decoding patch: {error}"))
        };
        let patch = match media_type {
            "application/json-patch+json" => {
                Self::Json(serde_json::from_slice(body).map_err(unreadable)?)
            }
            "application/merge-patch+json" => {
                Self::Merge(serde_json::from_slice(body).map_err(unreadable)?)
            }
            "application/strategic-merge-patch+json" => {
                Self::Strategic(serde_json::from_slice(body).map_err(unreadable)?)
            }
            other => {
                return Err(Status::unsupported_media_type(
                    other,
                    "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml",
                ));
            }
        };
        Ok(patch)
    }

    /// The object that `object` becomes.
    pub(super) fn applied(&self, schema: &str, object: &Value) -> Result<Value> {
        let mut after = object.clone();
        match self {
            Self::Json(patch) => json_patch::patch(&mut after, patch).map_err(|error| {
                Status::unprocessable(format!(
                    "the server rejected our request due to an error in our request: {error}"
                ))
            })?,
            Self::Merge(patch) => json_patch::merge(&mut after, patch),
            Self::Strategic(patch) => {
                strategic::merge(schemas(), schemas().named(schema), &mut after, patch)
                    .map_err(Status::bad_request)?;
            }
        }
        if after.is_object() {
            Ok(after)
        } else {
            Err(Status::bad_request("the patch leaves no object"))
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use serde_json::json;

    use super::*;

    const CONFIG_MAP: &str = "io.k8s.api.core.v1.ConfigMap";

    fn patched(media_type: &str, patch: &Value) -> Result<Value> {
        let object = json!({ "data": { "a": "1", "b": "2" } });
        Patch::parse(media_type, patch.to_string().as_bytes())?.applied(CONFIG_MAP, &object)
    }

    #[test]
    fn json_and_merge_patches_follow_their_rfcs() {
        let json = json!([{ "op": "replace", "path": "/data/a", "value": "3" }]);
        let after = patched("application/json-patch+json", &json).unwrap();
        assert_eq!(after, json!({ "data": { "a": "3", "b": "2" } }));
        let merge = json!({ "data": { "a": null, "c": "3" } });
        let after = patched("application/merge-patch+json", &merge).unwrap();
        assert_eq!(after, json!({ "data": { "b": "2", "c": "3" } }));
    }

    #[test]
    fn a_patch_that_does_not_fit_is_refused() {
        let json = json!([{ "op": "test", "path": "/data/a", "value": "9" }]);
        let refused = patched("application/json-patch+json", &json).unwrap_err();
        assert_eq!(refused.code(), 422);
        let refused = patched("text/plain", &json!({})).unwrap_err();
        assert_eq!(refused.code(), 415);
    }
}
