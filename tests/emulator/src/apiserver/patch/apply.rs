//! Server-side apply: a manager states the fields it wants, and owns them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::schema::{ListKind, Schemas, Shape, schemas};
use super::super::status::{Result, Status};
use super::super::value;
use super::fields::{FieldSet, Path, element_key, flatten, printed};
use super::managed::{Claim, Writer, claims, set_claims};

/// The object that `live` becomes when `writer` applies `config`.
///
/// # Errors
///
/// Without `force`, a conflict when the config changes fields that others own.
pub(in super::super) fn apply(
    schema: &str,
    live: Option<&Value>,
    config: &Value,
    writer: Writer<'_>,
    force: bool,
) -> Result<Value> {
    let schema = schemas().named(schema);
    if value::has(config, "/metadata/managedFields") {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    let nothing = json!({});
    let live = live.unwrap_or(&nothing);
    let wanted: FieldSet = flatten(schemas(), schema, config).into_keys().collect();
    let mut merged = live.clone();
    merge(schemas(), schema, &mut merged, config);

    let before = flatten(schemas(), schema, live);
    let changed: FieldSet = flatten(schemas(), schema, &merged)
        .into_iter()
        .filter(|(path, value)| before.get(path) != Some(value))
        .map(|(path, _)| path)
        .collect();

    let (own, mut others): (Vec<Claim>, Vec<Claim>) = claims(live).into_iter().partition(|claim| {
        claim.manager == writer.manager
            && claim.operation == "Apply"
            && claim.subresource == writer.subresource
    });
    let conflicts: Vec<(Claim, FieldSet)> = others
        .iter()
        .map(|claim| {
            (
                claim.clone(),
                claim.fields.intersection(&changed).cloned().collect(),
            )
        })
        .filter(|(_, fields): &(_, FieldSet)| !fields.is_empty())
        .collect();
    if !conflicts.is_empty() && !force {
        return Err(conflict(&conflicts));
    }
    for claim in &mut others {
        claim.fields.retain(|path| !changed.contains(path));
    }

    let given_up: Vec<Path> = own
        .iter()
        .flat_map(|claim| claim.fields.difference(&wanted))
        .filter(|path| !others.iter().any(|claim| claims_below(claim, path)))
        .cloned()
        .collect();
    // An element goes before its fields: without them it could not be found any more.
    for path in &given_up {
        prune(schemas(), schema, &mut merged, path);
    }

    let unchanged = own.iter().find(|claim| claim.fields == wanted);
    let time = unchanged.map_or(writer.time, |claim| claim.time.as_str());
    let left = flatten(schemas(), schema, &merged);
    for claim in &mut others {
        claim.fields.retain(|path| left.contains_key(path));
    }
    others.insert(
        0,
        Claim {
            manager: writer.manager.to_owned(),
            operation: "Apply".to_owned(),
            api_version: value::text(config, "/apiVersion").to_owned(),
            subresource: writer.subresource.to_owned(),
            time: time.to_owned(),
            fields: wanted,
        },
    );
    set_claims(&mut merged, &others);
    Ok(merged)
}

fn claims_below(claim: &Claim, path: &Path) -> bool {
    claim.fields.iter().any(|owned| owned.starts_with(path))
}

fn conflict(conflicts: &[(Claim, FieldSet)]) -> Status {
    let mut causes = Vec::new();
    let mut by_manager: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (claim, fields) in conflicts {
        let manager = claim.printed();
        for path in fields {
            let field = printed(path);
            causes.push(json!({
                "reason": "FieldManagerConflict",
                "message": format!("conflict with {manager}"),
                "field": field,
            }));
            by_manager.entry(manager.clone()).or_default().push(field);
        }
    }
    let message =
        if let ([_], Some((manager, fields))) = (causes.as_slice(), by_manager.first_key_value()) {
            format!(
                "Apply failed with 1 conflict: conflict with {manager}: {}",
                fields[0]
            )
        } else {
            let lines: Vec<String> = by_manager
                .iter()
                .flat_map(|(manager, fields)| {
                    std::iter::once(format!("conflicts with {manager}:"))
                        .chain(fields.iter().map(|field| format!("- {field}")))
                })
                .collect();
            format!(
                "Apply failed with {} conflicts: {}",
                causes.len(),
                lines.join("\n")
            )
        };
    Status::apply_conflict(message, &causes)
}

fn merge(schemas: &Schemas, schema: Option<&Value>, live: &mut Value, config: &Value) {
    match (schemas.shape(schema), config) {
        (shape @ (Shape::Struct(_) | Shape::Map(_)), Value::Object(fields)) => {
            let target = value::fields(live);
            for (key, field) in fields {
                if field.is_null() {
                    continue;
                }
                let below = match &shape {
                    Shape::Struct(properties) => properties.get(key),
                    Shape::Map(values) => Some(*values),
                    _ => None,
                };
                merge(
                    schemas,
                    below,
                    target.entry(key.clone()).or_insert(Value::Null),
                    field,
                );
            }
        }
        (Shape::List(items, kind), Value::Array(elements)) if kind != ListKind::Atomic => {
            let mut current = match std::mem::take(live) {
                Value::Array(current) => current,
                _ => Vec::new(),
            };
            for element in elements {
                let key = element_key(&kind, element);
                match current
                    .iter_mut()
                    .find(|known| element_key(&kind, known) == key)
                {
                    Some(known) => merge(schemas, Some(items), known, element),
                    None => current.push(element.clone()),
                }
            }
            *live = Value::Array(current);
        }
        _ => *live = config.clone(),
    }
}

fn prune(schemas: &Schemas, schema: Option<&Value>, object: &mut Value, path: &[String]) {
    let Some((first, rest)) = path.split_first() else {
        return;
    };
    if let Some(field) = first.strip_prefix("f:") {
        let below = match schema.map(|schema| schemas.described(schema)) {
            Some(Shape::Struct(properties)) => properties.get(field),
            Some(Shape::Map(values)) => Some(values),
            _ => None,
        };
        let Some(fields) = object.as_object_mut() else {
            return;
        };
        if rest.is_empty() {
            fields.remove(field);
        } else if let Some(value) = fields.get_mut(field) {
            prune(schemas, below, value, rest);
            if value.as_array().is_some_and(Vec::is_empty) {
                fields.remove(field);
            }
        }
        return;
    }
    let Some(Shape::List(items, kind)) = schema.map(|schema| schemas.shape(Some(schema))) else {
        return;
    };
    let Some(elements) = object.as_array_mut() else {
        return;
    };
    if rest.is_empty() {
        elements.retain(|element| element_key(&kind, element) != *first);
    } else if let Some(element) = elements
        .iter_mut()
        .find(|element| element_key(&kind, element) == *first)
    {
        prune(schemas, Some(items), element, rest);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::super::managed::note_update;
    use super::*;

    const DEPLOYMENT: &str = "io.k8s.api.apps.v1.Deployment";

    fn writer(manager: &str) -> Writer<'_> {
        Writer {
            manager,
            subresource: "",
            time: "2026-01-01T00:00:00Z",
        }
    }

    fn config(image: &str, replicas: Option<u32>) -> Value {
        let mut config = json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": { "name": "web" },
            "spec": { "template": { "spec": { "containers": [{ "name": "web", "image": image }] } } },
        });
        if let Some(replicas) = replicas {
            config["spec"]["replicas"] = json!(replicas);
        }
        config
    }

    #[test]
    fn what_is_no_longer_applied_goes() {
        let first = apply(
            DEPLOYMENT,
            None,
            &config("a", Some(2)),
            writer("one"),
            false,
        )
        .unwrap();
        let second = apply(
            DEPLOYMENT,
            Some(&first),
            &config("b", None),
            writer("one"),
            false,
        )
        .unwrap();
        assert!(!value::has(&second, "/spec/replicas"));
        assert_eq!(
            value::text(&second, "/spec/template/spec/containers/0/image"),
            "b"
        );
    }

    #[test]
    fn an_element_that_is_no_longer_applied_goes_whole() {
        let mut two = config("a", None);
        let second = json!({ "name": "b", "image": "b" });
        let containers = two.pointer_mut("/spec/template/spec/containers").unwrap();
        containers.as_array_mut().unwrap().push(second);
        let first = apply(DEPLOYMENT, None, &two, writer("one"), false).unwrap();
        let one = config("a", None);
        let second = apply(DEPLOYMENT, Some(&first), &one, writer("one"), false).unwrap();
        assert_eq!(second["spec"], one["spec"]);
    }

    #[test]
    fn what_others_own_stays_when_it_is_no_longer_applied() {
        let first = apply(
            DEPLOYMENT,
            None,
            &config("a", Some(2)),
            writer("one"),
            false,
        )
        .unwrap();
        let shared = apply(
            DEPLOYMENT,
            Some(&first),
            &config("a", Some(2)),
            writer("two"),
            false,
        )
        .unwrap();
        let second = apply(
            DEPLOYMENT,
            Some(&shared),
            &config("a", None),
            writer("one"),
            false,
        )
        .unwrap();
        assert_eq!(value::int(&second, "/spec/replicas"), 2);
    }

    #[test]
    fn a_field_of_another_manager_is_a_conflict_until_forced() {
        let mut live = config("a", Some(2));
        note_update(DEPLOYMENT, None, &mut live, writer("kubectl-create"));
        let refused = apply(
            DEPLOYMENT,
            Some(&live),
            &config("a", Some(3)),
            writer("one"),
            false,
        )
        .unwrap_err();
        assert_eq!(
            refused.message(),
            "Apply failed with 1 conflict: conflict with \"kubectl-create\" using apps/v1 at 2026-01-01T00:00:00Z: .spec.replicas"
        );
        let forced = apply(
            DEPLOYMENT,
            Some(&live),
            &config("a", Some(3)),
            writer("one"),
            true,
        )
        .unwrap();
        assert_eq!(value::int(&forced, "/spec/replicas"), 3);
        let mut again = forced.clone();
        again["spec"]["replicas"] = json!(4);
        let refused = apply(
            DEPLOYMENT,
            Some(&forced),
            &again_config(),
            writer("other"),
            false,
        )
        .unwrap_err();
        assert!(
            refused
                .message()
                .contains("conflict with \"one\": .spec.replicas"),
            "{}",
            refused.message()
        );
    }

    fn again_config() -> Value {
        let mut config = config("a", Some(4));
        value::remove(&mut config, &["spec", "template"]);
        config
    }

    #[test]
    fn several_conflicts_are_listed_by_manager() {
        let mut live = config("a", Some(2));
        note_update(DEPLOYMENT, None, &mut live, writer("k"));
        let refused = apply(
            DEPLOYMENT,
            Some(&live),
            &config("b", Some(3)),
            writer("one"),
            false,
        )
        .unwrap_err();
        assert_eq!(
            refused.message(),
            "Apply failed with 2 conflicts: conflicts with \"k\" using apps/v1 at 2026-01-01T00:00:00Z:\n- .spec.replicas\n- .spec.template.spec.containers[name=\"web\"].image"
        );
    }
}
