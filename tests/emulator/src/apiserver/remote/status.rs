//! The `Status` objects that end a command, and those that refuse a request.

use http::{Response, StatusCode, header};
use serde::Serialize;

use crate::http::{Body, full, json};

/// A `meta/v1` Status, as far as it is needed here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Status {
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    api_version: Option<&'static str>,
    metadata: Empty,
    #[serde(rename = "status")]
    outcome: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Details>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Empty {}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Details {
    causes: Vec<Cause>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Cause {
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    message: String,
}

impl Status {
    fn new(outcome: &'static str, message: String) -> Self {
        Self {
            kind: None,
            api_version: None,
            metadata: Empty {},
            outcome,
            message,
            reason: None,
            details: None,
            code: None,
        }
    }

    /// The end of a command that exited with `code`.
    pub(super) fn exited(command: &[String], code: u8) -> Self {
        if code == 0 {
            return Self::new("Success", String::new());
        }
        let message = format!(
            "command terminated with non-zero exit code: error executing command [{}], exit code {code}",
            command.join(" ")
        );
        let cause = Cause {
            reason: Some("ExitCode"),
            message: code.to_string(),
        };
        Self {
            reason: Some("NonZeroExitCode"),
            details: Some(Details {
                causes: vec![cause],
            }),
            ..Self::new("Failure", message)
        }
    }

    /// A command that could not be run.
    pub(super) fn internal(message: String) -> Self {
        let told = format!("Internal error occurred: {message}");
        let cause = Cause {
            reason: None,
            message,
        };
        Self {
            reason: Some("InternalError"),
            details: Some(Details {
                causes: vec![cause],
            }),
            code: Some(500),
            ..Self::new("Failure", told)
        }
    }

    /// As JSON, which protocols from version 4 on carry.
    pub(super) fn json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain JSON values always serialize")
    }

    /// What older protocols carry: nothing, or what went wrong.
    pub(super) fn text(&self) -> Vec<u8> {
        self.message.clone().into_bytes()
    }
}

/// An apiserver's answer to a request that makes no sense.
pub(super) fn bad_request(message: impl Into<String>) -> Response<Body> {
    let status = Status {
        kind: Some("Status"),
        api_version: Some("v1"),
        reason: Some("BadRequest"),
        code: Some(400),
        ..Status::new("Failure", message.into())
    };
    json(StatusCode::BAD_REQUEST, &status)
}

/// A kubelet's answer, which the apiserver passes on.
pub(super) fn plain(code: StatusCode, message: impl Into<String>) -> Response<Body> {
    let mut response = Response::new(full(message.into() + "\n"));
    *response.status_mut() = code;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        http::HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn endings_are_told_as_kubelets_tell_them() {
        let text = |status: &Status| String::from_utf8(status.json()).unwrap();
        let command = ["false".to_owned()];
        assert_eq!(
            text(&Status::exited(&command, 0)),
            r#"{"metadata":{},"status":"Success"}"#
        );
        assert_eq!(
            text(&Status::exited(&command, 1)),
            r#"{"metadata":{},"status":"Failure","message":"command terminated with non-zero exit code: error executing command [false], exit code 1","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"1"}]}}"#
        );
        assert_eq!(
            text(&Status::internal("no".to_owned())),
            r#"{"metadata":{},"status":"Failure","message":"Internal error occurred: no","reason":"InternalError","details":{"causes":[{"message":"no"}]},"code":500}"#
        );
    }
}
