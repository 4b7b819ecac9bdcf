//! Who manages which fields: `metadata.managedFields`.

use serde_json::{Value, json};

use super::super::schema::schemas;
use super::super::value;
use super::fields::{self, FieldSet, flatten};

/// A manager's claim to fields.
#[derive(Debug, Clone)]
pub(super) struct Claim {
    /// The manager.
    pub(super) manager: String,
    /// `Apply` or `Update`.
    pub(super) operation: String,
    /// The version in which the fields are named.
    pub(super) api_version: String,
    /// The subresource that was written.
    pub(super) subresource: String,
    /// When the claim changed.
    pub(super) time: String,
    /// The fields.
    pub(super) fields: FieldSet,
}

impl Claim {
    fn read(entry: &Value) -> Self {
        let text = |pointer| value::text(entry, pointer).to_owned();
        Self {
            manager: text("/manager"),
            operation: text("/operation"),
            api_version: text("/apiVersion"),
            subresource: text("/subresource"),
            time: text("/time"),
            fields: fields::from_json(&entry["fieldsV1"]),
        }
    }

    fn written(&self) -> Value {
        let mut entry = json!({
            "manager": self.manager,
            "operation": self.operation,
            "apiVersion": self.api_version,
            "time": self.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": fields::to_json(&self.fields),
        });
        if !self.subresource.is_empty() {
            entry["subresource"] = json!(self.subresource);
        }
        entry
    }

    /// The manager as conflicts name it.
    pub(super) fn printed(&self) -> String {
        let mut printed = format!("{:?}", self.manager);
        if !self.subresource.is_empty() {
            printed.push_str(&format!(" with subresource {:?}", self.subresource));
        }
        if self.operation == "Update" {
            printed.push_str(&format!(" using {}", self.api_version));
            if !self.time.is_empty() {
                printed.push_str(&format!(" at {}", self.time));
            }
        }
        printed
    }
}

/// The claims on `object`.
pub(super) fn claims(object: &Value) -> Vec<Claim> {
    value::list(object, "/metadata/managedFields")
        .iter()
        .map(Claim::read)
        .collect()
}

/// Writes the claims to `object`; empty ones end.
pub(super) fn set_claims(object: &mut Value, claims: &[Claim]) {
    let written: Vec<Value> = claims
        .iter()
        .filter(|claim| !claim.fields.is_empty())
        .map(Claim::written)
        .collect();
    if written.is_empty() {
        value::remove(object, &["metadata", "managedFields"]);
    } else {
        value::set(object, &["metadata", "managedFields"], written);
    }
}

/// Who writes, and when.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Writer<'a> {
    /// The manager.
    pub(in super::super) manager: &'a str,
    /// The subresource that is written.
    pub(in super::super) subresource: &'a str,
    /// The time, as the API writes it.
    pub(in super::super) time: &'a str,
}

/// Notes on `after` that `writer` made it of `before` by a plain write.
pub(in super::super) fn note_update(
    schema: &str,
    before: Option<&Value>,
    after: &mut Value,
    writer: Writer<'_>,
) {
    let schema = schemas().named(schema);
    // A writer may drop the list, but not forge it.
    let emptied = after
        .pointer("/metadata/managedFields")
        .is_some_and(|given| *given == json!([]) || *given == json!([{}]));
    if emptied {
        value::remove(after, &["metadata", "managedFields"]);
        return;
    }
    let mut claims = match after.pointer("/metadata/managedFields") {
        Some(Value::Array(given)) => given.iter().map(Claim::read).collect(),
        _ => before.map(claims).unwrap_or_default(),
    };
    let old = before
        .map(|before| flatten(schemas(), schema, before))
        .unwrap_or_default();
    let new = flatten(schemas(), schema, after);
    let changed: FieldSet = new
        .iter()
        .filter(|(path, value)| old.get(*path) != Some(value))
        .map(|(path, _)| path.clone())
        .collect();
    let removed: FieldSet = old
        .keys()
        .filter(|path| !new.contains_key(*path))
        .cloned()
        .collect();
    let api_version = value::text(after, "/apiVersion").to_owned();
    let is_own = |claim: &Claim| {
        claim.manager == writer.manager
            && claim.operation == "Update"
            && claim.api_version == api_version
            && claim.subresource == writer.subresource
    };
    for claim in &mut claims {
        let own = is_own(claim);
        claim
            .fields
            .retain(|path| !removed.contains(path) && (own || !changed.contains(path)));
    }
    if !changed.is_empty() {
        let at = claims.iter().position(is_own).unwrap_or_else(|| {
            claims.push(Claim {
                manager: writer.manager.to_owned(),
                operation: "Update".to_owned(),
                api_version: api_version.clone(),
                subresource: writer.subresource.to_owned(),
                time: String::new(),
                fields: FieldSet::new(),
            });
            claims.len() - 1
        });
        claims[at].fields.extend(changed);
        writer.time.clone_into(&mut claims[at].time);
    }
    set_claims(after, &claims);
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG_MAP: &str = "io.k8s.api.core.v1.ConfigMap";

    fn writer(manager: &str) -> Writer<'_> {
        Writer {
            manager,
            subresource: "",
            time: "2026-01-01T00:00:00Z",
        }
    }

    #[test]
    fn a_write_takes_over_what_it_changes_and_no_more() {
        let mut first = json!({ "apiVersion": "v1", "data": { "a": "1", "b": "1" } });
        note_update(CONFIG_MAP, None, &mut first, writer("one"));
        let mut second = first.clone();
        second["data"]["b"] = json!("2");
        note_update(CONFIG_MAP, Some(&first), &mut second, writer("two"));
        let owned: Vec<_> = claims(&second)
            .into_iter()
            .map(|claim| (claim.manager, fields::to_json(&claim.fields)))
            .collect();
        assert_eq!(
            owned,
            [
                ("one".to_owned(), json!({ "f:data": { "f:a": {} } })),
                ("two".to_owned(), json!({ "f:data": { "f:b": {} } })),
            ]
        );
    }

    #[test]
    fn an_emptied_list_stays_empty() {
        let mut object = json!({ "apiVersion": "v1", "metadata": { "managedFields": [{}] }, "data": { "a": "1" } });
        note_update(CONFIG_MAP, None, &mut object, writer("one"));
        assert!(!value::has(&object, "/metadata/managedFields"));
    }
}
