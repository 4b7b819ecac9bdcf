//! Opening a WebSocket to the relay.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::client::Response;
use tokio_tungstenite::tungstenite::{Error, error::UrlError};
use tokio_util::either::Either;

use super::AgentConfig;
use crate::door::Stream;
use crate::relay::websocket;

/// A WebSocket to the relay.
pub(super) type WebSocket = WebSocketStream<Either<TlsStream<Stream>, Stream>>;

/// How long the connection, TLS and the upgrade may take together.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The namespace's host name on this machine, with the relay's port.
pub(super) fn host(config: &AgentConfig) -> String {
    format!(
        "{}.servicebus.localhost:{}",
        config.namespace,
        config.relay.address().port()
    )
}

/// Opens `address`, a whole `wss://` address of the relay.
///
/// # Errors
///
/// A refusal by the relay is an [`Error::Http`] with its status.
pub(super) async fn open(
    config: &AgentConfig,
    address: &str,
    headers: &[(&'static str, &str)],
) -> Result<WebSocket, Error> {
    let mut request: Request<()> = address.into_client_request()?;
    for (name, value) in headers {
        let value = value.parse().map_err(http::Error::from)?;
        request.headers_mut().insert(*name, value);
    }
    let name = request.uri().host().ok_or(UrlError::NoHostName)?.to_owned();
    let opening = async {
        let stream = config.relay.open_plain().await?;
        let stream = if config.relay.is_private() {
            Either::Right(stream)
        } else {
            let mut tls = config.tls.clone();
            tls.alpn_protocols = vec![b"http/1.1".to_vec()];
            let name = ServerName::try_from(name).map_err(io::Error::other)?;
            Either::Left(
                TlsConnector::from(Arc::new(tls))
                    .connect(name, stream)
                    .await?,
            )
        };
        let (socket, _): (_, Response) =
            tokio_tungstenite::client_async_with_config(request, stream, Some(websocket::config()))
                .await?;
        Ok(socket)
    };
    match tokio::time::timeout(TIMEOUT, opening).await {
        Ok(opened) => opened,
        Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
    }
}
