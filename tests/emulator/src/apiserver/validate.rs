//! What the server refuses: bad names, unknown fields, and objects that break their kind's rules.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::resources::Resource;
use super::schema::{Shape, schemas};
use super::selectors::Selection;
use super::status::{Cause, Result, Status};
use super::value;

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SERVICE: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";

/// Refuses a name that the kind does not allow.
pub(super) fn name(resource: &Resource, object: &Value) -> Result<()> {
    let name = value::name(object);
    if name.is_empty() {
        let why = "name or generateName is required";
        return Err(Status::invalid(
            resource,
            name,
            &[Cause::required("metadata.name", why)],
        ));
    }
    let is_label = |text: &str| {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        !text.is_empty()
            && text.chars().all(plain)
            && !text.starts_with('-')
            && !text.ends_with('-')
    };
    let broken = match resource.plural {
        "namespaces" => (!is_label(name)).then_some(LABEL),
        "services" => {
            let fits = is_label(name) && name.starts_with(|c: char| c.is_ascii_lowercase());
            (!fits).then_some(SERVICE)
        }
        _ if resource.group == "rbac.authorization.k8s.io" => name
            .contains(['/', '%'])
            .then_some("may not contain '/' or '%'"),
        _ => (!name.split('.').all(is_label)).then_some(SUBDOMAIN),
    };
    let limit = if matches!(resource.plural, "namespaces" | "services") {
        63
    } else {
        253
    };
    let long = format!("must be no more than {limit} characters");
    let broken = broken.or_else(|| (name.len() > limit).then_some(long.as_str()));
    match broken {
        Some(why) => {
            let cause = Cause::invalid("metadata.name", &json!(name), why);
            Err(Status::invalid(resource, name, &[cause]))
        }
        None => Ok(()),
    }
}

/// The fields of `object` that its schema does not know, and values of the wrong type.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Decoding {
    /// Paths of unknown fields.
    pub(super) unknown: Vec<String>,
    /// What is wrong with the first value of a wrong type.
    pub(super) mistyped: Option<String>,
}

/// Compares `object` with the schema of its kind.
pub(super) fn decode(schema: &str, object: &Value) -> Decoding {
    let mut decoding = Decoding::default();
    if let Some(found) = schemas().named(schema) {
        let kind = schema.rsplit('.').next().unwrap_or_default();
        compare(found, object, &mut String::new(), kind, &mut decoding);
    }
    decoding
}

fn compare(schema: &Value, object: &Value, path: &mut String, kind: &str, decoding: &mut Decoding) {
    let resolved = schemas().resolve(schema);
    let length = path.len();
    match (schemas().described(schema), object) {
        (_, Value::Null) => {}
        (Shape::Struct(properties), Value::Object(fields)) => {
            for (key, field) in fields {
                if length > 0 {
                    path.push('.');
                }
                path.push_str(key);
                match properties.get(key) {
                    Some(property) => compare(property, field, path, kind, decoding),
                    None => decoding.unknown.push(path.clone()),
                }
                path.truncate(length);
            }
        }
        (Shape::Map(values), Value::Object(fields)) => {
            for (key, field) in fields {
                path.push('.');
                path.push_str(key);
                compare(values, field, path, kind, decoding);
                path.truncate(length);
            }
        }
        (Shape::List(items, _), Value::Array(elements)) => {
            for (index, element) in elements.iter().enumerate() {
                let _ = write!(path, "[{index}]");
                compare(items, element, path, kind, decoding);
                path.truncate(length);
            }
        }
        _ => {
            if decoding.mistyped.is_none()
                && let Some(go) = go_type(resolved, object)
            {
                let plain: String = path
                    .split('[')
                    .map(|part| part.split_once(']').map_or(part, |(_, rest)| rest))
                    .collect();
                decoding.mistyped = Some(format!(
                    "json: cannot unmarshal {} into Go struct field {kind}.{plain} of type {go}",
                    json_type(object)
                ));
            }
        }
    }
}

