//! Cells that several kinds share.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::apiserver::clock;
use crate::apiserver::value::{self, int, list, text};

/// The name.
pub(super) fn name(object: &Value) -> Value {
    json!(value::name(object))
}

/// The age.
pub(super) fn age(object: &Value, now: Timestamp) -> Value {
    json!(clock::age(text(object, "/metadata/creationTimestamp"), now))
}

/// The number at `pointer`.
pub(super) fn count(object: &Value, pointer: &str) -> Value {
    json!(int(object, pointer))
}

/// What is at `pointer`, `otherwise` if nothing is.
pub(super) fn or(object: &Value, pointer: &str, otherwise: &str) -> Value {
    match object.pointer(pointer) {
        Some(Value::String(text)) if !text.is_empty() => json!(text),
        Some(found @ (Value::Number(_) | Value::Bool(_))) => json!(found.to_string()),
        _ => json!(otherwise),
    }
}

/// `ready/wanted`.
pub(super) fn ratio(object: &Value, ready: &str, wanted: &str) -> Value {
    json!(format!("{}/{}", int(object, ready), int(object, wanted)))
}

/// Names or images of the containers of a pod template.
pub(super) fn containers(object: &Value, field: &str) -> Value {
    joined(
        list(object, "/spec/template/spec/containers")
            .iter()
            .map(|container| text(container, field)),
        "",
    )
}

/// A label selector.
pub(super) fn selector(object: &Value, pointer: &str) -> Value {
    let Some(selector) = object.pointer(pointer) else {
        return json!("<none>");
    };
    let mut terms: Vec<String> = pairs(value::map(selector, "/matchLabels"));
    for expression in list(selector, "/matchExpressions") {
        let key = text(expression, "/key");
        let values: Vec<&str> = list(expression, "/values")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        terms.push(match text(expression, "/operator") {
            "Exists" => key.to_owned(),
            "DoesNotExist" => format!("!{key}"),
            operator => format!("{key} {} ({})", operator.to_lowercase(), values.join(",")),
        });
    }
    if terms.is_empty() {
        json!("<none>")
    } else {
        json!(terms.join(","))
    }
}

/// A plain map of labels.
pub(super) fn labels(object: &Value, pointer: &str) -> Value {
    let terms = pairs(value::map(object, pointer));
    if terms.is_empty() {
        json!("<none>")
    } else {
        json!(terms.join(","))
    }
}

fn pairs(labels: Option<&Map<String, Value>>) -> Vec<String> {
    labels
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect()
}

/// Texts with commas between, `otherwise` if there are none.
pub(super) fn joined<'a>(texts: impl Iterator<Item = &'a str>, otherwise: &str) -> Value {
    let texts: Vec<&str> = texts.collect();
    if texts.is_empty() {
        json!(otherwise)
    } else {
        json!(texts.join(","))
    }
}

/// Texts of which only the first few are shown.
pub(super) fn first_few(texts: &[String], shown: usize, otherwise: &str) -> Value {
    if texts.is_empty() {
        return json!(otherwise);
    }
    let head = texts[..texts.len().min(shown)].join(",");
    if texts.len() > shown {
        json!(format!("{head} + {} more...", texts.len() - shown))
    } else {
        json!(head)
    }
}
