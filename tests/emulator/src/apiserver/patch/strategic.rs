//! Strategic merge: a merge patch that knows which lists merge by which key.
//!
//! Directives: `$patch` (`merge`, `replace`, `delete`), `$retainKeys`, `$setElementOrder/<list>`,
//! `$deleteFromPrimitiveList/<list>`.

use serde_json::{Map, Value, json};

use super::super::schema::{Schemas, Shape};

const DIRECTIVE: &str = "$patch";
const RETAIN: &str = "$retainKeys";
const ORDER: &str = "$setElementOrder/";
const DELETE_PRIMITIVES: &str = "$deleteFromPrimitiveList/";

/// What went wrong, in words.
type Outcome = Result<(), String>;

/// Merges `patch` into `target`, an object of this schema.
pub(in super::super) fn merge(
    schemas: &Schemas,
    schema: Option<&Value>,
    target: &mut Value,
    patch: &Value,
) -> Outcome {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return Ok(());
    };
    match patch.get(DIRECTIVE).and_then(Value::as_str) {
        Some("replace") => {
            let mut whole = patch.clone();
            whole.remove(DIRECTIVE);
            *target = Value::Object(whole);
            return Ok(());
        }
        Some("delete") => {
            *target = json!({});
            return Ok(());
        }
        Some("merge") | None => {}
        Some(other) => return Err(format!("Unknown patch type: {other}")),
    }
    if !target.is_object() {
        *target = json!({});
    }
    let fields = target.as_object_mut().expect("it was just made an object");
    if let Some(Value::Array(kept)) = patch.get(RETAIN) {
        fields.retain(|key, _| kept.iter().any(|kept| kept == key));
    }
    for (key, change) in patch {
        if key.starts_with('$') {
            continue;
        }
        let property = property(schemas, schema, key);
        merge_field(
            schemas,
            property,
            fields,
            key,
            change,
            patch.get(&format!("{ORDER}{key}")),
        )?;
    }
    for (key, deleted) in patch {
        if let Some(list) = key.strip_prefix(DELETE_PRIMITIVES)
            && let (Some(Value::Array(items)), Value::Array(deleted)) =
                (fields.get_mut(list), deleted)
        {
            items.retain(|item| !deleted.contains(item));
        }
        // An order can come without changes to the list's elements.
        if let Some(list) = key.strip_prefix(ORDER)
            && !patch.contains_key(list)
            && let Some(Value::Array(items)) = fields.get_mut(list)
        {
            let merge_key = property(schemas, schema, list).and_then(merge_key);
            let server_order = items.clone();
            *items = ordered(std::mem::take(items), &server_order, deleted, merge_key);
        }
    }
    Ok(())
}

fn property<'a>(schemas: &'a Schemas, schema: Option<&'a Value>, key: &str) -> Option<&'a Value> {
    match schemas.described(schema?) {
        Shape::Struct(properties) => properties.get(key),
        Shape::Map(values) => Some(values),
        _ => None,
    }
}

fn merge_key(property: &Value) -> Option<&str> {
    property.get("x-kubernetes-patch-merge-key")?.as_str()
}

fn merges(property: &Value) -> bool {
    property["x-kubernetes-patch-strategy"]
        .as_str()
        .is_some_and(|strategy| strategy.starts_with("merge"))
}

fn merge_field(
    schemas: &Schemas,
    property: Option<&Value>,
    fields: &mut Map<String, Value>,
    key: &str,
    change: &Value,
    order: Option<&Value>,
) -> Outcome {
    match change {
        Value::Null => {
            fields.remove(key);
        }
        Value::Object(_) => {
            let at = fields.entry(key).or_insert_with(|| json!({}));
            merge(schemas, property, at, change)?;
        }
        Value::Array(changes) if property.is_some_and(merges) => {
            let property = property.unwrap_or(&Value::Null);
            let current = match fields.remove(key) {
                Some(Value::Array(items)) => items,
                _ => Vec::new(),
            };
            let server_order = current.clone();
            let merge_key = merge_key(property);
            let mut merged = match merge_key {
                Some(merge_key) => {
                    merge_objects(schemas, property.get("items"), current, changes, merge_key)?
                }
                None => merge_primitives(current, changes),
            };
            if let Some(order) = order {
                merged = ordered(merged, &server_order, order, merge_key);
            }
            fields.insert(key.to_owned(), Value::Array(merged));
        }
        other => {
            fields.insert(key.to_owned(), other.clone());
        }
    }
    Ok(())
}

fn merge_primitives(mut current: Vec<Value>, changes: &[Value]) -> Vec<Value> {
    for change in changes {
        if !current.contains(change) {
            current.push(change.clone());
        }
    }
    current
}

fn merge_objects(
    schemas: &Schemas,
    item_schema: Option<&Value>,
    mut current: Vec<Value>,
    changes: &[Value],
    merge_key: &str,
) -> Result<Vec<Value>, String> {
    let directive = |change: &Value| change[DIRECTIVE].as_str().map(str::to_owned);
    if changes.iter().any(|change| {
        directive(change).as_deref() == Some("replace") && change.get(merge_key).is_none()
    }) {
        current.clear();
    }
    for change in changes {
        let directive = directive(change);
        let Some(key) = change.get(merge_key) else {
            if directive.as_deref() == Some("replace") {
                continue;
            }
            return Err(format!(
                "map: {change} does not contain declared merge key: {merge_key}"
            ));
        };
        if directive.as_deref() == Some("delete") {
            current.retain(|item| item.get(merge_key) != Some(key));
            continue;
        }
        let found = current
            .iter_mut()
            .find(|item| item.get(merge_key) == Some(key));
        if let Some(item) = found {
            merge(schemas, item_schema, item, change)?;
        } else {
            let mut fresh = json!({});
            merge(schemas, item_schema, &mut fresh, change)?;
            current.push(fresh);
        }
    }
    Ok(current)
}

