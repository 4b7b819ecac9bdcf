//! Opening a connection: name, TCP, TLS, each with a deadline and an error of its own.
//!
//! `localhost` and every name below it are loopback (RFC 6761), whatever the resolver says.
//! Addresses of both families race as RFC 8305 has it: the next attempt starts a quarter of a
//! second after the last one, and the first to succeed is taken.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{TlsError, Trust};

/// How long resolving and TCP may take together.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// How long the TLS handshake may take.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// How long an attempt has before the next address is tried beside it.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// The way out of this machine.
#[derive(Debug, Clone)]
pub struct Net {
    trust: Trust,
}

/// TLS settings for one kind of connection; sessions are resumed between its connections.
#[derive(Debug, Clone)]
pub struct Tls(Arc<ClientConfig>);

/// Why a connection could not be opened. Each names the host.
#[derive(Debug)]
pub enum ConnectError {
    /// The name does not resolve.
    Resolve(String, io::Error),
    /// No address of the host could be connected to.
    Tcp(String, io::Error),
    /// The host did not answer in time; what was being waited for.
    Deadline(String, &'static str),
    /// The TLS handshake failed.
    Tls(String, io::Error),
}

impl Net {
    /// A way out that trusts `trust`.
    pub fn new(trust: Trust) -> Self {
        Self { trust }
    }

    /// TLS settings that offer `alpn`.
    ///
    /// # Errors
    /// rustls refuses the settings.
    pub fn tls(&self, alpn: &[&str]) -> Result<Tls, TlsError> {
        self.trust.client(alpn).map(|config| Tls(Arc::new(config)))
    }

    /// Connects to `host` and checks its certificate against that name.
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
    ) -> Result<TlsStream<TcpStream>, ConnectError> {
        let at = || format!("{host}:{port}");
        let tcp = timeout(CONNECT_DEADLINE, open(host, port))
            .await
            .map_err(|_| ConnectError::Deadline(at(), "a TCP connection"))??;
        // Small frames must not wait for the acknowledgement of earlier ones.
        tcp.set_nodelay(true)
            .map_err(|error| ConnectError::Tcp(at(), error))?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(bare.to_owned())
            .map_err(|error| ConnectError::Tls(at(), io::Error::other(error)))?;
        timeout(
            HANDSHAKE_DEADLINE,
            TlsConnector::from(tls.0.clone()).connect(name, tcp),
        )
        .await
        .map_err(|_| ConnectError::Deadline(at(), "the TLS handshake"))?
        .map_err(|error| ConnectError::Tls(at(), error))
    }
}

async fn open(host: &str, port: u16) -> Result<TcpStream, ConnectError> {
    let addresses = resolve(host, port).await?;
    let mut attempts = FuturesUnordered::new();
    let mut waiting = interleave(addresses).into_iter();
    let mut last = None;
    loop {
        if let Some(address) = waiting.next() {
            attempts.push(TcpStream::connect(address));
        } else if attempts.is_empty() {
            let error = last.unwrap_or_else(|| io::Error::other("it has no address"));
            return Err(ConnectError::Tcp(format!("{host}:{port}"), error));
        }
        let more = waiting.len() > 0;
        tokio::select! {
            Some(attempt) = attempts.next() => match attempt {
                Ok(tcp) => return Ok(tcp),
                Err(error) => last = Some(error),
            },
            () = sleep(ATTEMPT_DELAY), if more => {}
        }
    }
}

async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectError> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    if is_localhost(bare) {
        let loopback: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        return Ok(loopback
            .map(|address| SocketAddr::new(address, port))
            .into());
    }
    match tokio::net::lookup_host((bare, port)).await {
        Ok(found) => Ok(found.collect()),
        Err(error) => Err(ConnectError::Resolve(host.to_owned(), error)),
    }
}

fn is_localhost(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost")
}

/// Alternates between the families, in the resolver's order, beginning with its first.
fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|address| address.is_ipv6() == first_is_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut ordered = Vec::new();
    loop {
        let pair = [first.next(), second.next()];
        if pair == [None, None] {
            return ordered;
        }
        ordered.extend(pair.into_iter().flatten());
    }
}

impl ConnectError {
    /// What to do, where the error tells it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Tls(_, error) if is_certificate(error) => Some(
                "an intercepting proxy may stand in between: give its certificate authority with --ca-file",
            ),
            Self::Resolve(..) => Some("check the name and this machine's DNS"),
            Self::Tls(..) | Self::Tcp(..) | Self::Deadline(..) => None,
        }
    }

    /// Whether the other side took the connection and then ended it.
    pub(super) fn is_reset(&self) -> bool {
        match self {
            Self::Tcp(_, error) | Self::Tls(_, error) => matches!(
                error.kind(),
                io::ErrorKind::ConnectionReset
                    | io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::BrokenPipe
                    | io::ErrorKind::UnexpectedEof
            ),
            Self::Resolve(..) | Self::Deadline(..) => false,
        }
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
            Self::Tls(at, _) => write!(f, "cannot establish TLS with {at}"),
        }
    }
}

impl std::error::Error for ConnectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Resolve(_, error) | Self::Tcp(_, error) | Self::Tls(_, error) => Some(error),
            Self::Deadline(..) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_below_localhost_are_loopback() {
        for host in ["localhost", "relay.localhost", "A.B.LOCALHOST."] {
            let found = resolve(host, 443).await.expect("loopback");
            assert!(
                found.iter().all(|address| address.ip().is_loopback()),
                "{host}"
            );
        }
        assert!(!is_localhost("notlocalhost"));
    }

    #[test]
    fn families_alternate_from_the_resolvers_first() {
        let parse = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let (a6, b6) = (parse("[2001:db8::1]:1"), parse("[2001:db8::2]:1"));
        let (a4, b4) = (parse("192.0.2.1:1"), parse("192.0.2.2:1"));
        assert_eq!(interleave(vec![a6, b6, a4, b4]), [a6, a4, b6, b4]);
        assert_eq!(interleave(vec![a4]), [a4]);
    }

    #[tokio::test]
    async fn a_refused_connection_names_the_host() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        let error = open("relay.localhost", port)
            .await
            .expect_err("nobody listens");
        assert!(
            error
                .to_string()
                .contains(&format!("relay.localhost:{port}")),
            "{error}"
        );
    }
}
