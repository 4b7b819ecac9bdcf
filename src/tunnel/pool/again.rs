//! What may be sent a second time though the first one may have arrived.

use http::{HeaderMap, Method, Request, Uri};
use hyper::body::Body;

use crate::tunnel::body::Metered;

/// A request that is safe by its method (RFC 9110, section 9.2.1) and has no body.
pub(super) struct Again {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

impl Again {
    /// A copy of `request`, if it may be sent twice.
    pub(super) fn of<B: Body + Unpin>(request: &Request<Metered<B>>) -> Option<Self> {
        let is_safe = matches!(
            *request.method(),
            Method::GET | Method::HEAD | Method::OPTIONS
        );
        (is_safe && request.body().is_end_stream()).then(|| Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            headers: request.headers().clone(),
        })
    }

    pub(super) fn request<B: Body>(&self) -> Request<Metered<B>> {
        let mut request = Request::new(Metered::empty());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }
}
