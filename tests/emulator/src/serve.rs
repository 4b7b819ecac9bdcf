//! Accepting TLS connections and serving HTTP on them, for every HTTP service of the emulator.

mod breaking;
mod connection;
mod tls;

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::HandshakeKind;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use breaking::Break;
pub use connection::Connection;
pub use tls::Tls;

use crate::door::{Arrival, Door};
use crate::http::Body;
use crate::shape::Shaper;
use breaking::{Breaker, Breaking};
use connection::Socket;

/// How long a client may take over the TLS handshake.
const PATIENCE: Duration = Duration::from_secs(30);

/// Requests that one HTTP/2 connection may carry at once, as Go's servers have it.
const MAX_STREAMS: u32 = 250;
/// Requests that a client may have taken back before they were looked at. hyper's 20 end a
/// connection after no more than a moment without the processor; Go's servers have no such bound.
const RESET_STREAMS: usize = 10_000;
/// What a client may send on one HTTP/2 stream before it is read, in bytes.
const STREAM_WINDOW: u32 = 1 << 20;
/// What a client may put into one frame, in bytes, as Go's servers have it.
const FRAME: u32 = 1 << 20;
/// The same for a whole connection: far more, so that no unread stream stops the others.
const CONNECTION_WINDOW: u32 = 64 << 20;

/// What TLS takes in before it is written, in bytes: what the relay gathers for a client goes at once.
const TLS_BUFFER: usize = 512 << 10;

/// What a service says about HTTP/2, where it differs from the usual.
#[derive(Debug, Clone, Copy, Default)]
pub struct Http2 {
    /// The flow-control window of each stream, in bytes.
    pub stream_window: Option<u32>,
    /// The flow-control window of a whole connection, in bytes.
    pub connection_window: Option<u32>,
    /// How many streams a client may have open on a connection.
    pub max_streams: Option<u32>,
    /// What a client may put into one frame, in bytes.
    pub frame: Option<u32>,
}

impl Http2 {
    fn builder(self) -> auto::Builder<TokioExecutor> {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        let mut http2 = builder.http2();
        // As Go's servers have it: some people's tokens do not fit into hyper's 16 KiB.
        http2.max_header_list_size(1 << 20);
        http2
            .initial_stream_window_size(self.stream_window.unwrap_or(STREAM_WINDOW))
            .initial_connection_window_size(self.connection_window.unwrap_or(CONNECTION_WINDOW))
            .max_frame_size(self.frame.unwrap_or(FRAME))
            .max_pending_accept_reset_streams(RESET_STREAMS)
            .max_concurrent_streams(self.max_streams.unwrap_or(MAX_STREAMS));
        builder
    }
}

/// Answers requests without a connection, for a part of the emulator that is in the same process.
#[derive(Clone)]
pub struct Handler(Arc<dyn Fn(Request<Incoming>) -> Answering + Send + Sync>);

type Answering = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

impl Handler {
    /// Answers by `handler`.
    pub fn new<H, F>(handler: H) -> Self
    where
        H: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        Self(Arc::new(move |request| Box::pin(handler(request))))
    }

    /// Answers `request`.
    pub async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        (self.0)(request).await
    }
}

impl fmt::Debug for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handler").finish_non_exhaustive()
    }
}

/// Whether a service is away: whoever connects to its socket is reset at once.
#[derive(Debug, Clone, Default)]
pub struct Away(Arc<AtomicBool>);

impl Away {
    /// Lets the service go away, or come back.
    pub fn set(&self, away: bool) {
        self.0.store(away, Ordering::Relaxed);
    }

