//! Configuration, accounts, events and budgets.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::format::{age, count, name, or};
use super::{Column, Printer, number, text as column, wide};
use crate::apiserver::clock;
use crate::apiserver::value::{int, list, map, text};

pub(super) fn printer(plural: &str) -> Option<Printer> {
    let (columns, cells): (Vec<Column>, fn(&Value, Timestamp) -> Vec<Value>) = match plural {
        "configmaps" => (
            vec![column("Name"), number("Data"), column("Age")],
            |object, now| vec![name(object), keys(object), age(object, now)],
        ),
        "secrets" => (
            vec![
                column("Name"),
                column("Type"),
                number("Data"),
                column("Age"),
            ],
            |object, now| {
                vec![
                    name(object),
                    or(object, "/type", ""),
                    keys(object),
                    age(object, now),
                ]
            },
        ),
        "serviceaccounts" => (
            vec![column("Name"), number("Secrets"), column("Age")],
            |object, now| {
                vec![
                    name(object),
                    json!(list(object, "/secrets").len()),
                    age(object, now),
                ]
            },
        ),
        "events" => (
            vec![
                column("Last Seen"),
                column("Type"),
                column("Reason"),
                column("Object"),
                wide("Subobject"),
                wide("Source"),
                column("Message"),
                wide("First Seen"),
                wide("Count"),
                wide("Name"),
            ],
            event,
        ),
        "poddisruptionbudgets" => (
            vec![
                column("Name"),
                column("Min Available"),
                column("Max Unavailable"),
                number("Allowed Disruptions"),
                column("Age"),
            ],
            |object, now| {
                vec![
                    name(object),
                    or(object, "/spec/minAvailable", "N/A"),
                    or(object, "/spec/maxUnavailable", "N/A"),
                    count(object, "/status/disruptionsAllowed"),
                    age(object, now),
                ]
            },
        ),
        "resourcequotas" => (
            vec![
                column("Name"),
                column("Age"),
                column("Request"),
                column("Limit"),
            ],
            quota,
        ),
        _ => return None,
    };
    Some(Printer { columns, cells })
}

fn keys(object: &Value) -> Value {
    let of = |pointer| map(object, pointer).map_or(0, serde_json::Map::len);
    json!(of("/data") + of("/binaryData"))
}

fn event(event: &Value, now: Timestamp) -> Vec<Value> {
    let first = match text(event, "/firstTimestamp") {
        "" => text(event, "/eventTime"),
        first => first,
    };
    let last = match text(event, "/lastTimestamp") {
        "" => first,
        last => last,
    };
    let object = format!(
        "{}/{}",
        text(event, "/involvedObject/kind").to_lowercase(),
        text(event, "/involvedObject/name")
    );
    let source = match (
        text(event, "/source/component"),
        text(event, "/source/host"),
    ) {
        ("", _) => text(event, "/reportingComponent").to_owned(),
        (component, "") => component.to_owned(),
        (component, host) => format!("{component}, {host}"),
    };
    vec![
        json!(clock::age(last, now)),
        or(event, "/type", ""),
        or(event, "/reason", ""),
        json!(object),
        or(event, "/involvedObject/fieldPath", ""),
        json!(source),
        json!(text(event, "/message").trim()),
        json!(clock::age(first, now)),
        json!(int(event, "/count").max(1).to_string()),
        name(event),
    ]
}

fn quota(object: &Value, now: Timestamp) -> Vec<Value> {
    let of = |limits: bool| {
        let parts: Vec<String> = map(object, "/status/hard")
            .into_iter()
            .flatten()
            .filter(|(key, _)| key.starts_with("limits.") == limits)
            .map(|(key, hard)| {
                let used = object["status"]["used"][key].as_str().unwrap_or("0");
                format!("{key}: {used}/{}", hard.as_str().unwrap_or_default())
            })
            .collect();
        json!(parts.join(", "))
    };
    vec![name(object), age(object, now), of(false), of(true)]
}
