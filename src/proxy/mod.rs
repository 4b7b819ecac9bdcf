//! The local side: a TLS listener on loopback that forwards to whatever [`Upstream`] it is given.
//!
//! A request goes listener → gate → forward (or upgrade) → upstream, and its answer the same way
//! back. What cannot be forwarded is answered with a Kubernetes `Status`, so that kubectl prints
//! why.

mod certificate;
mod forward;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod gate;
mod gather;
mod listener;
mod local;
mod newcomers;
mod respond;
mod room;
#[cfg(test)]
mod tests;
mod upgrade;

use std::future::Future;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{Either, Empty, Full};
use hyper::body::{Body, Incoming};

pub use certificate::LocalCertificate;
pub use gate::{Gate, Route};
pub use listener::Listener;

use crate::error::Error;
use crate::whole::Whole;

/// The body of a forwarded request.
pub type RequestBody = Either<Whole, Empty<Bytes>>;

/// The body of an answer: the upstream's, or our own.
pub type AnswerBody<B> = Either<B, Full<Bytes>>;

/// Where requests go.
pub trait Upstream: Send + Sync + 'static {
    /// The body of its answers.
    type Body: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
        + Send
        + Unpin
        + 'static;

    /// Sends a request whose path and headers are the upstream's own.
    fn request(
        &self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Result<Response<Self::Body>, Error>> + Send;

    /// Sends a request that asks for an upgrade, on a connection of its own.
    fn upgrade(
        &self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Result<Response<Incoming>, Error>> + Send;

    /// The body of an answer that turned an upgrade down.
    fn body(declined: Incoming) -> Self::Body;
}
