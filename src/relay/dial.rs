//! Dialling: to the relay, and there to the listener.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::time::timeout;

use super::stream::RelayStream;
use super::upgrade::{Answer, ask, meet};
use crate::net::{Ahead, ConnectError, Connection, Net, Place, Tls, TlsError};
use crate::secret::Secret;

/// Where to meet the listener, and the right to.
#[derive(Debug, Clone)]
pub struct Rendezvous {
    /// The relay's host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The hybrid connection's path.
    pub path: String,
    /// The shared access signature.
    pub token: Secret,
}

/// How long a connection that was opened ahead may take to bring an answer before another one is
/// opened beside it.
const QUIET: Duration = Duration::from_secs(2);

/// Dials hybrid connections.
#[derive(Debug, Clone)]
pub struct Dialer {
    net: Net,
    tls: Tls,
    ahead: Arc<Ahead<Connection>>,
}

/// Why a dial failed.
#[derive(Debug)]
pub enum DialError {
    /// The relay cannot be reached.
    Connect(ConnectError),
    /// The relay answered the upgrade with an HTTP status.
    Refused {
        /// The relay's host.
        host: String,
        /// The status.
        status: StatusCode,
        /// The reason phrase, or the body where there is no phrase of its own.
        reason: String,
    },
    /// The listener did not come, or the relay did not answer.
    Deadline(String),
    /// The exchange broke off, or the answer is no WebSocket upgrade.
    Broken(String, String),
}

impl Dialer {
    /// A dialler that goes out through `net`.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub fn new(net: Net) -> Result<Self, TlsError> {
        let tls = net.tls(&["http/1.1"])?;
        let ahead = Arc::default();
        Ok(Self { net, tls, ahead })
    }

    /// A dialler like this one that begins at once to connect to a relay, for the first dial. Until
    /// that one names the same host and port, nothing but the TLS handshake is sent there; if it
    /// names others, the connection is ended.
    ///
    /// Must be called within a runtime. What fails ahead does not fail the dial.
    #[must_use]
    pub fn approach(&self, host: &str, port: u16) -> Self {
        let approaching = Self {
            ahead: Arc::default(),
            ..self.clone()
        };
        let (net, tls, host) = (self.net.clone(), self.tls.clone(), host.to_owned());
        let place = Place {
            host: host.clone(),
            port,
        };
        let connecting = async move { net.connect(&tls, &host, port).await };
        approaching.ahead.begin(place, connecting);
        approaching
    }

    /// Meets the listener of `rendezvous`.
    ///
    /// Cancel safe: dropping the future closes the connection.
    ///
    /// # Errors
    /// A [`DialError`]; [`DialError::Refused`] carries the relay's own words.
    pub async fn dial(
        &self,
        rendezvous: &Rendezvous,
    ) -> Result<RelayStream<Connection>, DialError> {
        let mut ahead = pin!(self.ask_ahead(rendezvous));
        let answer = match timeout(QUIET, &mut ahead).await {
            Ok(Some(answer)) => answer,
            Ok(None) => self.ask(rendezvous).await,
            // It may have been cut without a word while it waited: whichever answers first.
            Err(_) => tokio::select! {
                Some(answer) = ahead => answer,
                answer = self.ask(rendezvous) => answer,
            },
        };
        meet(answer?, &rendezvous.host).await
    }

    async fn ask(&self, rendezvous: &Rendezvous) -> Result<Answer, DialError> {
        let Rendezvous { host, port, .. } = rendezvous;
        let stream = self.net.connect(&self.tls, host, *port).await;
        ask(stream.map_err(DialError::Connect)?, rendezvous).await
    }

    /// The answer on the connection that was opened ahead, if there is one. One that breaks before
    /// it brought an answer had been ended while it waited, and no listener was met.
    async fn ask_ahead(&self, rendezvous: &Rendezvous) -> Option<Result<Answer, DialError>> {
        let Rendezvous { host, port, .. } = rendezvous;
        let place = Place {
            host: host.clone(),
            port: *port,
        };
        let connected = self.ahead.take(&place).await;
        self.ahead.clear();
        match ask(connected?.ok()?, rendezvous).await {
            Err(DialError::Broken(_, why)) => {
                tracing::debug!(relay = host, why, "the connection opened ahead is gone");
                None
            }
            answer => Some(answer),
        }
    }
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(error) => error.fmt(f),
            Self::Refused {
                host,
                status,
                reason,
            } => {
                write!(
                    f,
                    "relay {host} refused the connection: {} {reason}",
                    status.as_u16()
                )
            }
            Self::Deadline(host) => {
                write!(f, "relay {host} did not bring the cluster's agent in time")
            }
            Self::Broken(host, why) => write!(f, "the upgrade at relay {host} broke: {why}"),
        }
    }
}

