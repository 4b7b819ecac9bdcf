//! Answers of our own, as Kubernetes `Status` objects: kubectl prints their message.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{Either, Full};
use serde_json::json;

use super::AnswerBody;
use crate::error::{Code, Error};

/// What an answer of the cluster's is replaced with that would change the connection's protocol to
/// one that its client did not ask for.
pub(super) const UNASKED: &str =
    "arcproxy: the cluster's answer changes to a protocol that was not asked for";

/// The answer to a request that could not be forwarded.
pub(super) fn failed<B>(error: &Error) -> Response<AnswerBody<B>> {
    let status = match error.code() {
        Code::Throttled => StatusCode::TOO_MANY_REQUESTS,
        Code::NotSignedIn | Code::SignInRefused => StatusCode::UNAUTHORIZED,
        Code::AccessDenied => StatusCode::FORBIDDEN,
        Code::AgentAway
        | Code::ClusterOffline
        | Code::RelayUnreachable
        | Code::ArmUnreachable
        | Code::SignInUnreachable
        | Code::WebProxyUnreachable => StatusCode::SERVICE_UNAVAILABLE,
        Code::Usage
        | Code::SubscriptionMissing
        | Code::CloudFile
        | Code::CaFile
        | Code::SubscriptionNotFound
        | Code::ResourceGroupNotFound
        | Code::ClusterNotFound
        | Code::ArmAnswer
        | Code::RelayRefused
        | Code::ProxyCertificate
        | Code::Tunnel
        | Code::ClusterRefused
        | Code::GroupOverage
        | Code::Port
        | Code::WebProxyRefused
        | Code::WebProxyCredentials
        | Code::KubeconfigInvalid
        | Code::KubeconfigWrite
        | Code::KubeconfigLocked
        | Code::Command
        | Code::Unexpected => StatusCode::BAD_GATEWAY,
    };
    refused(
        status,
        &format!("arcproxy: {error}; hint: {}", error.hint()),
    )
}

/// An answer of `status` that says `message`.
pub(super) fn refused<B>(status: StatusCode, message: &str) -> Response<AnswerBody<B>> {
    let body = json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason(status),
        "code": status.as_u16(),
    });
    plain(status, "application/json", body.to_string())
}

/// A short answer that is no error.
pub(super) fn plain<B>(
    status: StatusCode,
    content_type: &'static str,
    text: impl Into<Bytes>,
) -> Response<AnswerBody<B>> {
    let mut response = Response::new(Either::Right(Full::new(text.into())));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// The apiserver's word for `status`.
fn reason(status: StatusCode) -> &'static str {
    match status {
        StatusCode::MISDIRECTED_REQUEST => "BadRequest",
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => "RequestEntityTooLarge",
        StatusCode::UNAUTHORIZED => "Unauthorized",
        StatusCode::FORBIDDEN => "Forbidden",
        StatusCode::NOT_FOUND => "NotFound",
        StatusCode::TOO_MANY_REQUESTS => "TooManyRequests",
        StatusCode::SERVICE_UNAVAILABLE => "ServiceUnavailable",
        _ => "InternalError",
    }
}
