//! The client that stands in for kubectl: one connection, HTTP/2 over TLS as kubectl has it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

use crate::Result;
use crate::kubeconfig::Endpoint;

/// Windows of Go's HTTP/2 client, which is kubectl's.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 1 << 30;
/// How long an answer may take before the harness is taken for broken.
const DEADLINE: Duration = Duration::from_mins(1);
const CHUNK: usize = 64 * 1024;
static ZEROS: [u8; CHUNK] = [0; CHUNK];

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A connection.
#[derive(Debug)]
pub(crate) struct Client {
    sender: Sender,
    /// What stands before every path.
    base: String,
    authorization: Option<HeaderValue>,
    driver: Arc<AbortOnDropHandle<()>>,
}

#[derive(Debug)]
enum Sender {
    Http2(http2::SendRequest<Body>),
    Http1(http1::SendRequest<Body>),
}

impl Client {
    /// HTTP/2 over TLS.
    pub(crate) async fn connect(endpoint: &Endpoint) -> Result<Self> {
        let peer = &endpoint.peer;
        let stream = peer.secure(peer.dial().await?, "h2").await?;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .handshake(TokioIo::new(stream))
            .await?;
        // An error is told to whoever waits for an answer.
        let driver = tokio::spawn(async move { drop(connection.await) });
        Ok(Self {
            sender: Sender::Http2(sender),
            base: format!("https://{}{}", peer.address, endpoint.prefix),
            authorization: Some(endpoint.authorization.clone()),
            driver: Arc::new(AbortOnDropHandle::new(driver)),
        })
    }

    /// HTTP/1.1 without TLS.
    pub(crate) async fn connect_plain(address: SocketAddr) -> Result<Self> {
        let tcp = TcpStream::connect(address).await?;
        tcp.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(tcp)).await?;
        let driver = tokio::spawn(async move { drop(connection.await) });
        Ok(Self {
            sender: Sender::Http1(sender),
            base: format!("http://{address}"),
            authorization: None,
            driver: Arc::new(AbortOnDropHandle::new(driver)),
        })
    }

    /// Another handle of the same connection, which must carry many requests at once.
    pub(crate) fn share(&self) -> Result<Self> {
        match &self.sender {
            Sender::Http1(_) => Err("HTTP/1.1 carries one request at once".into()),
            Sender::Http2(sender) => Ok(Self {
                sender: Sender::Http2(sender.clone()),
                base: self.base.clone(),
                authorization: self.authorization.clone(),
                driver: Arc::clone(&self.driver),
            }),
        }
    }

    /// Gets `path` to the end of its body. Gives the time it took and the body's length.
    pub(crate) async fn get(&mut self, path: &str) -> Result<(Duration, u64)> {
        let started = Instant::now();
        let response = self.open(path).await?;
        let length = drain(response.into_body()).await?;
        Ok((started.elapsed(), length))
    }

    /// Gets `path` as far as the answer's head.
    pub(crate) async fn open(&mut self, path: &str) -> Result<Response<Incoming>> {
        let nothing = Empty::new().boxed_unsync();
        self.send(Method::GET, path, nothing).await
    }

    /// Posts `length` bytes. Gives the time until the answer has ended.
    pub(crate) async fn post(&mut self, path: &str, length: u64) -> Result<Duration> {
        let started = Instant::now();
        let response = self.send(Method::POST, path, zeros(length)).await?;
        drain(response.into_body()).await?;
        Ok(started.elapsed())
    }

    async fn send(&mut self, method: Method, path: &str, body: Body) -> Result<Response<Incoming>> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base));
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let mut request = request.body(body)?;
        let answer = async {
            match &mut self.sender {
                Sender::Http2(sender) => {
                    sender.ready().await?;
                    sender.send_request(request).await
                }
                Sender::Http1(sender) => {
                    sender.ready().await?;
                    let host = request.uri().authority().map(ToString::to_string);
                    if let Some(Ok(host)) = host.map(HeaderValue::try_from) {
                        request.headers_mut().insert(header::HOST, host);
                    }
                    let path = request.uri().path_and_query().cloned();
                    *request.uri_mut() = path.map_or_else(Default::default, Into::into);
                    sender.send_request(request).await
                }
            }
        };
        let response = tokio::time::timeout(DEADLINE, answer).await??;
        if response.status() != StatusCode::OK {
            let status = response.status();
            let why = response.into_body().collect().await?.to_bytes();
            let why = String::from_utf8_lossy(&why);
            return Err(format!("{}{path} answers {status}: {why}", self.base).into());
        }
        Ok(response)
    }
}

/// Reads `body` to its end and gives its length.
pub(crate) async fn drain(mut body: Incoming) -> Result<u64> {
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        length += frame?.data_ref().map_or(0, |data| data.len() as u64);
    }
    Ok(length)
}

/// A body of `length` bytes.
fn zeros(length: u64) -> Body {
    let chunks = stream::unfold(length, |left| async move {
        let next = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        let chunk = Bytes::from_static(&ZEROS[..next]);
        (next > 0).then(|| (Ok(Frame::data(chunk)), left - next as u64))
    });
    StreamBody::new(chunks).boxed_unsync()
}
