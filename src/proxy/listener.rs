//! The listener: TLS on loopback, HTTP/2 and HTTP/1.1, and a shutdown that drains first.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::gate;
use super::gather::Gathering;
use super::newcomers::{Newcomer, Newcomers};
use super::room::Room;
use super::{Gate, Upstream};
use crate::error::{Code, Error};
use crate::net::BulkReader;

const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// How long request headers may take on HTTP/1.1.
const HEADER_DEADLINE: Duration = Duration::from_secs(30);
/// The link is local: a window holds a burst, not a path.
const STREAM_WINDOW: u32 = 1 << 20;
/// Far larger than a stream's, so that one unread stream stops no other.
const CONNECTION_WINDOW: u32 = 64 << 20;
/// What a client may send at once: an upload in frames of HTTP/2's 16 KiB takes more work for each
/// byte, in every process that it passes.
const FRAME: u32 = 32 << 10;
/// More than is forwarded, so that the gate can say that it is too much. HTTP/2's library takes
/// headers in 5/4 as many frames as these fill: 1.28 MiB of who sends 16 KiB at a time, whatever
/// may be sent.
const HEADER_LIST: u32 = 2 * gate::HEADER_LIST;
/// How many headers a request may have on HTTP/1.1: one for each group of `--as-group`.
const HEADERS: usize = 1000;
/// kubectl, IDEs and dashboards hold one watch for each kind and namespace.
const STREAMS: u32 = 4096;
/// How many requests a client may have taken back before any of them was looked at, which ends its
/// connection. An IDE takes some dozens back at once while this program is not scheduled.
const TAKEN_BACK: usize = 256;
/// The pause after the system could not accept, for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// As many connections may be without a token at a time.
const NEWCOMERS: usize = 2048;

/// What a client's socket takes in before it is read, in bytes; the kernel doubles it. By itself it
/// would hold several MiB, which are in no cache any more when the client comes to read them.
const SOCKET: u32 = 256 << 10;
/// How many connections may wait to be accepted.
const BACKLOG: u32 = 1024;

/// A client's connection, while anything of it is open.
#[derive(Debug)]
pub(super) struct Visitor {
    pub(super) newcomer: Newcomer,
    _place: OwnedSemaphorePermit,
}

#[cfg(any(test, fuzzing))]
impl Visitor {
    /// One of its own.
    pub(super) async fn alone() -> Self {
        let room = Arc::new(tokio::sync::Semaphore::new(1));
        Self {
            newcomer: Arc::new(Newcomers::new(1)).arrive().await,
            _place: room.acquire_owned().await.expect("it is never closed"),
        }
    }
}

/// Why a connection was ended.
const NO_TOKEN: &str = "it showed no token";

