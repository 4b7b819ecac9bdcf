//! Letting `azure_identity` go out through our own HTTPS client, and reading its errors.

use async_trait::async_trait;
use azure_core::credentials as azure;
use azure_core::error::ErrorKind;
use azure_core::http::headers::Headers;
use azure_core::http::{AsyncRawResponse, Body, HttpClient, Request};

use super::AccessToken;
use crate::error::{Code, Error};
use crate::net::{Https, HttpsError};
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
        let answer = self
            .send(outgoing)
            .await
            .map_err(|error| azure_core::Error::new(ErrorKind::Io, error))?;
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

/// The innermost words of `error`, without the library's own framing.
pub(super) fn refused(what: &str, error: &azure_core::Error) -> Error {
    let causes =
        std::iter::successors(Some(error as &(dyn std::error::Error + 'static)), |cause| {
            cause.source()
        });
    let unreachable = causes
        .clone()
        .find_map(|cause| cause.downcast_ref::<HttpsError>());
    if let Some(https) = unreachable {
        return Error::new(Code::SignInUnreachable, what)
            .caused_by(https)
            .maybe_hinted(https.hint());
    }
    let words = causes
        .skip(1)
        .last()
        .map_or_else(|| error.to_string(), ToString::to_string);
    super::token_endpoint::refusal(Code::SignInRefused, what, &words)
}
