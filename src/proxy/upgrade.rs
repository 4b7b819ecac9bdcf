//! Forwarding a request that turns its connection into a stream: `exec`, `attach`, `cp`,
//! `port-forward`, over SPDY or WebSocket. What is inside is not looked at.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version, header};
use http_body_util::{Either, Empty, Full};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncWriteExt as _, copy_bidirectional_with_sizes};

use super::{AnswerBody, Upstream, forward, respond};
use crate::shutdown::Drain;

/// The copy buffer of each direction; TLS records hold as much.
const BUFFER: usize = 16 << 10;

/// Whether `request` asks for an upgrade (RFC 9110, section 7.8).
pub(super) fn is_upgrade<B>(request: &Request<B>) -> bool {
    request.version() == Version::HTTP_11
        && request.headers().contains_key(header::UPGRADE)
        && names_upgrade(request.headers())
}

fn names_upgrade(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|name| name.trim().eq_ignore_ascii_case("upgrade"))
}

/// Sends `request` on; once both sides have switched, copies between them until both have ended.
pub(super) async fn answer<U: Upstream>(
    upstream: &U,
    mut request: Request<Incoming>,
    drain: &Drain,
) -> Response<AnswerBody<U::Body>> {
    let client = hyper::upgrade::on(&mut request);
    let (mut parts, _) = request.into_parts();
    keep_upgrade(&mut parts.headers);
    let outgoing = Request::from_parts(parts, Either::Right(Empty::<Bytes>::new()));
    let mut response = match upstream.upgrade(outgoing).await {
        Ok(response) => response,
        Err(error) => {
            tracing::warn!(%error, "an upgrade could not be forwarded");
            return respond::failed(&error);
        }
    };
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let mut response = response.map(|body| Either::Left(U::body(body)));
        forward::strip(response.headers_mut());
        return response;
    }
    let far = hyper::upgrade::on(&mut response);
    drain.spawn(async move {
        let (client, far) = match tokio::try_join!(client, far) {
            Ok(both) => both,
            Err(error) => return tracing::debug!(%error, "an upgrade did not come about"),
        };
        if let Err(error) = copy(client, far).await {
            tracing::debug!(%error, "an upgraded stream broke");
        }
    });
    keep_upgrade(response.headers_mut());
    response.map(|_| Either::Right(Full::default()))
}

async fn copy(client: Upgraded, far: Upgraded) -> std::io::Result<()> {
    let (mut client, mut far) = (TokioIo::new(client), TokioIo::new(far));
    let copied = copy_bidirectional_with_sizes(&mut client, &mut far, BUFFER, BUFFER).await;
    // A side that broke leaves the other one waiting for an end that will not come by itself.
    if copied.is_err() {
        let _gone = tokio::join!(client.shutdown(), far.shutdown());
    }
    copied.map(|_| ())
}

/// Strips what is about the connection but for the upgrade itself.
fn keep_upgrade(headers: &mut HeaderMap) {
    let upgrade = headers.get(header::UPGRADE).cloned();
    forward::strip(headers);
    if let Some(upgrade) = upgrade {
        headers.insert(header::UPGRADE, upgrade);
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(version: Version, connection: &str, upgrade: Option<&str>) -> Request<()> {
        let mut builder = Request::builder()
            .version(version)
            .header("connection", connection);
        if let Some(upgrade) = upgrade {
            builder = builder.header("upgrade", upgrade);
        }
        builder.body(()).expect("a request")
    }

    #[test]
    fn an_upgrade_is_named_twice_and_is_http_1() {
        let spdy = Some("SPDY/3.1");
        assert!(is_upgrade(&request(
            Version::HTTP_11,
            "keep-alive, Upgrade",
            spdy
        )));
        assert!(!is_upgrade(&request(Version::HTTP_11, "keep-alive", spdy)));
        assert!(!is_upgrade(&request(Version::HTTP_11, "upgrade", None)));
        assert!(!is_upgrade(&request(Version::HTTP_2, "upgrade", spdy)));
    }
}