/// A bound socket that does not serve yet.
#[derive(Debug)]
pub struct Listener {
    tcp: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Takes `port` on the IPv4 loopback address; 0 takes any free one.
    ///
    /// # Errors
    /// [`Code::Port`]: the port is taken or may not be used.
    pub async fn bind(port: u16) -> Result<Self, Error> {
        let bound = async {
            let tcp = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
            let address = tcp.local_addr()?;
            Ok(Self { tcp, address })
        };
        bound.await.map_err(|error: io::Error| {
            let what = if error.kind() == io::ErrorKind::AddrInUse {
                format!("port {port} is taken by another program")
            } else {
                format!("cannot listen on 127.0.0.1:{port}")
            };
            Error::new(Code::Port, what).caused_by(&error)
        })
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Serves until `stop`, then stops accepting, lets running requests finish for `grace`, and
    /// ends what is left.
    pub async fn serve<U: Upstream>(
        self,
        tls: Arc<ServerConfig>,
        gate: Arc<Gate<U>>,
        stop: CancellationToken,
        grace: Duration,
    ) {
        let acceptor = TlsAcceptor::from(tls);
        let drain = gate.drain();
        let mut room = Room::new();
        let newcomers = Arc::new(Newcomers::new(NEWCOMERS.min(room.total() / 2)));
        let mut is_failing = false;
        loop {
            let next = async {
                let place = room.take().await;
                let (tcp, peer) = self.tcp.accept().await?;
                let visitor = Visitor {
                    newcomer: newcomers.arrive().await,
                    _place: place,
                };
                Ok::<_, io::Error>((tcp, peer, visitor))
            };
            let next = tokio::select! {
                () = stop.cancelled() => break,
                next = next => next,
            };
            match next {
                Ok((tcp, peer, visitor)) => {
                    is_failing = false;
                    // Only a delay is lost where it cannot be set.
                    let _ = tcp.set_nodelay(true);
                    let socket = BulkReader::new(tcp);
                    let serving = connection(socket, acceptor.clone(), gate.clone(), visitor);
                    drain.spawn(async move {
                        if let Err(error) = serving.await {
                            tracing::debug!(%peer, %error, "a local connection broke");
                        }
                    });
                }
                Err(error) => {
                    if !is_failing {
                        tracing::warn!(%error, "cannot accept a local connection");
                        is_failing = true;
                    }
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(self.tcp);
        if !drain.end(grace).await {
            tracing::info!("some requests were still running");
        }
    }
}

/// Listens as tokio's own listener does, with sockets that hold no more than they should.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    if cfg!(unix) {
        socket.set_reuseaddr(true)?;
    }
    // Only speed is lost where it cannot be set.
    let _ = socket.set_send_buffer_size(SOCKET);
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Drives a connection while its client may stay; once draining, lets it finish what runs. hyper's
/// two kinds of connection share no trait that says so.
macro_rules! finish {
    ($serving:expr, $drain:expr, $newcomer:expr) => {{
        let mut serving = pin!($serving);
        tokio::select! {
            ended = serving.as_mut() => ended?,
            () = $newcomer.unwelcome() => return Err(NO_TOKEN.into()),
            () = $drain.draining() => {
                serving.as_mut().graceful_shutdown();
                serving.await?;
            }
        }
    }};
}

async fn connection<U: Upstream>(
    socket: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    acceptor: TlsAcceptor,
    gate: Arc<Gate<U>>,
    visitor: Visitor,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let drain = gate.drain().clone();
    let visitor = Arc::new(visitor);
    let newcomer = &visitor.newcomer;
    let stream = tokio::select! {
        // Whoever has not even shaken hands has nothing running.
        () = drain.draining() => return Ok(()),
        () = newcomer.unwelcome() => return Err(NO_TOKEN.into()),
        shaken = timeout(HANDSHAKE_DEADLINE, acceptor.accept(socket)) => shaken??,
    };
    let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    if is_h2 {
        return speak(Gathering::new(stream), is_h2, gate, visitor).await;
    }
    speak(stream, is_h2, gate, visitor).await
}

/// Serves HTTP to a visitor whose bytes come over `stream`.
pub(super) async fn speak<U: Upstream>(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    is_h2: bool,
    gate: Arc<Gate<U>>,
    visitor: Arc<Visitor>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let drain = gate.drain().clone();
    let newcomer = &visitor.newcomer;
    let io = TokioIo::new(stream);
    let caller = visitor.clone();
    let service = service_fn(move |request| {
        let (gate, visitor) = (gate.clone(), caller.clone());
        // In a box, since a stream would keep the room of this future for as long as it lives:
        // five KiB for each of a thousand watches.
        Box::pin(async move { Ok::<_, Infallible>(gate.answer(request, visitor).await) })
    });
    if is_h2 {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(FRAME)
            .max_header_list_size(HEADER_LIST)
            .max_concurrent_streams(STREAMS)
            .max_pending_accept_reset_streams(Some(TAKEN_BACK));
        let serving = builder.serve_connection(io, service);
        finish!(serving, drain, newcomer);
    } else {
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_DEADLINE)
            .max_headers(HEADERS)
            .max_buf_size(HEADER_LIST as usize);
        let serving = builder.serve_connection(io, service).with_upgrades();
        finish!(serving, drain, newcomer);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{Request, Response};
    use http_body_util::Full;
    use hyper::body::Incoming;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::task::JoinHandle;
    use tokio::time::Instant;

    use super::*;
    use crate::proxy::{LocalCertificate, RequestBody};

    type Served = Result<(), Box<dyn std::error::Error + Send + Sync>>;

    /// Nothing comes as far.
    struct Nowhere;

    impl Upstream for Nowhere {
        type Body = Full<Bytes>;

        async fn request(&self, _: Request<RequestBody>) -> Result<Response<Self::Body>, Error> {
            Err(Error::new(Code::Tunnel, "no tunnel"))
        }

        async fn upgrade(&self, _: Request<RequestBody>) -> Result<Response<Incoming>, Error> {
            Err(Error::new(Code::Tunnel, "no tunnel"))
        }

        fn body(_: Incoming) -> Self::Body {
            Full::default()
        }
    }

    /// A connection of somebody who has shown a token, if `is_known`, and its client's end.
    async fn visit(
        is_known: bool,
        serve: impl FnOnce(DuplexStream, Arc<Gate<Nowhere>>, Visitor) -> JoinHandle<Served>,
    ) -> (DuplexStream, JoinHandle<Served>) {
        let (client, socket) = duplex(1 << 10);
        let visitor = Visitor {
            newcomer: Arc::new(Newcomers::new(1)).arrive().await,
            _place: Room::new().take().await,
        };
        if is_known {
            visitor.newcomer.welcome();
        }
        let serving = serve(socket, Arc::new(Gate::new(Vec::new())), visitor);
        (client, serving)
    }

    #[tokio::test(start_paused = true)]
    async fn a_handshake_has_a_deadline() {
        let tls = LocalCertificate::generate().expect("a certificate").config;
        let (mut client, serving) = visit(false, |socket, gate, visitor| {
            tokio::spawn(connection(socket, TlsAcceptor::from(tls), gate, visitor))
        })
        .await;
        let begun = Instant::now();
        // The beginning of one.
        let hello = [0x16, 3, 1, 2, 0, 1];
        client.write_all(&hello).await.expect("it is taken");
        let ended = client.read_to_end(&mut Vec::new()).await;
        ended.expect("the connection ends");
        assert_eq!(begun.elapsed().as_secs(), HANDSHAKE_DEADLINE.as_secs());
        assert!(serving.await.expect("no panic").is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_has_a_deadline_though_a_token_was_shown() {
        let (mut client, serving) = visit(true, |socket, gate, visitor| {
            tokio::spawn(speak(socket, false, gate, Arc::new(visitor)))
        })
        .await;
        let begun = Instant::now();
        let half = b"GET /version HTTP/1.1\r\nHost: localhost\r\n";
        client.write_all(half).await.expect("it is taken");
        let ended = client.read_to_end(&mut Vec::new()).await;
        ended.expect("the connection ends");
        assert_eq!(begun.elapsed().as_secs(), HEADER_DEADLINE.as_secs());
        assert!(serving.await.expect("no panic").is_err());
    }

    #[tokio::test]
    async fn what_a_client_has_not_read_is_little() {
        let listener = Listener::bind(0).await.expect("a free port");
        let client = tokio::net::TcpStream::connect(listener.address).await;
        let (accepted, _) = listener.tcp.accept().await.expect("it comes");
        let accepted = accepted.into_std().expect("a socket");
        let holds = TcpSocket::from_std_stream(accepted).send_buffer_size();
        let holds = holds.expect("it is known");
        assert!((SOCKET..=2 * SOCKET).contains(&holds), "{holds} bytes");
        drop(client.expect("a connection"));
    }
}
