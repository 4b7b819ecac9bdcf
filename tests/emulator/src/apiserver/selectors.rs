//! Label and field selectors.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::status::{Result, Status};
use super::value;

/// What a list or watch asks for.
#[derive(Debug, Clone, Default)]
pub(super) struct Selection {
    labels: Vec<Requirement>,
    fields: Vec<(String, String, bool)>,
}

#[derive(Debug, Clone)]
struct Requirement {
    key: String,
    operator: Operator,
}

#[derive(Debug, Clone)]
enum Operator {
    In(BTreeSet<String>),
    NotIn(BTreeSet<String>),
    Exists,
    Absent,
    Greater(i64),
    Less(i64),
}

impl Selection {
    /// Reads the two selectors of a request for objects of `kind`.
    pub(super) fn parse(kind: &str, labels: &str, fields: &str) -> Result<Self> {
        let mut selection = Self {
            labels: parse_labels(labels)?,
            fields: Vec::new(),
        };
        for term in fields.split(',').filter(|term| !term.is_empty()) {
            let (field, wanted, equal) = if let Some((field, wanted)) = term.split_once("!=") {
                (field, wanted, false)
            } else if let Some((field, wanted)) = term.split_once('=') {
                (field, wanted.trim_start_matches('='), true)
            } else {
                return Err(Status::bad_request(format!(
                    "invalid selector: '{fields}'; can't understand '{term}'"
                )));
            };
            if !supported(kind, field) {
                return Err(Status::bad_request(format!(
                    "field label not supported: {field}"
                )));
            }
            selection
                .fields
                .push((field.to_owned(), wanted.to_owned(), equal));
        }
        Ok(selection)
    }

    /// Reads a `metav1.LabelSelector`.
    pub(super) fn of_object(selector: &Value) -> Self {
        let mut labels: Vec<Requirement> = Vec::new();
        for (key, wanted) in value::map(selector, "/matchLabels").into_iter().flatten() {
            labels.push(Requirement {
                key: key.clone(),
                operator: Operator::In(wanted.as_str().map(str::to_owned).into_iter().collect()),
            });
        }
        for expression in value::list(selector, "/matchExpressions") {
            let values: BTreeSet<String> = value::list(expression, "/values")
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect();
            labels.push(Requirement {
                key: value::text(expression, "/key").to_owned(),
                operator: match value::text(expression, "/operator") {
                    "NotIn" => Operator::NotIn(values),
                    "Exists" => Operator::Exists,
                    "DoesNotExist" => Operator::Absent,
                    _ => Operator::In(values),
                },
            });
        }
        Self {
            labels,
            fields: Vec::new(),
        }
    }

