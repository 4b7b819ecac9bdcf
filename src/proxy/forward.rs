//! Forwarding an ordinary request.

use http::{HeaderMap, HeaderName, Request, Response, StatusCode, header};
use http_body_util::Either;
use hyper::body::Incoming;

use super::{AnswerBody, Upstream, respond};
use crate::whole::Whole;

/// Headers that are about the connection, not about the request (RFC 9110, section 7.6.1).
static HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Sends `request` on and passes the answer back. Bodies stream both ways.
pub(super) async fn answer<U: Upstream>(
    upstream: &U,
    request: Request<Incoming>,
) -> Response<AnswerBody<U::Body>> {
    let (mut parts, body) = request.into_parts();
    strip(&mut parts.headers);
    let body = Either::Left(Whole::new(body, parts.version));
    match upstream.request(Request::from_parts(parts, body)).await {
        Ok(response) if response.status().is_informational() => {
            respond::refused(StatusCode::BAD_GATEWAY, respond::UNASKED)
        }
        Ok(response) => {
            let mut response = response.map(Either::Left);
            strip(response.headers_mut());
            response
        }
        Err(error) => {
            tracing::warn!(%error, "a request could not be forwarded");
            respond::failed(&error)
        }
    }
}

/// Takes away what is about the connection, and what `Connection` says is.
pub(super) fn strip(headers: &mut HeaderMap) {
    // As over HTTP/2, nearly always.
    if !headers.keys().any(|name| HOP_BY_HOP.contains(name)) {
        return;
    }
    let trailers = headers
        .get_all(header::TE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|coding| coding.trim().eq_ignore_ascii_case("trailers"));
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    // Where both are there, the coding counts (RFC 9112, section 6.3): what is made anew of it has
    // another length.
    if headers.contains_key(header::TRANSFER_ENCODING) {
        headers.remove(header::CONTENT_LENGTH);
    }
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
    // The one coding that HTTP/2 allows, and that some answers depend on.
    if trailers {
        headers.insert(header::TE, http::HeaderValue::from_static("trailers"));
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn what_is_about_the_connection_is_taken_away() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Private"),
            ("x-private", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "gzip, trailers"),
            ("transfer-encoding", "chunked"),
            ("content-length", "5"),
            ("impersonate-user", "ana"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        strip(&mut headers);
        let left: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes()))
            .collect();
        assert_eq!(
            left,
            [("impersonate-user", &b"ana"[..]), ("te", b"trailers")]
        );
    }
}
