//! The far places of the path at their least: the outer TLS ends, the inner TLS ends, and the
//! emulator's apiserver answers, all on one thread of one process, as in the emulator.

use std::convert::Infallible;
use std::thread;

use arc_emulator::apiserver::{ApiServer, ApiServerConfig};
use arc_emulator::serve::Handler;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::Result;
use crate::forwarder::{Place, buffered};
use crate::peer::Peer;

/// What the emulator's services say about HTTP/2.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 64 << 20;
const MAX_STREAMS: u32 = 250;

/// How they are reached.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Far {
    pub(crate) chain: Chain,
    /// What the apiserver lets in.
    pub(crate) token: String,
}

/// The ends of the two TLS connections, one of them inside the other.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Chain {
    pub(crate) outer: Peer,
    pub(crate) inner: Peer,
}

/// Starts them on a thread, which ends with the process.
pub(crate) fn start() -> Result<Far> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let apiserver = runtime.block_on(ApiServer::start(ApiServerConfig::default()))?;
    let token = apiserver.admin_token();
    // Of the inner one only the certificate matters: its connections come inside the outer's.
    let (outer, inner) = (Place::take()?, Place::take()?);
    let chain = Chain {
        outer: outer.peer.clone(),
        inner: inner.peer.clone(),
    };
    thread::spawn(move || {
        let inner = TlsAcceptor::from(inner.config);
        runtime.block_on(outer.serve(move |tcp, outer| {
            let (inner, handler) = (inner.clone(), apiserver.handler());
            async move { serve(tcp, &outer, &inner, handler).await }
        }))
    });
    Ok(Far { chain, token })
}

async fn serve(
    tcp: TcpStream,
    outer: &TlsAcceptor,
    inner: &TlsAcceptor,
    handler: Handler,
) -> Result<()> {
    let outer = outer.accept(buffered(tcp)).await?;
    let inner = inner.accept(outer).await?;
    let service = service_fn(move |request| {
        let handler = handler.clone();
        async move { Ok::<_, Infallible>(handler.answer(request).await) }
    });
    let served = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(MAX_STREAMS)
        .serve_connection(TokioIo::new(inner), service);
    // A measurement ends without a word; one that is under way notices by itself.
    let _ = served.await;
    Ok(())
}
