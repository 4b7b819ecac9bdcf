//! Entra's refusals: OAuth error codes with the AADSTS numbers and texts that people search for.

use http::{Response, StatusCode};
use serde_json::json;

use crate::http::Body;
use crate::request::timestamp;

/// One refusal.
#[derive(Debug, Clone)]
pub(super) struct Aadsts {
    pub(super) number: u32,
    status: StatusCode,
    pub(super) error: &'static str,
    message: String,
    suberror: Option<&'static str>,
    claims: Option<String>,
}

/// What a refusal carries besides itself.
#[derive(Debug, Clone)]
pub(super) struct Context<'a> {
    pub(super) authority: &'a str,
    pub(super) trace_id: &'a str,
    pub(super) correlation_id: &'a str,
    pub(super) now: u64,
}

impl Aadsts {
    /// A refusal of `number` as OAuth's `error`.
    pub(super) fn new(number: u32, error: &'static str, message: impl Into<String>) -> Self {
        Self {
            number,
            status: if error == "invalid_client" {
                StatusCode::UNAUTHORIZED
            } else {
                StatusCode::BAD_REQUEST
            },
            error,
            message: message.into(),
            suberror: None,
            claims: None,
        }
    }

    /// With a `suberror`, by which clients tell what can be done about it.
    pub(super) fn suberror(mut self, suberror: &'static str) -> Self {
        self.suberror = Some(suberror);
        self
    }

    /// With the `claims` that the next interactive request should carry.
    pub(super) fn claims(mut self, claims: String) -> Self {
        self.claims = Some(claims);
        self
    }

    /// The `error_description`, with the ids by which support finds a request.
    pub(super) fn description(&self, context: &Context<'_>) -> String {
        format!(
            "AADSTS{}: {} Trace ID: {} Correlation ID: {} Timestamp: {}",
            self.number,
            self.message,
            context.trace_id,
            context.correlation_id,
            timestamp(context.now),
        )
    }

    /// The answer of the token endpoint.
    pub(super) fn response(&self, context: &Context<'_>) -> Response<Body> {
        let mut body = json!({
            "error": self.error,
            "error_description": self.description(context),
            "error_codes": [self.number],
            "timestamp": timestamp(context.now),
            "trace_id": context.trace_id,
            "correlation_id": context.correlation_id,
            "error_uri": format!("{}/error?code={}", context.authority, self.number),
        });
        if let Some(suberror) = self.suberror {
            body["suberror"] = suberror.into();
        }
        if let Some(claims) = &self.claims {
            body["claims"] = claims.as_str().into();
        }
        crate::http::json(self.status, &body)
    }
}
