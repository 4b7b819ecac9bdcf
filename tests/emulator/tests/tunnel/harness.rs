//! A relay to test against, and the clients that a test plays itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_emulator::faults::Faults;
use arc_emulator::relay::{Limits, Relay, RelayConfig};
use arc_emulator::shape::Shaper;
use arc_emulator::tls::Authority;
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};

pub(crate) const NAMESPACE: &str = "contoso";
pub(crate) const LISTENER: &str = "microsoft.kubernetes/connectedclusters/1234";
pub(crate) const PATH: &str = "microsoft.kubernetes/connectedclusters/1234/1631185383340987904";
pub(crate) const ID: &str = "4cb542c3-047a-4d40-a19f-bdc66441e736";

/// Longer than anything here takes, and short enough for a test that hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// How long nothing has to happen for a test to believe that nothing will.
pub(crate) const SILENCE: Duration = Duration::from_millis(200);

pub(crate) type Socket = WebSocketStream<TlsStream<TcpStream>>;

/// A relay with one hybrid connection.
pub(crate) struct Stage {
    pub(crate) relay: Arc<Relay>,
    pub(crate) faults: Faults,
    pub(crate) tls: ClientConfig,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        Self::with(Limits::default()).await
    }

    pub(crate) async fn with(limits: Limits) -> Self {
        let authority = Arc::new(Authority::new("emulator").unwrap());
        let faults = Faults::default();
        let tls = authority.client_config(&["http/1.1"]).unwrap();
        let config = RelayConfig {
            authority,
            faults: faults.clone(),
            shaper: Shaper::new(faults.clone()),
        };
        let relay = Relay::start_with(config, limits).await.unwrap();
        relay.create(NAMESPACE, PATH, LISTENER);
        Self { relay, faults, tls }
    }

    /// A time far ahead, by the cloud's clock.
    pub(crate) fn later(&self) -> u64 {
        self.faults.cloud_time() + 3600
    }

    pub(crate) fn sender_token(&self) -> String {
        self.relay.sender_token(NAMESPACE, PATH, self.later())
    }

    pub(crate) fn listener_token(&self) -> String {
        self.relay.listener_token(NAMESPACE, LISTENER, self.later())
    }

    pub(crate) fn url(&self, path: &str, action: &str) -> String {
        let port = self.relay.address().port();
        format!("wss://{NAMESPACE}.localhost:{port}/$hc/{path}?sb-hc-action={action}&sb-hc-id={ID}")
    }

    /// Opens a TLS connection to the relay.
    pub(crate) async fn connect(&self) -> TlsStream<TcpStream> {
        connect(self.relay.address(), &self.tls).await
    }

    /// Opens a WebSocket at `url`, which may be one that the relay gave out.
    pub(crate) async fn open(&self, url: &str, token: Option<&str>) -> Result<Socket, Error> {
        let mut request = url.into_client_request().unwrap();
        if let Some(token) = token {
            let headers = request.headers_mut();
            headers.insert("ServiceBusAuthorization", token.parse().unwrap());
        }
        let opening = async {
            let tls = self.connect().await;
            let (socket, _) = tokio_tungstenite::client_async(request, tls).await?;
            Ok(socket)
        };
        Box::pin(opening).await
    }

    /// Dials as a sender.
    pub(crate) async fn dial(&self) -> Result<Socket, Error> {
        let token = self.sender_token();
        self.open(&self.url(PATH, "connect"), Some(&token)).await
    }

    /// Opens a listener's control channel.
    pub(crate) async fn listen(&self) -> Socket {
        let token = self.listener_token();
        self.open(&self.url(LISTENER, "listen"), Some(&token))
            .await
            .unwrap()
    }

    /// Meets the next sender that `control` is told about.
    pub(crate) async fn meet(&self, control: &mut Socket) -> Socket {
        let accept = accept(control).await;
        let address = accept["accept"]["address"].as_str().unwrap();
        self.open(address, None).await.unwrap()
    }

    /// A sender and a listener that have met.
    pub(crate) async fn tunnel(&self) -> (Socket, Socket) {
        let mut control = self.listen().await;
        let (sender, listener) = tokio::join!(self.dial(), self.meet(&mut control));
        (sender.unwrap(), listener)
    }

    /// Sends `request`, raw, and returns the head of the answer.
    pub(crate) async fn raw(&self, request: &str) -> String {
        let mut tls = self.connect().await;
        tls.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(tls.read_u8().await.unwrap());
        }
        String::from_utf8(head).unwrap()
    }

    /// Waits until what the relay has seen is as it should be.
    pub(crate) async fn seen(&self, is: impl Fn(&arc_emulator::relay::RelaySeen) -> bool) {
        until(|| is(&self.relay.seen())).await;
    }
}

pub(crate) async fn connect(address: SocketAddr, tls: &ClientConfig) -> TlsStream<TcpStream> {
    let tcp = TcpStream::connect(address).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    let name = ServerName::try_from(format!("{NAMESPACE}.localhost")).unwrap();
    let connector = TlsConnector::from(Arc::new(tls.clone()));
    connector.connect(name, tcp).await.unwrap()
}

/// Waits until `condition` holds.
pub(crate) async fn until(condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .expect("the condition holds in time");
}

/// The next `accept` message of a control channel.
pub(crate) async fn accept(control: &mut Socket) -> Value {
    loop {
        match next(control).await {
            Message::Text(text) => return serde_json::from_str(&text).unwrap(),
            Message::Close(frame) => panic!("the control channel was closed: {frame:?}"),
            _ => {}
        }
    }
}

pub(crate) async fn next(socket: &mut Socket) -> Message {
    tokio::time::timeout(PATIENCE, socket.next())
        .await
        .expect("a message comes in time")
        .expect("the socket is open")
        .unwrap()
}

pub(crate) async fn send(socket: &mut Socket, bytes: impl Into<Bytes>) {
    socket.send(Message::Binary(bytes.into())).await.unwrap();
}

/// Reads binary messages until there are `length` bytes.
pub(crate) async fn receive(socket: &mut Socket, length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < length {
        match next(socket).await {
            Message::Binary(more) => bytes.extend_from_slice(&more),
            Message::Ping(_) | Message::Pong(_) => {}
            other => panic!("{other:?} after {} bytes", bytes.len()),
        }
    }
    bytes
}

/// Reads binary messages until the close.
pub(crate) async fn receive_to_close(socket: &mut Socket) -> (Vec<u8>, Option<CloseFrame>) {
    let mut bytes = Vec::new();
    loop {
        match next(socket).await {
            Message::Binary(more) => bytes.extend_from_slice(&more),
            Message::Close(frame) => return (bytes, frame),
            _ => {}
        }
    }
}

/// The code of the close that comes next.
pub(crate) async fn close_code(socket: &mut Socket) -> u16 {
    let (bytes, frame) = receive_to_close(socket).await;
    assert!(bytes.is_empty(), "{} bytes before the close", bytes.len());
    frame.map_or(1005, |frame| frame.code.into())
}

/// Asserts that nothing comes.
pub(crate) async fn is_silent(socket: &mut Socket) {
    let came = tokio::time::timeout(SILENCE, socket.next()).await;
    assert!(came.is_err(), "{came:?}");
}

/// The status with which a dial was refused.
pub(crate) fn refused_with(dialled: Result<Socket, Error>) -> u16 {
    match dialled {
        Err(Error::Http(response)) => response.status().as_u16(),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("the dial was not refused"),
    }
}
