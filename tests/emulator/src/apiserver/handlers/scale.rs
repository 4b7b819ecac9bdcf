//! The number of replicas as an object of its own.

use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::super::patch::Patch;
use super::super::patch::managed::{Writer, note_update};
use super::super::status::{Result, Status};
use super::super::{Server, clock, value};
use super::{Call, read};
use crate::http::{Body, json as json_answer};

const SCHEMA: &str = "io.k8s.api.autoscaling.v1.Scale";

fn scale(object: &Value) -> Value {
    let labels = value::map(object, "/spec/selector/matchLabels")
        .or_else(|| value::map(object, "/spec/selector"));
    let selector: Vec<String> = labels
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    let metadata = &object["metadata"];
    json!({
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"],
            "creationTimestamp": metadata["creationTimestamp"],
        },
        "spec": { "replicas": object["spec"]["replicas"] },
        "status": {
            "replicas": value::int(object, "/status/replicas"),
            "selector": selector.join(","),
        },
    })
}

/// Shows the scale.
pub(super) fn read(server: &Server, call: &Call) -> Result<Response<Body>> {
    let object = read::found(server, call)?;
    Ok(json_answer(StatusCode::OK, &scale(&object)))
}

/// Changes the scale, by an update or a patch.
pub(super) fn write(server: &Server, call: &Call, body: &[u8]) -> Result<Response<Body>> {
    let resource = call.target.resource;
    loop {
        let before = read::found(server, call)?;
        let shown = scale(&before);
        let wanted = if call.method == http::Method::PATCH {
            Patch::parse(call.media_type(), body)?.applied(SCHEMA, &shown)?
        } else {
            call.object(body)?
        };
        let version = value::text(&wanted, "/metadata/resourceVersion");
        let conditional =
            !version.is_empty() && version != value::text(&shown, "/metadata/resourceVersion");
        if conditional {
            return Err(Status::modified(resource, &call.target.name));
        }
        let replicas = value::int(&wanted, "/spec/replicas");
        if i32::try_from(replicas).is_err() {
            return Err(Status::bad_request(
                "the number of replicas is out of range",
            ));
        }
        if replicas < 0 {
            return Err(Status::unprocessable(format!(
                "Scale.autoscaling {:?} is invalid: spec.replicas: Invalid value: {replicas}: must be greater than or equal to 0",
                call.target.name
            )));
        }
        let mut after = Value::clone(&before);
        after["spec"]["replicas"] = json!(replicas);
        if after != *before {
            let generation = value::int(&before, "/metadata/generation") + 1;
            after["metadata"]["generation"] = json!(generation);
        }
        let time = clock::stamp(server.store.now());
        let writer = Writer {
            manager: call.manager(),
            subresource: "scale",
            time: &time,
        };
        note_update(resource.schema, Some(&before), &mut after, writer);
        if call.is_dry_run() {
            return Ok(json_answer(StatusCode::OK, &scale(&after)));
        }
        if let Ok(after) = server.store.replace(resource.key(), &before, after) {
            return Ok(json_answer(StatusCode::OK, &scale(&after)));
        }
    }
}
