//! Upgrading a connection to a WebSocket or to SPDY.

use std::future::Future;

use http::{HeaderName, HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::options::{has_token, values};
use super::status::plain;
use crate::http::{Body, empty};

/// The bytes of an upgraded connection.
pub(super) type Io = TokioIo<Upgraded>;

/// A WebSocket on an upgraded connection.
pub(super) type Socket = WebSocketStream<Io>;

/// The longest message of a client's, bytes.
const MESSAGE: usize = 32 * 1024 * 1024;

/// What a WebSocket buffers for reading and writing, bytes.
const BUFFER: usize = 32 * 1024;

const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
const ACCEPTED_PROTOCOLS: HeaderName =
    HeaderName::from_static("x-accepted-stream-protocol-versions");

/// Chooses a WebSocket subprotocol: the client's first that `supported` has, or none if the client
/// names none and `supported` has the empty name.
///
/// # Errors
///
/// The refusal, which has no body.
pub(super) fn subprotocol(
    request: &Request<Incoming>,
    supported: &[&'static str],
) -> Result<&'static str, Box<Response<Body>>> {
    let offered: Vec<&str> = values(request.headers(), header::SEC_WEBSOCKET_PROTOCOL).collect();
    let find = |name: &str| supported.iter().find(|other| **other == name).copied();
    let chosen = if offered.is_empty() {
        find("")
    } else {
        offered.iter().find_map(|name| find(name))
    };
    chosen.ok_or_else(|| {
        let mut refusal = Response::new(empty());
        *refusal.status_mut() = StatusCode::FORBIDDEN;
        Box::new(refusal)
    })
}

/// Answers a WebSocket handshake and runs `session` on the socket.
pub(super) fn websocket<S, F>(
    request: Request<Incoming>,
    protocol: &'static str,
    session: S,
) -> Response<Body>
where
    S: FnOnce(Socket) -> F + Send + 'static,
    F: Future<Output = ()> + Send,
{
    let headers = request.headers();
    let version = headers.get(header::SEC_WEBSOCKET_VERSION);
    let (Some(key), Some(b"13")) = (
        headers.get(header::SEC_WEBSOCKET_KEY),
        version.map(HeaderValue::as_bytes),
    ) else {
        return plain(StatusCode::BAD_REQUEST, "not a WebSocket handshake");
    };
    let accept = derive_accept_key(key.as_bytes());
    let mut response = switching("websocket");
    let headers = response.headers_mut();
    headers.insert(
        header::SEC_WEBSOCKET_ACCEPT,
        HeaderValue::try_from(accept).expect("base64 is a header value"),
    );
    if !protocol.is_empty() {
        headers.insert(
            header::SEC_WEBSOCKET_PROTOCOL,
            HeaderValue::from_static(protocol),
        );
    }
    run(request, move |io| async move {
        let config = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE))
            .max_frame_size(Some(MESSAGE))
            .read_buffer_size(BUFFER)
            .write_buffer_size(0)
            .max_write_buffer_size(usize::MAX);
        let socket = Socket::from_raw_socket(io, Role::Server, Some(config)).await;
        session(socket).await;
    });
    response
}

/// Answers a SPDY handshake for one of the `supported` stream protocols and runs `session`.
pub(super) fn spdy<S, F>(
    request: Request<Incoming>,
    supported: &[&'static str],
    session: S,
) -> Response<Body>
where
    S: FnOnce(Io, &'static str) -> F + Send + 'static,
    F: Future<Output = ()> + Send,
{
    let headers = request.headers();
    let offered: Vec<&str> = values(headers, STREAM_PROTOCOL).collect();
    if offered.is_empty() {
        return plain(
            StatusCode::BAD_REQUEST,
            "unable to upgrade: X-Stream-Protocol-Version is required",
        );
    }
    let chosen = offered
        .iter()
        .find_map(|name| supported.iter().find(|other| *other == name));
    let Some(&protocol) = chosen else {
        let mut refusal = plain(
            StatusCode::FORBIDDEN,
            format!(
                "unable to upgrade: unable to negotiate protocol: client supports [{}], server accepts [{}]",
                offered.join(" "),
                supported.join(" ")
            ),
        );
        for name in supported {
            refusal
                .headers_mut()
                .append(ACCEPTED_PROTOCOLS, HeaderValue::from_static(name));
        }
        return refusal;
    };
    if !has_token(headers, header::UPGRADE, "SPDY/3.1") {
        return plain(
            StatusCode::BAD_REQUEST,
            "unable to upgrade: missing upgrade headers in request",
        );
    }
    let mut response = switching("SPDY/3.1");
    response
        .headers_mut()
        .insert(STREAM_PROTOCOL, HeaderValue::from_static(protocol));
    run(request, move |io| session(io, protocol));
    response
}

fn switching(to: &'static str) -> Response<Body> {
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static(to));
    response
}

/// Runs `session` once the answer has gone out. The task ends with the session, which ends with
/// its connection.
fn run<S, F>(request: Request<Incoming>, session: S)
where
    S: FnOnce(Io) -> F + Send + 'static,
    F: Future<Output = ()> + Send,
{
    tokio::spawn(async move {
        match hyper::upgrade::on(request).await {
            Ok(upgraded) => session(TokioIo::new(upgraded)).await,
            Err(error) => tracing::debug!(%error, "upgrade failed"),
        }
    });
}
