//! Letting `azure_identity` go out through our own HTTPS client, and reading its errors.
//!
//! The credentials in use send a client's own credentials, which may be sent twice: faults that
//! pass are waited out here, and the library's own retries are off.

use async_trait::async_trait;
use azure_core::credentials as azure;
use azure_core::error::ErrorKind;
use azure_core::http::headers::Headers;
use azure_core::http::{AsyncRawResponse, Body, HttpClient, Request};

use super::{AccessToken, token_endpoint};
use crate::error::{Code, Error};
use crate::net::{Https, may_pass};
use crate::secret::Secret;

#[async_trait]
impl HttpClient for Https {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let other = |error: &dyn std::fmt::Display| {
            azure_core::Error::with_message(ErrorKind::Other, error.to_string())
        };
        let body = match request.body() {
            Body::Bytes(bytes) => bytes.clone(),
            // A credential only ever sends a short form.
            Body::SeekableStream(_) => return Err(other(&"a streamed body")),
        };
        let mut outgoing = http::Request::builder()
            .method(request.method().as_str())
            .uri(request.url().as_str());
        for (name, value) in request.headers().iter() {
            outgoing = outgoing.header(name.as_str(), value.as_str());
        }
        let outgoing = outgoing.body(body).map_err(|error| other(&error))?;
        let host = request.url().host_str().unwrap_or_default();
        let failed = |error: Error| azure_core::Error::new(ErrorKind::Io, error);
        let (answer, tried) = self.send_patiently(&outgoing).await;
        let answer =
            answer.map_err(|error| failed(token_endpoint::unreachable(host, &error, tried)))?;
        if may_pass(answer.status) {
            return Err(failed(token_endpoint::unserved(host, &answer, tried)));
        }
        let mut headers = Headers::new();
        for (name, value) in &answer.headers {
            if let Ok(value) = value.to_str() {
                headers.insert(name.as_str().to_owned(), value.to_owned());
            }
        }
        Ok(AsyncRawResponse::from_bytes(
            answer.status.as_u16().into(),
            headers,
            answer.body,
        ))
    }
}

/// The token as ours.
pub(super) fn token(token: &azure::AccessToken) -> AccessToken {
    AccessToken {
        secret: Secret::from(token.token.secret()),
        expires: u64::try_from(token.expires_on.unix_timestamp()).unwrap_or(0),
    }
}

/// The error that was given to the library, or the innermost words of its own, without its
/// framing.
pub(super) fn refused(what: &str, error: &azure_core::Error) -> Error {
    let mut causes =
        std::iter::successors(Some(error as &(dyn std::error::Error + 'static)), |cause| {
            cause.source()
        });
    let ours = causes.find_map(|cause| cause.downcast_ref::<Error>());
    if let Some(error) = ours {
        return error.clone();
    }
    token_endpoint::refusal(Code::SignInRefused, what, &words(error))
}

/// The innermost words of the library's error.
pub(super) fn words(error: &azure_core::Error) -> String {
    let causes =
        std::iter::successors(Some(error as &(dyn std::error::Error + 'static)), |cause| {
            cause.source()
        });
    causes
        .skip(1)
        .last()
        .map_or_else(|| error.to_string(), ToString::to_string)
}