/// The Go type that `value` should have had, if it has not.
fn go_type(schema: &Value, value: &Value) -> Option<&'static str> {
    let format = schema["format"].as_str().unwrap_or_default();
    match schema["type"].as_str()? {
        "string" if format == "int-or-string" => None,
        // Quantities may be written as numbers.
        "string" if schema["properties"].is_null() && value.is_number() && format.is_empty() => {
            let description = schema["description"].as_str().unwrap_or_default();
            (!description.starts_with("Quantity")).then_some("string")
        }
        "string" => (!value.is_string()).then_some("string"),
        "integer" if format == "int64" => (!value.is_i64()).then_some("int64"),
        "integer" => {
            let fits = value
                .as_i64()
                .is_some_and(|number| i32::try_from(number).is_ok());
            (!fits).then_some("int32")
        }
        "boolean" => (!value.is_boolean()).then_some("bool"),
        "object" => (!value.is_object()).then_some("map[string]interface {}"),
        "array" => (!value.is_array()).then_some("[]interface {}"),
        _ => None,
    }
}

fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Refuses an object that breaks the rules of its kind.
pub(super) fn object(resource: &Resource, object: &Value, before: Option<&Value>) -> Result<()> {
    let mut causes = Vec::new();
    match resource.plural {
        "pods" => pod(object, before, &mut causes),
        "deployments" | "replicasets" | "statefulsets" | "daemonsets" => {
            workload(object, before, &mut causes);
        }
        "jobs" => pod_spec(object, "spec.template.spec", &mut causes),
        "services" => {
            let headless = value::text(object, "/spec/type") == "ExternalName"
                || value::text(object, "/spec/clusterIP") == "None";
            if value::list(object, "/spec/ports").is_empty() && !headless {
                causes.push(Cause::required("spec.ports", ""));
            }
        }
        "configmaps" | "secrets" => {
            if let Some(before) = before
                && value::flag(before, "/immutable")
                && before["data"] != object["data"]
            {
                let why = "field is immutable when `immutable` is set";
                causes.push(Cause::forbidden("data", why));
            }
        }
        "rolebindings" | "clusterrolebindings" => {
            if let Some(before) = before
                && before["roleRef"] != object["roleRef"]
            {
                let why = "cannot change roleRef";
                causes.push(Cause::invalid("roleRef", &object["roleRef"], why));
            }
        }
        _ => {}
    }
    if causes.is_empty() {
        Ok(())
    } else {
        Err(Status::invalid(resource, value::name(object), &causes))
    }
}

fn workload(object: &Value, before: Option<&Value>, causes: &mut Vec<Cause>) {
    if !value::has(object, "/spec/selector") {
        causes.push(Cause::required("spec.selector", ""));
    } else if !Selection::of_object(&object["spec"]["selector"])
        .matches(&object["spec"]["template"])
    {
        let labels = object
            .pointer("/spec/template/metadata/labels")
            .unwrap_or(&Value::Null);
        let why = "`selector` does not match template `labels`";
        causes.push(Cause::invalid("spec.template.metadata.labels", labels, why));
    }
    if let Some(before) = before
        && before["spec"]["selector"] != object["spec"]["selector"]
    {
        let selector = &object["spec"]["selector"];
        causes.push(Cause::invalid(
            "spec.selector",
            selector,
            "field is immutable",
        ));
    }
    if value::int(object, "/spec/replicas") < 0 {
        let why = "must be greater than or equal to 0";
        causes.push(Cause::invalid(
            "spec.replicas",
            &object["spec"]["replicas"],
            why,
        ));
    }
    pod_spec(object, "spec.template.spec", causes);
}

