//! What the proxy says itself, as the `v1` `Status` objects that Kubernetes clients print.

use http::{Response, StatusCode};
use serde_json::json;

use crate::http::{Body, json as json_response};

/// A refusal of the caller.
pub(super) fn unauthorized(message: &str) -> Response<Body> {
    status(StatusCode::UNAUTHORIZED, "Unauthorized", message)
}

/// The apiserver did not answer.
pub(super) fn bad_gateway(message: &str) -> Response<Body> {
    status(StatusCode::BAD_GATEWAY, "ServiceUnavailable", message)
}

fn status(code: StatusCode, reason: &str, message: &str) -> Response<Body> {
    json_response(
        code,
        &json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": reason,
            "code": code.as_u16(),
        }),
    )
}