    /// Whether everything is asked for.
    pub(super) fn is_everything(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// Whether `object` is asked for.
    pub(super) fn matches(&self, object: &Value) -> bool {
        let labels = value::map(object, "/metadata/labels");
        self.labels.iter().all(|one| one.matches(labels))
            && self
                .fields
                .iter()
                .all(|(field, wanted, equal)| (field_text(object, field) == *wanted) == *equal)
    }
}

impl Requirement {
    fn matches(&self, labels: Option<&Map<String, Value>>) -> bool {
        let found = labels
            .and_then(|labels| labels.get(&self.key))
            .and_then(Value::as_str);
        let number = || found.and_then(|found| found.parse::<i64>().ok());
        match &self.operator {
            Operator::In(values) => found.is_some_and(|found| values.contains(found)),
            Operator::NotIn(values) => found.is_none_or(|found| !values.contains(found)),
            Operator::Exists => found.is_some(),
            Operator::Absent => found.is_none(),
            Operator::Greater(than) => number().is_some_and(|number| number > *than),
            Operator::Less(than) => number().is_some_and(|number| number < *than),
        }
    }
}

fn parse_labels(selector: &str) -> Result<Vec<Requirement>> {
    split_terms(selector)
        .into_iter()
        .map(str::trim)
        .filter(|term| !term.is_empty())
        .map(|term| {
            parse_requirement(term).ok_or_else(|| {
                Status::bad_request(format!(
                    "unable to parse requirement: couldn't parse the selector string \"{selector}\""
                ))
            })
        })
        .collect()
}

/// Commas inside parentheses separate values, not terms.
fn split_terms(selector: &str) -> Vec<&str> {
    let (mut terms, mut start, mut depth) = (Vec::new(), 0, 0_u32);
    for (at, character) in selector.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                terms.push(&selector[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    terms.push(&selector[start..]);
    terms
}

fn parse_requirement(term: &str) -> Option<Requirement> {
    let one = |value: &str| BTreeSet::from([value.trim().to_owned()]);
    let (key, operator) = if let Some(key) = term.strip_prefix('!') {
        (key, Operator::Absent)
    } else if let Some((key, wanted)) = term.split_once("!=") {
        (key, Operator::NotIn(one(wanted)))
    } else if let Some((key, wanted)) = term.split_once("==") {
        (key, Operator::In(one(wanted)))
    } else if let Some((key, wanted)) = term.split_once('=') {
        (key, Operator::In(one(wanted)))
    } else if let Some((key, than)) = term.split_once('>') {
        (key, Operator::Greater(than.trim().parse().ok()?))
    } else if let Some((key, than)) = term.split_once('<') {
        (key, Operator::Less(than.trim().parse().ok()?))
    } else if let Some((before, rest)) = term.split_once('(') {
        let values = rest.strip_suffix(')')?;
        let values = values
            .split(',')
            .map(|value| value.trim().to_owned())
            .collect();
        let mut words = before.split_whitespace();
        let key = words.next()?;
        match (words.next(), words.next()) {
            (Some("in"), None) => (key, Operator::In(values)),
            (Some("notin"), None) => (key, Operator::NotIn(values)),
            _ => return None,
        }
    } else {
        (term, Operator::Exists)
    };
    let key = key.trim();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    (!key.is_empty() && key.chars().all(plain)).then(|| Requirement {
        key: key.to_owned(),
        operator,
    })
}

fn supported(kind: &str, field: &str) -> bool {
    let own: &[&str] = match kind {
        "pods" => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        "events" => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "regarding.kind",
            "regarding.namespace",
            "regarding.name",
            "regarding.uid",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        "secrets" => &["type"],
        "nodes" => &["spec.unschedulable"],
        "namespaces" => &["status.phase"],
        "jobs" => &["status.successful"],
        "replicasets" | "replicationcontrollers" => &["status.replicas"],
        "services" => &["spec.clusterIP", "spec.type"],
        _ => &[],
    };
    matches!(field, "metadata.name" | "metadata.namespace") || own.contains(&field)
}

fn field_text(object: &Value, field: &str) -> String {
    let field = match field {
        "source" => "source.component",
        "status.successful" => "status.succeeded",
        other => other,
    };
    let field = field.replacen("regarding.", "involvedObject.", 1);
    match object.pointer(&format!("/{}", field.replace('.', "/"))) {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null)
            if field == "spec.unschedulable" || field == "spec.hostNetwork" =>
        {
            "false".to_owned()
        }
        None | Some(Value::Null) => String::new(),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use serde_json::json;

    use super::*;

    fn matches(labels: &str, fields: &str) -> bool {
        let object = json!({
            "metadata": { "name": "x", "labels": { "app": "web", "tier": "3" } },
            "status": { "phase": "Running" },
        });
        Selection::parse("pods", labels, fields)
            .unwrap()
            .matches(&object)
    }

    #[test]
    fn label_selectors_follow_the_grammar() {
        for (selector, expected) in [
            ("", true),
            ("app=web", true),
            ("app==web,tier=3", true),
            ("app!=web", false),
            ("other!=web", true),
            ("app in (web, api)", true),
            ("app notin (web)", false),
            ("app", true),
            ("!app", false),
            ("tier>2,tier<4", true),
            ("tier>3", false),
        ] {
            assert_eq!(matches(selector, ""), expected, "{selector}");
        }
    }

    #[test]
    fn a_selector_that_cannot_be_read_is_refused() {
        for selector in ["app in web", "app in (web", "=web", "a b"] {
            let refused = Selection::parse("pods", selector, "").unwrap_err();
            assert_eq!(refused.code(), 400, "{selector}");
        }
    }

    #[test]
    fn field_selectors_know_the_fields_of_their_kind() {
        assert!(matches("", "status.phase=Running,metadata.name=x"));
        assert!(!matches("", "status.phase!=Running"));
        let refused = Selection::parse("pods", "", "spec.color=red").unwrap_err();
        assert_eq!(refused.message(), "field label not supported: spec.color");
    }
}
