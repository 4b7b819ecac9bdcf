//! What may be sent a second time.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Uri};
use hyper::body::Body;

use crate::tunnel::TunnelError;
use crate::tunnel::upload::{Kept, Upload};

/// A copy of a request.
pub(super) struct Again {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Option<Kept>,
}

impl Again {
    /// A copy of `request`, unless its body is too large.
    pub(super) fn of<B>(request: &mut Request<Upload<B>>) -> Option<Self>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let body = if request.body().is_end_stream() {
            None
        } else {
            Some(request.body_mut().keep()?)
        };
        Some(Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            headers: request.headers().clone(),
            body,
        })
    }

    /// Whether it may be sent though it may have arrived: it is safe by its method (RFC 9110,
    /// section 9.2.1) and has no body.
    pub(super) fn is_harmless(&self) -> bool {
        self.body.is_none() && matches!(self.method, Method::GET | Method::HEAD | Method::OPTIONS)
    }

    /// The request once more after it has failed, if it may be sent.
    pub(super) fn after<B>(&self, error: &TunnelError) -> Option<Request<Upload<B>>>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        if !self.is_harmless() && !error.is_untouched() {
            return None;
        }
        let body = match &self.body {
            Some(kept) => kept.whole()?,
            None => Bytes::new(),
        };
        let mut request = Request::new(Upload::whole(body));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        Some(request)
    }
}
