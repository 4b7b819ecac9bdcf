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
use crate::peer::Peer;

/// What each direction holds, and what is read from a socket at once: rustls by itself reads a
/// record in four pieces.
const BUFFER: usize = 64 << 10;
/// What is spoken inside. Nobody here reads it.
const ALPN: &str = "h2";

/// What a process is to be.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Role {
    /// One forwarder before this server.
    Alone(Peer),
    /// arcproxy's place: what it takes goes in TLS to the last hop, inside TLS to the relay.
    Near(Chain),
    /// The relay's place, and behind it kube-aad-proxy's before this server.
    Far(Peer),
}

/// The two far places.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Chain {
    pub(crate) relay: Peer,
    pub(crate) last: Peer,
}

/// Does as standard input says until it ends.
pub(crate) fn run() -> Result<()> {
    let mut stdin = io::stdin().lock();
    let mut role = String::new();
    stdin.read_line(&mut role)?;
    let ready = match serde_json::from_str(&role)? {
        Role::Alone(server) => serde_json::to_string(&start(Onward::Tls(server))?)?,
        Role::Near(chain) => serde_json::to_string(&start(Onward::TlsInTls(chain))?)?,
        Role::Far(server) => {
            let last = start(Onward::Tls(server))?;
            let relay = start(Onward::Plain(last.clone()))?;
            serde_json::to_string(&Chain { relay, last })?
        }
    };
    writeln!(io::stdout().lock(), "{ready}")?;
    stdin.read_to_end(&mut Vec::new())?;
    Ok(())
}

/// How a hop reaches the next.
enum Onward {
    Plain(Peer),
    Tls(Peer),
    TlsInTls(Chain),
}

/// Starts a hop on a thread of its own, which ends with the process.
fn start(onward: Onward) -> Result<Peer> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (config, authority) = certificate()?;
    let listener = StdListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    thread::spawn(move || runtime.block_on(accept(listener, config.into(), Arc::new(onward))));
    Ok(Peer { address, authority })
}

async fn accept(
    listener: StdListener,
    acceptor: TlsAcceptor,
    onward: Arc<Onward>,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (tcp, _) = listener.accept().await?;
        let (acceptor, onward) = (acceptor.clone(), Arc::clone(&onward));
        tokio::spawn(async move {
            if let Err(error) = forward(tcp, &acceptor, &onward).await {
                let _ = writeln!(io::stderr().lock(), "forwarder: {error}");
            }
        });
    }
}

async fn forward(tcp: TcpStream, acceptor: &TlsAcceptor, onward: &Onward) -> Result<()> {
    tcp.set_nodelay(true)?;
    let client = acceptor.accept(buffered(tcp)).await?;
    match onward {
        Onward::Plain(next) => copy(client, next.dial().await?).await,
        Onward::Tls(next) => {
            let next = next.secure(buffered(next.dial().await?), ALPN).await?;
            copy(client, next).await;
        }
        Onward::TlsInTls(Chain { relay, last }) => {
            let outer = relay.secure(buffered(relay.dial().await?), ALPN).await?;
            let inner = last.secure(outer, ALPN).await?;
            copy(client, inner).await;
        }
    }
    Ok(())
}

fn buffered(tcp: TcpStream) -> BufReader<TcpStream> {
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