fn pod_spec(object: &Value, path: &str, causes: &mut Vec<Cause>) {
    let spec = object
        .pointer(&format!("/{}", path.replace('.', "/")))
        .unwrap_or(&Value::Null);
    let containers = value::list(spec, "/containers");
    if containers.is_empty() {
        causes.push(Cause::required(format!("{path}.containers"), ""));
    }
    for (index, container) in containers.iter().enumerate() {
        for field in ["name", "image"] {
            if container[field].as_str().unwrap_or_default().is_empty() {
                causes.push(Cause::required(
                    format!("{path}.containers[{index}].{field}"),
                    "",
                ));
            }
        }
    }
}

const POD_UPDATE: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

fn pod(object: &Value, before: Option<&Value>, causes: &mut Vec<Cause>) {
    pod_spec(object, "spec", causes);
    let Some(before) = before else { return };
    let fixed = |pod: &Value| {
        let mut spec = pod["spec"].clone();
        for list in ["containers", "initContainers"] {
            let containers = spec.get_mut(list).and_then(Value::as_array_mut);
            for container in containers.into_iter().flatten() {
                value::remove(container, &["image"]);
            }
        }
        for field in [
            "activeDeadlineSeconds",
            "tolerations",
            "ephemeralContainers",
            "nodeName",
        ] {
            value::remove(&mut spec, &[field]);
        }
        spec
    };
    if fixed(before) != fixed(object) {
        causes.push(Cause::forbidden("spec", POD_UPDATE));
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::super::resources::known;
    use super::*;

    const DEPLOYMENT: &str = "io.k8s.api.apps.v1.Deployment";

    #[test]
    fn names_follow_the_rules_of_their_kind() {
        for (plural, name, allowed) in [
            ("pods", "a.b-c", true),
            ("pods", "A", false),
            ("pods", "-a", false),
            ("namespaces", "a.b", false),
            ("services", "1a", false),
            ("clusterroles", "system:node", true),
        ] {
            let object = json!({ "metadata": { "name": name } });
            let outcome = super::name(known(plural), &object);
            assert_eq!(outcome.is_ok(), allowed, "{plural}/{name}");
        }
    }

    #[test]
    fn a_refusal_quotes_the_name() {
        let object = json!({ "metadata": { "name": "Bad_Name" } });
        let refused = name(known("configmaps"), &object).unwrap_err();
        assert!(refused.message().starts_with(
            "ConfigMap \"Bad_Name\" is invalid: metadata.name: Invalid value: \"Bad_Name\": a lowercase RFC 1123 subdomain"
        ));
    }

    #[test]
    fn unknown_fields_are_named_by_path() {
        let object = json!({ "spec": { "foo": 1, "template": { "spec": { "containers": [{ "bar": 1 }] } } } });
        let decoding = decode(DEPLOYMENT, &object);
        assert_eq!(
            decoding.unknown,
            ["spec.foo", "spec.template.spec.containers[0].bar"]
        );
    }

    #[test]
    fn a_value_of_a_wrong_type_is_told_as_go_tells_it() {
        let large = decode(DEPLOYMENT, &json!({ "spec": { "replicas": 1_u64 << 40 } }));
        assert!(large.mistyped.unwrap().ends_with("of type int32"));
        let decoding = decode(DEPLOYMENT, &json!({ "spec": { "replicas": "3" } }));
        assert_eq!(
            decoding.mistyped.unwrap(),
            "json: cannot unmarshal string into Go struct field Deployment.spec.replicas of type int32"
        );
    }

    #[test]
    fn what_may_be_a_number_or_a_text_may_be_both() {
        let strategy = |surge: Value| json!({ "spec": { "strategy": { "rollingUpdate": { "maxSurge": surge } } } });
        assert_eq!(decode(DEPLOYMENT, &strategy(json!(1))), Decoding::default());
        assert_eq!(
            decode(DEPLOYMENT, &strategy(json!("25%"))),
            Decoding::default()
        );
        let quota = json!({ "spec": { "hard": { "cpu": 4 } } });
        let decoding = decode("io.k8s.api.core.v1.ResourceQuota", &quota);
        assert_eq!(decoding, Decoding::default());
    }
}
