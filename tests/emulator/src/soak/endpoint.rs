//! A server on this machine that a kubeconfig leads to, and connections to it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Request, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::task::AbortOnDropHandle;

use super::Error;

/// Windows of Go's HTTP/2 client, which is kubectl's.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 1 << 30;

/// A request's body. Its error ends the request.
pub(crate) type Body = UnsyncBoxBody<Bytes, Error>;

/// A whole body.
pub(crate) fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// Where a server is, and how to be let in.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    /// What stands before every path; empty, or without a slash at its end.
    prefix: String,
    authorization: HeaderValue,
    http1: TlsConnectorOf,
    http2: TlsConnectorOf,
}

/// Makes TLS connections that speak one protocol.
struct TlsConnectorOf(TlsConnector);

impl std::fmt::Debug for TlsConnectorOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsConnectorOf")
    }
}

impl TlsConnectorOf {
    fn new(config: &ClientConfig, protocol: &[u8]) -> Self {
        let mut config = config.clone();
        config.alpn_protocols = vec![protocol.to_vec()];
        Self(TlsConnector::from(Arc::new(config)))
    }
}

impl Endpoint {
    /// Where the current context of the kubeconfig at `path` leads.
    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        let upstream = arc_emulator::upstream::read(path)?;
        let address = upstream.url.socket_addrs(|| None)?;
        let authorization = upstream
            .authorization
            .ok_or("the kubeconfig has no token")?;
        let mut authorization = HeaderValue::try_from(authorization)?;
        authorization.set_sensitive(true);
        Ok(Self {
            address: *address.first().ok_or("the server has no address")?,
            prefix: upstream.url.path().trim_end_matches('/').to_owned(),
            authorization,
            http1: TlsConnectorOf::new(&upstream.tls, b"http/1.1"),
            http2: TlsConnectorOf::new(&upstream.tls, b"h2"),
        })
    }

    async fn secure(&self, connector: &TlsConnectorOf) -> std::io::Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(self.address).await?;
        tcp.set_nodelay(true)?;
        let name = ServerName::from(self.address.ip());
        connector.0.connect(name, tcp).await
    }

    /// A connection for an upgrade.
    pub(crate) async fn connect_http1(&self) -> std::io::Result<TlsStream<TcpStream>> {
        self.secure(&self.http1).await
    }

    /// A connection for requests.
    pub(crate) async fn connect(&self) -> Result<Connection, Error> {
        let stream = self.secure(&self.http2).await?;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .handshake(TokioIo::new(stream))
            .await?;
        // An error is told to whoever waits for an answer.
        let driver = tokio::spawn(async move { drop(connection.await) });
        Ok(Connection {
            sender,
            _driver: Arc::new(AbortOnDropHandle::new(driver)),
        })
    }

    /// A request for `path`, with what lets it in.
    pub(crate) fn request(&self, method: http::Method, path: &str, body: Body) -> Request<Body> {
        let mut request = Request::new(body);
        *request.method_mut() = method;
        let uri = format!("https://{}{}{path}", self.address, self.prefix);
        // The paths are our own.
        *request.uri_mut() = uri.parse().unwrap_or_default();
        request
            .headers_mut()
            .insert(header::AUTHORIZATION, self.authorization.clone());
        request
    }

    /// The address of `path` for a WebSocket, and what lets it in.
    pub(crate) fn websocket(&self, path: &str) -> (String, HeaderValue) {
        let url = format!("wss://{}{}{path}", self.address, self.prefix);
        (url, self.authorization.clone())
    }
}

/// An HTTP/2 connection; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    pub(crate) sender: http2::SendRequest<Body>,
    _driver: Arc<AbortOnDropHandle<()>>,
}

/// A connection that is made anew when it is needed and gone.
#[derive(Debug)]
pub(crate) struct Line {
    endpoint: Arc<Endpoint>,
    connection: tokio::sync::Mutex<Option<Connection>>,
}

impl Line {
    pub(crate) fn new(endpoint: Arc<Endpoint>) -> Self {
        Self {
            endpoint,
            connection: tokio::sync::Mutex::default(),
        }
    }

    pub(crate) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// The connection.
    pub(crate) async fn connection(&self) -> Result<Connection, Error> {
        let mut kept = self.connection.lock().await;
        if let Some(connection) = kept.as_ref().filter(|kept| !kept.sender.is_closed()) {
            return Ok(connection.clone());
        }
        let connection = self.endpoint.connect().await?;
        *kept = Some(connection.clone());
        Ok(connection)
    }
}
