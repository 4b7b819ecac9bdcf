//! Accepting TLS connections and serving HTTP on them, for every HTTP service of the emulator.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::http::Body;
use crate::shape::Shaper;

/// Requests that one HTTP/2 connection may carry at once, as on a real apiserver.
const MAX_STREAMS: u32 = 250;

/// What a client may send on one HTTP/2 stream before it is read, in bytes.
const STREAM_WINDOW: u32 = 1024 * 1024;

/// The same for a whole connection: far more than a stream's, so that no stream stops the others.
const CONNECTION_WINDOW: u32 = 64 * 1024 * 1024;

/// Tokens of people in many groups are larger than hyper's default allows, in bytes.
const MAX_HEADER_LIST: u32 = 1024 * 1024;

/// A running HTTP service. Dropping it closes its listener and every connection.
#[derive(Debug)]
pub struct Service {
    address: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Service {
    /// Serves HTTP/1.1 and HTTP/2 over TLS on `address` (port 0 takes any free one); upgrades
    /// work. Connections pass through `shaper`.
    pub async fn start<H, F>(
        address: SocketAddr,
        tls: ServerConfig,
        shaper: Shaper,
        handler: H,
    ) -> io::Result<Self>
    where
        H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let connections = tasks.clone();
        let stopping = stop.clone();
        tasks.spawn(async move {
            loop {
                let accepted = tokio::select! {
                    () = stopping.cancelled() => break,
                    accepted = listener.accept() => accepted,
                };
                // A connection that was reset while it waited is no reason to stop accepting.
                let Ok((tcp, peer)) = accepted else { continue };
                let (acceptor, shaper, handler) =
                    (acceptor.clone(), shaper.clone(), handler.clone());
                let stopping = stopping.clone();
                connections.spawn(async move {
                    let serving = async {
                        tcp.set_nodelay(true)?;
                        let tls = acceptor.accept(shaper.shape(tcp)).await?;
                        let service = service_fn(move |request| {
                            let answer = handler(request);
                            async move { Ok::<_, Infallible>(answer.await) }
                        });
                        let mut server = auto::Builder::new(TokioExecutor::new());
                        server
                            .http2()
                            .max_concurrent_streams(MAX_STREAMS)
                            .initial_stream_window_size(STREAM_WINDOW)
                            .initial_connection_window_size(CONNECTION_WINDOW)
                            .max_header_list_size(MAX_HEADER_LIST);
                        server
                            .serve_connection_with_upgrades(TokioIo::new(tls), service)
                            .await
                            .map_err(io::Error::other)
                    };
                    tokio::select! {
                        () = stopping.cancelled() => {}
                        ended = serving => if let Err(error) = ended {
                            tracing::debug!(%peer, %error, "connection ended");
                        },
                    }
                });
            }
        });
        tasks.close();
        Ok(Self {
            address,
            stop,
            tasks,
        })
    }

    /// Where the service listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops the service and waits for its connections to end.
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
