//! The least that can stand in the place of a program on the path: it ends TLS, begins it anew and
//! copies bytes. It reads no HTTP, checks nobody and frames nothing.
//!
//! This binary runs itself as one. It is told what to be in a line of JSON on standard input, says
//! on standard output where it is reached, also in JSON, and ends with its standard input.

use std::io::{self, BufRead as _, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener as StdListener};
use std::sync::Arc;
use std::thread;

use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite, BufReader, copy_bidirectional_with_sizes};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::Result;
use crate::far::{self, Chain};
use crate::peer::Peer;

/// What each direction holds, and what is read from a socket at once: rustls by itself reads a
/// record in four pieces.
const BUFFER: usize = 64 << 10;
/// What is spoken inside. No forwarder reads it.
const ALPN: &str = "h2";

/// What a process is to be.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Role {
    /// One forwarder before this server.
    Alone(Peer),
    /// arcproxy's place: what it takes goes on in TLS inside TLS.
    Near(Chain),
    /// The places behind it.
    Far,
}

/// Does as standard input says until it ends.
pub(crate) fn run() -> Result<()> {
    let mut stdin = io::stdin().lock();
    let mut role = String::new();
    stdin.read_line(&mut role)?;
    let ready = match serde_json::from_str(&role)? {
        Role::Alone(server) => serde_json::to_string(&start(Onward::Tls(server))?)?,
        Role::Near(chain) => serde_json::to_string(&start(Onward::TlsInTls(chain))?)?,
        Role::Far => serde_json::to_string(&far::start()?)?,
    };
    writeln!(io::stdout().lock(), "{ready}")?;
    stdin.read_to_end(&mut Vec::new())?;
    Ok(())
}

/// How a forwarder reaches what is behind it.
enum Onward {
    Tls(Peer),
    TlsInTls(Chain),
}

/// Starts a forwarder on a thread, which ends with the process.
fn start(onward: Onward) -> Result<Peer> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let place = Place::take()?;
    let peer = place.peer.clone();
    let onward = Arc::new(onward);
    thread::spawn(move || {
        runtime.block_on(place.serve(move |tcp, acceptor| {
            let onward = Arc::clone(&onward);
            async move { forward(tcp, &acceptor, &onward).await }
        }))
    });
    Ok(peer)
}

async fn forward(tcp: TcpStream, acceptor: &TlsAcceptor, onward: &Onward) -> Result<()> {
    let client = acceptor.accept(buffered(tcp)).await?;
    match onward {
        Onward::Tls(server) => {
            let server = server.secure(buffered(server.dial().await?), ALPN).await?;
            copy(client, server).await;
        }
        Onward::TlsInTls(Chain { outer, inner }) => {
            let far = outer.secure(buffered(outer.dial().await?), ALPN).await?;
            let far = inner.secure(far, ALPN).await?;
            copy(client, far).await;
        }
    }
    Ok(())
}

/// A socket that nobody listens on yet, and the certificate for it.
pub(crate) struct Place {
    pub(crate) peer: Peer,
    pub(crate) config: Arc<ServerConfig>,
    listener: StdListener,
}

impl Place {
    /// Any that is free.
    pub(crate) fn take() -> Result<Self> {
        let listener = StdListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (config, authority) = certificate()?;
        Ok(Self {
            peer: Peer { address, authority },
            config,
            listener,
        })
    }

    /// Gives every connection to `serve`.
    pub(crate) async fn serve<S, F>(self, serve: S) -> io::Result<()>
    where
        S: Fn(TcpStream, TlsAcceptor) -> F,
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let acceptor = TlsAcceptor::from(self.config);
        let listener = TcpListener::from_std(self.listener)?;
        loop {
            let (tcp, _) = listener.accept().await?;
            tcp.set_nodelay(true)?;
            let serving = serve(tcp, acceptor.clone());
            tokio::spawn(async move {
                if let Err(error) = serving.await {
                    let _ = writeln!(io::stderr().lock(), "forwarder: {error}");
                }
            });
        }
    }
}

/// What rustls reads from.
pub(crate) fn buffered(tcp: TcpStream) -> BufReader<TcpStream> {
    BufReader::with_capacity(BUFFER, tcp)
}

async fn copy<A, B>(mut one: A, mut other: B)
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    // A measurement ends without a word; one that is under way notices by itself.
    let _ = copy_bidirectional_with_sizes(&mut one, &mut other, BUFFER, BUFFER).await;
}

/// TLS with a fresh certificate, and that certificate.
fn certificate() -> Result<(Arc<ServerConfig>, String)> {
    let key = KeyPair::generate()?;
    let params = CertificateParams::new([Ipv4Addr::LOCALHOST.to_string()])?;
    let certificate = params.self_signed(&key)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )?;
    config.alpn_protocols = vec![ALPN.as_bytes().to_vec()];
    Ok((Arc::new(config), certificate.pem()))
}