impl std::error::Error for DialError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Connect(error) => std::error::Error::source(error),
            Self::Refused { .. } | Self::Deadline(_) | Self::Broken(..) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::net::Trust;
    use crate::proxy::LocalCertificate;

    fn dialer() -> Dialer {
        let trust = Trust::system([]).expect("the system's");
        Dialer::new(Net::new(trust)).expect("settings")
    }

    fn rendezvous(port: u16) -> Rendezvous {
        Rendezvous {
            host: "relay.localhost".to_owned(),
            port,
            path: "p".to_owned(),
            token: Secret::from("t"),
        }
    }

    /// A relay that takes connections and never answers, and a dialler on its way to it.
    async fn approached() -> (TcpListener, Dialer, Rendezvous) {
        let relay = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = relay.local_addr().expect("an address").port();
        let rendezvous = rendezvous(port);
        let dialer = dialer().approach(&rendezvous.host, port);
        (relay, dialer, rendezvous)
    }

    #[tokio::test]
    async fn a_dial_elsewhere_ends_what_was_opened_ahead() {
        let (relay, dialer, _) = approached().await;
        let (mut connection, _) = relay.accept().await.expect("it comes");
        connection.read_u8().await.expect("the handshake begins");
        let error = dialer.dial(&rendezvous(0)).await.expect_err("no port");
        assert!(matches!(error, DialError::Connect(_)), "{error}");
        let mut rest = Vec::new();
        // Well before the handshake has taken too long.
        timeout(Duration::from_secs(5), connection.read_to_end(&mut rest))
            .await
            .expect("it ends at once")
            .expect("it is closed");
    }

    #[tokio::test]
    async fn what_breaks_while_a_dial_waits_for_it_is_opened_again() {
        let (relay, dialer, rendezvous) = approached().await;
        let (first, _) = relay.accept().await.expect("it comes");
        let breaking = async {
            drop(first);
            relay.accept().await.expect("another one comes");
        };
        // The dial is polled first.
        let (dialled, ()) = tokio::join!(dialer.dial(&rendezvous), breaking);
        let error = dialled.expect_err("that one breaks too");
        assert!(matches!(error, DialError::Connect(_)), "{error}");
    }

    #[tokio::test]
    async fn what_was_opened_ahead_and_falls_silent_is_not_waited_for() {
        let certificate = LocalCertificate::generate().expect("a certificate");
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        let authority = certificate.authority_pem.as_bytes();
        file.write_all(authority).expect("writes");
        let trust = Trust::system([file.path()]).expect("a bundle");
        let relay = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let mut rendezvous = rendezvous(relay.local_addr().expect("an address").port());
        rendezvous.host = "localhost".to_owned();
        let dialer = Dialer::new(Net::new(trust)).expect("settings");
        let dialer = dialer.approach(&rendezvous.host, rendezvous.port);
        let acceptor = TlsAcceptor::from(certificate.config);
        let serving = async {
            let (first, _) = relay.accept().await.expect("it comes");
            let first = acceptor.accept(first).await.expect("a handshake");
            let (second, _) = relay.accept().await.expect("another one comes");
            let mut second = acceptor.accept(second).await.expect("a handshake");
            let answer = b"HTTP/1.1 404 Endpoint does not exist\r\ncontent-length: 0\r\n\r\n";
            second.read_u8().await.expect("it asks");
            second.write_all(answer).await.expect("answers");
            second.flush().await.expect("answers");
            (first, second)
        };
        let both = async { tokio::join!(dialer.dial(&rendezvous), serving) };
        // Well before the listener has had its time.
        let (dialled, _open) = timeout(Duration::from_secs(15), Box::pin(both))
            .await
            .expect("it does not wait for the first");
        let error = dialled.expect_err("refused");
        assert!(matches!(error, DialError::Refused { .. }), "{error}");
    }
}
