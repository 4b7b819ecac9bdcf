//! Dialling: the WebSocket upgrade that meets the listener.
//!
//! hyper speaks the upgrade, because the relay says in the status line's reason phrase why it
//! refuses, and most WebSocket clients drop that.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::ext::ReasonPhrase;
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::stream::RelayStream;
use crate::net::{Ahead, ConnectError, Net, Place, Tls, TlsError};
use crate::secret::Secret;

/// The listener has 30 seconds to meet the sender; a little more lets the relay's own answer win.
const RENDEZVOUS_DEADLINE: Duration = Duration::from_secs(35);
/// As long as a refusal's body is waited for,
const REFUSAL_DEADLINE: Duration = Duration::from_secs(5);
/// and as much of it as is read.
const REFUSAL_LIMIT: usize = 16 << 10;
const AUTHORIZATION: HeaderName = HeaderName::from_static("servicebusauthorization");
/// Path characters that stay as they are: the relay expects slashes and `$hc` literally.
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

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

/// Dials hybrid connections.
#[derive(Debug, Clone)]
pub struct Dialer {
    net: Net,
    tls: Tls,
    ahead: Arc<Ahead<TlsStream<TcpStream>>>,
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
    ) -> Result<RelayStream<TlsStream<TcpStream>>, DialError> {
        let Rendezvous { host, port, .. } = rendezvous;
        let answer = match self.ask_ahead(rendezvous).await {
            Some(answer) => answer?,
            None => {
                let stream = self.net.connect(&self.tls, host, *port).await;
                ask(stream.map_err(DialError::Connect)?, rendezvous).await?
            }
        };
        meet(answer, host).await
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

/// The relay's answer to the upgrade, whatever it is.
struct Answer {
    response: Response<Incoming>,
    /// Of the request.
    key: String,
}

/// Sends the upgrade's request and waits for the answer.
async fn ask(stream: TlsStream<TcpStream>, rendezvous: &Rendezvous) -> Result<Answer, DialError> {
    let host = &rendezvous.host;
    let broken = |why: &dyn fmt::Display| DialError::Broken(host.clone(), why.to_string());
    let key = generate_key();
    let request = request(rendezvous, &key).map_err(|error| broken(&error))?;
    let asking = async {
        let (mut sender, connection) = http1::Builder::new()
            .handshake(TokioIo::new(stream))
            .await?;
        // Ends with the upgrade or with the connection, whose only other owner is the answer.
        tokio::spawn(connection.with_upgrades());
        sender.send_request(request).await
    };
    let response = timeout(RENDEZVOUS_DEADLINE, asking)
        .await
        .map_err(|_| DialError::Deadline(host.clone()))?
        .map_err(|error| broken(&error))?;
    Ok(Answer { response, key })
}

/// The stream that the answer makes of the connection.
async fn meet(
    Answer { response, key }: Answer,
    host: &str,
) -> Result<RelayStream<TlsStream<TcpStream>>, DialError> {
    let broken = |why: &dyn fmt::Display| DialError::Broken(host.to_owned(), why.to_string());
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(refusal(response, host).await);
    }
    let accept = response.headers().get(header::SEC_WEBSOCKET_ACCEPT);
    if accept.is_none_or(|accept| accept.as_bytes() != derive_accept_key(key.as_bytes()).as_bytes())
    {
        return Err(broken(
            &"its answer to the WebSocket upgrade does not match the request",
        ));
    }
    let upgraded = hyper::upgrade::on(response)
        .await
        .map_err(|error| broken(&error))?;
    let parts = upgraded
        .downcast::<TokioIo<TlsStream<TcpStream>>>()
        .map_err(|_| broken(&"the upgrade gave another stream back"))?;
    Ok(RelayStream::new(parts.io.into_inner(), parts.read_buf).await)
}