/// Puts the elements that `order` names into that order; elements that only the server has keep
/// their place before the elements that they stood before.
fn ordered(
    items: Vec<Value>,
    server_order: &[Value],
    order: &Value,
    merge_key: Option<&str>,
) -> Vec<Value> {
    let identity = |item: &Value| match merge_key {
        Some(key) => item.get(key).cloned().unwrap_or_default(),
        None => item.clone(),
    };
    let order: Vec<Value> = order
        .as_array()
        .into_iter()
        .flatten()
        .map(identity)
        .collect();
    let server: Vec<Value> = server_order.iter().map(identity).collect();
    let place = |list: &[Value], item: &Value| {
        let wanted = identity(item);
        list.iter().position(|known| *known == wanted)
    };
    let (mut named, rest): (Vec<Value>, Vec<Value>) = items
        .into_iter()
        .partition(|item| place(&order, item).is_some());
    named.sort_by_key(|item| place(&order, item));
    let mut merged = Vec::with_capacity(named.len() + rest.len());
    let mut rest = rest.into_iter().peekable();
    for item in named {
        while let Some(left) = rest.peek() {
            match (place(&server, left), place(&server, &item)) {
                (Some(left), Some(right)) if left < right => merged.extend(rest.next()),
                _ => break,
            }
        }
        merged.push(item);
    }
    merged.extend(rest);
    merged
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::super::super::schema::schemas;
    use super::*;

    fn pod(containers: &Value) -> Value {
        json!({ "spec": { "containers": containers } })
    }

    fn merged(target: &Value, patch: &Value) -> Value {
        let mut target = target.clone();
        let schema = schemas().named("io.k8s.api.core.v1.Pod");
        merge(schemas(), schema, &mut target, patch).unwrap();
        target
    }

    #[test]
    fn lists_merge_by_their_key() {
        let before = pod(&json!([{ "name": "a", "image": "1" }, { "name": "b", "image": "1" }]));
        let patch = pod(&json!([{ "name": "b", "image": "2" }, { "name": "c", "image": "3" }]));
        let after = pod(&json!([
            { "name": "a", "image": "1" },
            { "name": "b", "image": "2" },
            { "name": "c", "image": "3" },
        ]));
        assert_eq!(merged(&before, &patch), after);
    }

    #[test]
    fn lists_without_a_key_are_replaced() {
        let before = pod(&json!([{ "name": "a", "args": ["1", "2"] }]));
        let patch = pod(&json!([{ "name": "a", "args": ["3"] }]));
        assert_eq!(merged(&before, &patch), patch);
    }

    #[test]
    fn elements_are_deleted_and_replaced_by_directive() {
        let before = pod(&json!([{ "name": "a" }, { "name": "b" }]));
        let delete = pod(&json!([{ "name": "a", "$patch": "delete" }]));
        assert_eq!(merged(&before, &delete), pod(&json!([{ "name": "b" }])));
        let replace = pod(&json!([{ "name": "c" }, { "$patch": "replace" }]));
        assert_eq!(merged(&before, &replace), pod(&json!([{ "name": "c" }])));
    }

    #[test]
    fn order_and_primitive_deletions_are_obeyed() {
        let before = json!({
            "metadata": { "finalizers": ["x", "y"] },
            "spec": { "containers": [{ "name": "injected" }, { "name": "a" }, { "name": "b" }] },
        });
        let patch = json!({
            "metadata": { "$deleteFromPrimitiveList/finalizers": ["x"], "finalizers": ["z"] },
            "spec": { "$setElementOrder/containers": [{ "name": "b" }, { "name": "a" }] },
        });
        let after = json!({
            "metadata": { "finalizers": ["y", "z"] },
            "spec": { "containers": [{ "name": "injected" }, { "name": "b" }, { "name": "a" }] },
        });
        assert_eq!(merged(&before, &patch), after);
    }

    #[test]
    fn retained_keys_drop_the_others() {
        let before = json!({ "spec": { "volumes": [{ "name": "v", "emptyDir": {} }] } });
        let patch = json!({ "spec": { "volumes": [
            { "name": "v", "$retainKeys": ["name", "secret"], "secret": { "secretName": "s" } },
        ] } });
        let after =
            json!({ "spec": { "volumes": [{ "name": "v", "secret": { "secretName": "s" } }] } });
        assert_eq!(merged(&before, &patch), after);
    }

    #[test]
    fn an_element_without_its_key_is_refused() {
        let schema = schemas().named("io.k8s.api.core.v1.Pod");
        let refused = merge(
            schemas(),
            schema,
            &mut json!({}),
            &pod(&json!([{ "image": "1" }])),
        );
        assert!(
            refused
                .unwrap_err()
                .ends_with("does not contain declared merge key: name")
        );
    }
}