    fn now(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A running HTTP service. Dropping it closes its listener and every connection.
#[derive(Debug)]
pub struct Service {
    door: Door,
    breaks: watch::Sender<Option<Break>>,
    away: Away,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Service {
    /// Serves HTTP/1.1 and HTTP/2 over TLS on `address` (port 0 takes any free one); upgrades
    /// work. Connections pass through `shaper`. Requests carry their [`Connection`] as an
    /// extension.
    pub async fn start<H, F>(
        address: SocketAddr,
        tls: impl Into<Tls>,
        shaper: Shaper,
        handler: H,
    ) -> io::Result<Self>
    where
        H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        Self::start_each(address, tls, shaper, Http2::default(), move |_| {
            handler.clone()
        })
        .await
    }

    /// Like [`Service::start`], with a handler of its own for each connection and with `http2`
    /// for those that speak HTTP/2.
    pub async fn start_each<N, H, F>(
        address: SocketAddr,
        tls: impl Into<Tls>,
        shaper: Shaper,
        http2: Http2,
        new_handler: N,
    ) -> io::Result<Self>
    where
        N: Fn(&Connection) -> H + Send + Sync + 'static,
        H: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let listener = TcpListener::bind(address).await?;
        let (door, mut arrivals) = Door::beside(listener.local_addr()?);
        let address = door.address();
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let server = Arc::new(Server {
            tls: tls.into(),
            shaper,
            http: http2.builder(),
            new_handler,
            breaks: watch::Sender::new(None),
        });
        let breaks = server.breaks.clone();
        let away = Away::default();
        let is_away = away.clone();
        let connections = tasks.clone();
        let stopping = stop.clone();
        tasks.spawn(async move {
            loop {
                let accepted = tokio::select! {
                    () = stopping.cancelled() => break,
                    accepted = listener.accept() => accepted,
                    Some(arrival) = arrivals.recv() => {
                        let (server, stopping) = (Arc::clone(&server), stopping.clone());
                        connections.spawn(async move {
                            let serving = server.serve_arrival(arrival, address);
                            ended(stopping.run_until_cancelled(serving).await, address);
                        });
                        continue;
                    }
                };
                // A connection that was reset while it waited is no reason to stop accepting.
                let Ok((tcp, peer)) = accepted else { continue };
                if is_away.now() {
                    // Without it the connection ends in the ordinary way.
                    let _ = tcp.set_zero_linger();
                    continue;
                }
                let (server, stopping) = (Arc::clone(&server), stopping.clone());
                connections.spawn(async move {
                    let serving = server.serve_socket(tcp, peer);
                    ended(stopping.run_until_cancelled(serving).await, peer);
                });
            }
        });
        tasks.close();
        Ok(Self {
            door,
            breaks,
            away,
            stop,
            tasks,
        })
    }

    /// Where the service listens.
    pub fn address(&self) -> SocketAddr {
        self.door.address()
    }

    /// A way to the service through memory, for the emulator's own parts; no shaper lies in it.
    pub fn door(&self) -> Door {
        self.door.clone()
    }

    /// Ends, in this way, the connections that are open now.
    pub fn break_connections(&self, how: Break) {
        self.breaks.send_replace(Some(how));
    }

    /// Lets the service go away.
    pub fn away(&self) -> Away {
        self.away.clone()
    }

    /// Stops the service and waits for its connections to end. Upgraded connections belong to
    /// whoever took them.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Says why a connection ended that has not been stopped.
fn ended(outcome: Option<io::Result<()>>, peer: SocketAddr) {
    if let Some(Err(error)) = outcome {
        tracing::debug!(%peer, %error, "connection ended");
    }
}

/// What every connection of a service needs.
struct Server<N> {
    tls: Tls,
    shaper: Shaper,
    http: auto::Builder<TokioExecutor>,
    new_handler: N,
    breaks: watch::Sender<Option<Break>>,
}

impl<N, H, F> Server<N>
where
    N: Fn(&Connection) -> H,
    H: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    async fn serve_socket(&self, tcp: TcpStream, peer: SocketAddr) -> io::Result<()> {
        tcp.set_nodelay(true)?;
        let connection = Connection::new(peer, tcp.local_addr()?);
        let socket = Socket::new(tcp, &connection);
        let handshake = async {
            self.shaper.handshake().await;
            let acceptor = TlsAcceptor::from(self.tls.now());
            acceptor.accept(self.shaper.shape(socket)).await
        };
        let tls = tokio::time::timeout(PATIENCE, handshake).await??;
        self.serve_tls(tls, connection).await
    }

    async fn serve_arrival(&self, arrival: Arrival, address: SocketAddr) -> io::Result<()> {
        let connection = Connection::new(address, address);
        if arrival.is_plain {
            return self.serve_http(arrival.stream, connection).await;
        }
        let handshake = TlsAcceptor::from(self.tls.now()).accept(arrival.stream);
        let tls = tokio::time::timeout(PATIENCE, handshake).await??;
        self.serve_tls(tls, connection).await
    }

    async fn serve_tls<S>(
        &self,
        mut tls: TlsStream<S>,
        mut connection: Connection,
    ) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (_, session) = tls.get_mut();
        session.set_buffer_limit(Some(TLS_BUFFER));
        connection.alpn = session.alpn_protocol().map(<[u8]>::to_vec);
        connection.resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
        self.serve_http(tls, connection).await
    }

    async fn serve_http<S>(&self, stream: S, connection: Connection) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let handler = (self.new_handler)(&connection);
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(connection.clone());
            let answer = handler(request);
            async move { Ok::<_, Infallible>(answer.await) }
        });
        let mut breaks = self.breaks.subscribe();
        let breaker = Breaker::default();
        let stream = TokioIo::new(Breaking::new(stream, breaker.clone()));
        let serving = self.http.serve_connection_with_upgrades(stream, service);
        tokio::pin!(serving);
        loop {
            tokio::select! {
                served = &mut serving => return served.map_err(io::Error::other),
                Ok(()) = breaks.changed() => match *breaks.borrow_and_update() {
                    Some(Break::GoAway) => serving.as_mut().graceful_shutdown(),
                    Some(Break::InFrame) => breaker.arm(),
                    None => {}
                },
            }
        }
    }
}
