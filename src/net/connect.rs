//! Opening a connection: TCP, a web proxy where one is on the way, TLS; each with a deadline and
//! an error of its own.

use std::fmt;
use std::io;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use super::bulk_reader::BulkReader;
use super::issuer::Untrusted;
use super::tcp;
use super::web_proxy::{self, Failure, WebProxies, WebProxy, WebProxyError};
use super::{TlsError, Trust};
use crate::error::Code;

/// How long the TLS handshake may take.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// The way out of this machine.
#[derive(Debug, Clone)]
pub struct Net {
    trust: Trust,
    proxies: WebProxies,
}

/// TLS settings for one kind of connection; sessions are resumed between its connections.
#[derive(Debug, Clone)]
pub struct Tls(Arc<ClientConfig>);

/// A TLS connection with a host: on TCP, or within TLS with a web proxy.
pub type Connection = TlsStream<Way>;

/// What TLS with the host runs on.
type Way = Either<Socket, Box<TlsStream<Socket>>>;

/// A connection's socket.
type Socket = BulkReader<TcpStream>;

/// Why a connection could not be opened. Each names the host.
#[derive(Debug)]
pub enum ConnectError {
    /// The name does not resolve.
    Resolve(String, io::Error),
    /// No address of the host could be connected to.
    Tcp(String, io::Error),
    /// The host did not answer in time; what was being waited for.
    Deadline(String, &'static str),
    /// The host's certificate does not verify.
    Certificate(String, Untrusted),
    /// The TLS handshake failed otherwise.
    Tls(String, io::Error),
    /// The web proxy on the way did not open it.
    WebProxy(WebProxyError),
}

impl Net {
    /// A way out that trusts `trust` and knows of no web proxy.
    pub fn new(trust: Trust) -> Self {
        Self::through(WebProxies::default(), trust)
    }

    /// A way out through `proxies` that trusts `trust`, with TLS to a proxy too.
    pub fn through(proxies: WebProxies, trust: Trust) -> Self {
        Self { trust, proxies }
    }

    /// TLS settings that offer `alpn`.
    ///
    /// # Errors
    /// rustls refuses the settings.
    pub fn tls(&self, alpn: &[&str]) -> Result<Tls, TlsError> {
        self.trust.client(alpn).map(|config| Tls(Arc::new(config)))
    }

    /// Connects to `host`, through a web proxy where one is on the way, and checks the host's
    /// certificate against that name.
    ///
    /// Cancel safe: dropping the future closes whatever was open.
    ///
    /// # Errors
    /// A [`ConnectError`] for the step that failed.
    pub async fn connect(
        &self,
        tls: &Tls,
        host: &str,
        port: u16,
    ) -> Result<Connection, ConnectError> {
        let Some(proxy) = self.proxies.to(host, port) else {
            let tcp = BulkReader::new(tcp::open(host, port).await?);
            return handshake(tls, host, Either::Left(tcp), || format!("{host}:{port}")).await;
        };
        let target = target(host, port);
        tracing::debug!(%proxy, target, "connecting through a web proxy");
        let failed = |failure| ConnectError::WebProxy(WebProxyError::new(proxy, &target, failure));
        let way = self
            .reach(proxy)
            .await
            .map_err(|error| failed(Failure::Unreachable(Box::new(error))))?;
        let way = web_proxy::ask(way, proxy, &target).await.map_err(failed)?;
        handshake(tls, host, way, || {
            format!("{target} through web proxy {proxy}")
        })
        .await
    }

    /// A connection to `proxy` itself.
    async fn reach(&self, proxy: &WebProxy) -> Result<Way, ConnectError> {
        let tcp = BulkReader::new(tcp::open(&proxy.host, proxy.port).await?);
        if !proxy.is_tls {
            return Ok(Either::Left(tcp));
        }
        let at = || format!("{}:{}", proxy.host, proxy.port);
        let tls = self
            .tls(&["http/1.1"])
            .map_err(|error| ConnectError::Tls(at(), io::Error::other(error)))?;
        let secured = handshake(&tls, &proxy.host, tcp, at).await?;
        Ok(Either::Right(Box::new(secured)))
    }
}

/// TLS with `host` on `way`; `at` is how errors name it.
async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
    tls: &Tls,
    host: &str,
    way: S,
    at: impl Fn() -> String,
) -> Result<TlsStream<S>, ConnectError> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(bare.to_owned())
        .map_err(|error| ConnectError::Tls(at(), io::Error::other(error)))?;
    timeout(
        HANDSHAKE_DEADLINE,
        TlsConnector::from(tls.0.clone()).connect(name, way),
    )
    .await
    .map_err(|_| ConnectError::Deadline(at(), "the TLS handshake"))?
    .map_err(|error| match Untrusted::of(&error) {
        Some(untrusted) => ConnectError::Certificate(at(), untrusted),
        None => ConnectError::Tls(at(), error),
    })
}

/// `host` and `port` as a request's target has them: an IPv6 address in brackets.
fn target(host: &str, port: u16) -> String {
    if host.parse::<Ipv6Addr>().is_ok() {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

impl ConnectError {
    /// What to do, where the error tells it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Certificate(_, untrusted) => Some(untrusted.hint()),
            Self::Resolve(..) => Some("check the name and this machine's DNS"),
            Self::WebProxy(error) => Some(error.hint().unwrap_or(error.code().hint())),
            Self::Tls(..) | Self::Tcp(..) | Self::Deadline(..) => None,
        }
    }

    /// The kind of failure, where it is another one than that the host is out of reach.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::WebProxy(error) => Some(error.code()),
            _ => None,
        }
    }

    /// Whether the same may do better soon: the other side took the connection and then ended it,
    /// or a web proxy says that it cannot just now.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Tcp(_, error) | Self::Tls(_, error) => matches!(
                error.kind(),
                io::ErrorKind::ConnectionReset
                    | io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::BrokenPipe
                    | io::ErrorKind::UnexpectedEof
            ),
            Self::WebProxy(error) => error.may_pass(),
            Self::Resolve(..) | Self::Deadline(..) | Self::Certificate(..) => false,
        }
    }

    /// Whether the same will happen until somebody changes something.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::WebProxy(error) if error.is_final())
    }
}

/// Whether a handshake failed because the other side's certificate does not verify.
pub(crate) fn is_certificate(error: &io::Error) -> bool {
    error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>())
        .is_some_and(|error| matches!(error, rustls::Error::InvalidCertificate(_)))
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolve(host, _) => write!(f, "cannot resolve {host}"),
            Self::Tcp(at, _) => write!(f, "cannot connect to {at}"),
            Self::Deadline(at, what) => write!(f, "{at} did not answer in time for {what}"),
            Self::Certificate(at, _) | Self::Tls(at, _) => {
                write!(f, "cannot establish TLS with {at}")
            }
            Self::WebProxy(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ConnectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Resolve(_, error) | Self::Tcp(_, error) | Self::Tls(_, error) => Some(error),
            Self::Certificate(_, untrusted) => Some(untrusted),
            Self::WebProxy(error) => error.source(),
            Self::Deadline(..) => None,
        }
    }
}
