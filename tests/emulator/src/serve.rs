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
                        auto::Builder::new(TokioExecutor::new())
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
