//! Bodies of writes: of the right kind and place, and with known fields.

use http::{HeaderValue, Response, header};
use serde_json::{Value, json};

use super::super::status::{Result, Status};
use super::super::validate;
use super::super::value::{self, set};
use super::Call;
use crate::http::Body;

/// What validation came to: warnings to show.
type Warnings = Vec<String>;

/// Reads an object of the call's kind.
pub(super) fn read_object(call: &Call, body: &[u8]) -> Result<Value> {
    let resource = call.target.resource;
    let mut object = call.object(body)?;
    let (kind, version) = (
        value::text(&object, "/kind"),
        value::text(&object, "/apiVersion"),
    );
    if (!kind.is_empty() && kind != resource.kind)
        || (!version.is_empty() && version != resource.api_version())
    {
        return Err(Status::bad_request(format!(
            "{kind} in version \"{version}\" cannot be handled as a {}: the API version in the data ({version}) does not match the expected API version ({})",
            resource.kind,
            resource.api_version(),
        )));
    }
    object["apiVersion"] = json!(resource.api_version());
    object["kind"] = json!(resource.kind);
    let namespace = value::namespace(&object);
    if !namespace.is_empty() && namespace != call.target.namespace {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    if resource.namespaced {
        if call.target.namespace.is_empty() {
            return Err(Status::method_not_allowed());
        }
        set(
            &mut object,
            &["metadata", "namespace"],
            call.target.namespace.clone(),
        );
    }
    Ok(object)
}

/// Checks fields as the call's `fieldValidation` wants it.
pub(super) fn decode(call: &Call, object: &Value) -> Result<Warnings> {
    let resource = call.target.resource;
    let decoding = validate::decode(resource.schema, object);
    let refused = |why: &str| {
        Err(Status::bad_request(format!(
            "{kind} in version {:?} cannot be handled as a {kind}: {why}",
            resource.version,
            kind = resource.kind,
        )))
    };
    if let Some(why) = &decoding.mistyped {
        return refused(why);
    }
    if decoding.unknown.is_empty() {
        return Ok(Vec::new());
    }
    let unknown: Vec<String> = decoding
        .unknown
        .iter()
        .map(|field| format!("unknown field {field:?}"))
        .collect();
    match call.query.text("fieldValidation") {
        "Strict" => refused(&format!("strict decoding error: {}", unknown.join(", "))),
        "Ignore" => Ok(Vec::new()),
        _ => Ok(unknown),
    }
}

/// As [`decode`], but only what the patch brought in is to blame.
pub(super) fn decode_patched(
    call: &Call,
    before: &Value,
    after: &Value,
    body: &[u8],
) -> Result<Warnings> {
    let known = validate::decode(call.target.resource.schema, before).unknown;
    let mut decoding = validate::decode(call.target.resource.schema, after);
    decoding.unknown.retain(|field| !known.contains(field));
    if let Some(why) = &decoding.mistyped {
        return Err(Status::bad_request(why.clone()));
    }
    let unknown: Vec<String> = decoding
        .unknown
        .iter()
        .map(|field| format!("unknown field {field:?}"))
        .collect();
    match call.query.text("fieldValidation") {
        "Strict" if !unknown.is_empty() => Err(Status::invalid_patch(
            &String::from_utf8_lossy(body),
            &format!("strict decoding error: {}", unknown.join(", ")),
        )),
        "Ignore" => Ok(Vec::new()),
        _ => Ok(unknown),
    }
}

/// Shows `warnings` to the caller.
pub(super) fn with_warnings(mut response: Response<Body>, warnings: &[String]) -> Response<Body> {
    for warning in warnings {
        if let Ok(value) = HeaderValue::from_str(&format!("299 - {warning:?}")) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
    response
}
