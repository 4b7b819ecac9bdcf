//! The relay's end of a WebSocket: answering the upgrade, then frames.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use http::header::{self, HeaderValue};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt as _;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};

use crate::http::{Body, empty};
use crate::serve::Connection;

/// The bytes of a WebSocket, beneath its frames.
pub(super) type Stream = TokioIo<Upgraded>;

/// A WebSocket after its upgrade.
pub(super) type WebSocket = WebSocketStream<Stream>;

/// How long a peer may take to answer a close.
const FAREWELL: Duration = Duration::from_secs(5);

/// What a socket reads at once. The library fills as much with zeros before each attempt.
const READ: usize = 4 << 10;
/// What it gathers before it writes. The library's own is allocated for each socket, whole.
const BUFFER: usize = 128 << 10;
const MAX_FRAME: usize = 1 << 20;
const MAX_MESSAGE: usize = 4 << 20;

/// Buffers and limits for the relay and for the agent.
pub(crate) fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ)
        .write_buffer_size(BUFFER)
        .max_write_buffer_size(BUFFER + 2 * MAX_MESSAGE)
        .max_frame_size(Some(MAX_FRAME))
        .max_message_size(Some(MAX_MESSAGE))
}

/// An upgrade that was agreed to; it is done once the answer has been sent.
#[derive(Debug)]
pub(super) struct Upgrading {
    upgrade: OnUpgrade,
    pub(super) connection: Connection,
}

impl Upgrading {
    /// Takes the upgrade out of `request`, which must have passed as an
    /// [`Address`](super::address::Address).
    pub(super) fn of(request: &mut Request<Incoming>) -> Option<Self> {
        let connection = request.extensions().get::<Connection>()?.clone();
        Some(Self {
            upgrade: hyper::upgrade::on(request),
            connection,
        })
    }

    /// Waits for the upgrade. Fails if the peer has gone.
    pub(super) async fn websocket(self) -> hyper::Result<(WebSocket, Connection)> {
        let stream = TokioIo::new(self.upgrade.await?);
        let socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config())).await;
        Ok((socket, self.connection))
    }
}

/// The answer that agrees to the upgrade in `request`, with `protocol` if there is one.
pub(super) fn switching_protocols(
    request: &Request<Incoming>,
    protocol: Option<HeaderValue>,
) -> Response<Body> {
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let key = request
        .headers()
        .get(header::SEC_WEBSOCKET_KEY)
        .map_or(&[][..], HeaderValue::as_bytes);
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    if let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key)) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    if let Some(protocol) = protocol {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    response
}

/// The first protocol that `request` offers.
pub(super) fn offered_protocol(request: &Request<Incoming>) -> Option<HeaderValue> {
    let offered = request
        .headers()
        .get(header::SEC_WEBSOCKET_PROTOCOL)?
        .to_str()
        .ok()?;
    HeaderValue::from_str(offered.split(',').next()?.trim()).ok()
}

/// Closes `socket` with `frame`, or answers the close that it brought, and lets the peer finish.
pub(super) async fn farewell(mut socket: WebSocket, frame: Option<CloseFrame>) {
    let closing = async {
        // A socket that the peer has closed refuses this; reading on sends the answer.
        let _ = socket.send(Message::Close(frame)).await;
        while let Some(Ok(_)) = socket.next().await {}
        // The peer may have closed its connection already.
        let _ = socket.into_inner().shutdown().await;
    };
    // A peer that does not answer in time is dropped.
    let _ = tokio::time::timeout(FAREWELL, closing).await;
}