async fn refusal(response: Response<Incoming>, host: &str) -> DialError {
    let status = response.status();
    let phrase = response
        .extensions()
        .get::<ReasonPhrase>()
        .map(|phrase| String::from_utf8_lossy(phrase.as_bytes()).into_owned());
    let body = Limited::new(response.into_body(), REFUSAL_LIMIT).collect();
    let reason = match phrase {
        Some(phrase) => phrase,
        None => timeout(REFUSAL_DEADLINE, body)
            .await
            .ok()
            .and_then(Result::ok)
            .map(|body| String::from_utf8_lossy(&body.to_bytes()).trim().to_owned())
            .unwrap_or_default(),
    };
    DialError::Refused {
        host: host.to_owned(),
        status,
        reason,
    }
}

fn request(rendezvous: &Rendezvous, key: &str) -> Result<Request<Empty<Bytes>>, http::Error> {
    let Rendezvous {
        host,
        port,
        path,
        token,
    } = rendezvous;
    let path = utf8_percent_encode(path.trim_start_matches('/'), PATH);
    let id = uuid::Uuid::new_v4();
    let authority = if *port == 443 {
        host.clone()
    } else {
        format!("{host}:{port}")
    };
    Request::builder()
        .uri(format!("/$hc/{path}?sb-hc-action=connect&sb-hc-id={id}"))
        .header(header::HOST, authority)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_VERSION, "13")
        .header(header::SEC_WEBSOCKET_KEY, key)
        .header(AUTHORIZATION, token.header()?)
        .body(Empty::new())
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
    use std::collections::BTreeMap;

    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpListener;

    use super::*;
    use crate::net::Trust;

    #[test]
    fn the_upgrade_is_the_protocols_own() {
        let golden = include_str!("../../tests/fixtures/relay-upgrade-request.txt");
        let (line, headers) = golden.split_once('\n').expect("a request line");
        let headers: BTreeMap<_, _> = headers
            .lines()
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let target = line.split(' ').nth(1).expect("a target");
        let (path, _) = target["/$hc/".len()..].split_once('?').expect("a query");
        let rendezvous = Rendezvous {
            host: headers["host"].clone(),
            port: 443,
            path: path.to_owned(),
            token: Secret::from(headers["servicebusauthorization"].as_str()),
        };
        let request = request(&rendezvous, &headers["sec-websocket-key"]).expect("a request");
        // The id is new each time; everything else is as in the golden bytes.
        let anonymous = |target: &str| target.rsplit_once('=').expect("an id").0.to_owned();
        assert_eq!(anonymous(&request.uri().to_string()), anonymous(target));
        let sent: BTreeMap<_, _> = request
            .headers()
            .iter()
            .map(|(name, value)| {
                let value = value.to_str().expect("text");
                (name.as_str().to_owned(), value.to_owned())
            })
            .collect();
        assert_eq!(sent, headers);
        assert!(request.headers()[AUTHORIZATION].is_sensitive());
    }

    #[test]
    fn the_address_is_that_of_azures_own_client() {
        let golden = include_str!("../../tests/fixtures/sas.json");
        let golden: serde_json::Value = serde_json::from_str(golden).expect("JSON");
        let address = golden["addresses"]["send"].as_str().expect("an address");
        let rendezvous = Rendezvous {
            host: "contoso.servicebus.windows.net".to_owned(),
            port: 443,
            path: "hyco".to_owned(),
            token: Secret::from(golden["tokens"][1]["token"].as_str().expect("a token")),
        };
        let request = request(&rendezvous, "key").expect("a request");
        let host = request.headers()[header::HOST].to_str().expect("text");
        // That client always names the port, which for 443 is the same address.
        let ours = format!("wss://{host}:443{}", request.uri());
        let anonymous = |address: &str| address.rsplit_once('=').expect("an id").0.to_owned();
        assert_eq!(anonymous(&ours), anonymous(address));
    }

    #[test]
    fn a_token_cannot_add_headers() {
        let rendezvous = Rendezvous {
            host: "h".to_owned(),
            port: 1,
            path: "p".to_owned(),
            token: Secret::from("x\r\nHost: evil"),
        };
        assert!(request(&rendezvous, "key").is_err());
    }

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
}
