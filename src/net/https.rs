//! The small HTTPS client that Entra and ARM share.
//!
//! Connections are kept between requests (hyper-util's client does that). Answers are read whole,
//! up to a limit, within a deadline; redirects are not followed, since neither service uses them.
//! The clock learns from every answer.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{self, Connected};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::time::timeout;
use url::Url;

use super::ahead::{Ahead, Place};
use super::retry::{self, Tried, Verdict};
use super::{ConnectError, Connection, Net, Tls, TlsError};
use crate::clock::Clock;
use crate::error::Code;

/// How long a whole exchange may take, connecting included.
const ANSWER_DEADLINE: Duration = Duration::from_mins(1);
/// The largest answer that is read.
const ANSWER_LIMIT: usize = 8 << 20;
/// How long an unused connection is kept.
const IDLE: Duration = Duration::from_mins(1);
/// How long a server may be silent while it is asked until it is pinged over HTTP/2, and how long
/// the answer to that may take: a connection may have gone while the machine slept.
const SILENCE: Duration = Duration::from_secs(5);

/// An HTTPS client.
#[derive(Clone)]
pub struct Https {
    client: Client<Connector, Full<Bytes>>,
    connector: Connector,
    clock: Clock,
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// Why there is no answer. Each names the host.
#[derive(Debug)]
pub enum HttpsError {
    /// The connection could not be opened.
    Connect {
        /// Names the host and the step that failed.
        text: String,
        /// What to do, where that is known.
        hint: Option<&'static str>,
        /// The kind of failure, where it is another one than that the host is out of reach.
        code: Option<Code>,
        /// Whether the same may do better soon.
        may_pass: bool,
    },
    /// The host did not answer in time.
    Deadline(String),
    /// The connection broke.
    Broken(String, String),
    /// The answer is no HTTP, or too large.
    Unreadable(String, String),
}

impl Https {
    /// A client that goes out through `net` and tells `clock` the time.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub fn new(net: Net, clock: Clock) -> Result<Self, TlsError> {
        let tls = net.tls(&["h2", "http/1.1"])?;
        let connector = Connector {
            net,
            tls,
            ahead: Arc::default(),
        };
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .timer(TokioTimer::new())
            .http2_keep_alive_interval(SILENCE)
            .http2_keep_alive_timeout(SILENCE)
            .build(connector.clone());
        Ok(Self {
            client,
            connector,
            clock,
        })
    }

    /// Begins to connect to the host of `url`, so that the first request to it finds a connection.
    /// What has failed before that request is there is of no consequence: it connects for itself.
    ///
    /// Must be called within a runtime. Without such a request the connection ends with the client.
    pub fn approach(&self, url: &Url) {
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
            return;
        };
        let place = Place {
            host: host.to_owned(),
            port,
        };
        let (connector, at) = (self.connector.clone(), place.clone());
        let connecting = async move { connector.connect(&at).await };
        self.connector.ahead.begin(place, connecting);
    }

    /// Sends `request` again while a fault may pass, a few times within half a minute: only for
    /// requests that do no harm when the service gets them twice.
    ///
    /// Cancel safe, as far as the service is concerned: it may have got the request or not.
    ///
    /// # Errors
    /// There is no answer, the last time. An answer can still be one that might pass.
    pub async fn send_patiently(
        &self,
        request: &Request<Bytes>,
    ) -> (Result<Answer, HttpsError>, Tried) {
        let host = request.uri().authority().map_or("", |host| host.as_str());
        retry::patiently(
            || self.send(request.clone()),
            |outcome| match outcome {
                Ok(answer) if retry::may_pass(answer.status) => Verdict::Passing {
                    why: format!("{host} answered {}", answer.status),
                    after: answer.retry_after(),
                },
                Err(error) if error.may_pass() => Verdict::Passing {
                    why: error.to_string(),
                    after: None,
                },
                Ok(_) | Err(_) => Verdict::Final,
            },
        )
        .await
    }

    /// Sends `request` once and reads the answer, whatever its status.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn send(&self, mut request: Request<Bytes>) -> Result<Answer, HttpsError> {
        let host = request
            .uri()
            .authority()
            .map(ToString::to_string)
            .unwrap_or_default();
        request.headers_mut().insert(
            header::USER_AGENT,
            HeaderValue::from_static(concat!("arcproxy/", env!("CARGO_PKG_VERSION"))),
        );
        let exchange = async {
            let response = self
                .client
                .request(request.map(Full::new))
                .await
                .map_err(|error| named(&host, &error))?;
            let (parts, body) = response.into_parts();
            self.clock.learn(&parts.headers);
            let body = Limited::new(body, ANSWER_LIMIT)
                .collect()
                .await
                .map_err(|error| {
                    let error_of = if error.is::<LengthLimitError>() {
                        HttpsError::Unreadable
                    } else {
                        HttpsError::Broken
                    };
                    error_of(host.clone(), error.to_string())
                })?;
            Ok(Answer {
                status: parts.status,
                headers: parts.headers,
                body: body.to_bytes(),
            })
        };
        match timeout(ANSWER_DEADLINE, exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(HttpsError::Deadline(host.clone())),
        }
    }
}

fn named(host: &str, error: &(dyn std::error::Error + 'static)) -> HttpsError {
    let mut next = Some(error);
    let mut is_no_http = false;
    while let Some(cause) = next {
        if let Some(connect) = cause.downcast_ref::<ConnectError>() {
            let beneath = std::error::Error::source(connect).map(ToString::to_string);
            let text =
                beneath.map_or_else(|| connect.to_string(), |why| format!("{connect}: {why}"));
            return HttpsError::Connect {
                text,
                hint: connect.hint(),
                code: connect.code(),
                may_pass: connect.may_pass(),
            };
        }
        is_no_http |= cause
            .downcast_ref::<hyper::Error>()
            .is_some_and(hyper::Error::is_parse);
        next = cause.source();
    }
    let innermost = std::iter::successors(Some(error), |cause| cause.source())
        .last()
        .map_or_else(String::new, ToString::to_string);
    if is_no_http {
        HttpsError::Unreadable(host.to_owned(), innermost)
    } else {
        HttpsError::Broken(host.to_owned(), innermost)
    }
}

impl Answer {
    /// How long a `Retry-After` header asks to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        retry::retry_after(&self.headers)
    }
}

impl fmt::Debug for Https {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Https").finish_non_exhaustive()
    }
}

impl HttpsError {
    /// What to do, where the error tells it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Connect { hint, .. } => *hint,
            Self::Deadline(_) | Self::Broken(..) | Self::Unreadable(..) => None,
        }
    }

    /// The kind of failure, where it is another one than that the host is out of reach.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Connect { code, .. } => *code,
            Self::Deadline(_) | Self::Broken(..) | Self::Unreadable(..) => None,
        }
    }

    /// Whether the same request may do better soon. A name that does not resolve or a host that
    /// is silent has had its time already.
    fn may_pass(&self) -> bool {
        match self {
            Self::Connect { may_pass, .. } => *may_pass,
            Self::Broken(..) => true,
            Self::Deadline(_) | Self::Unreadable(..) => false,
        }
    }
}

impl fmt::Display for HttpsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect { text, .. } => f.write_str(text),
            Self::Deadline(host) => write!(f, "{host} did not answer in time"),
            Self::Broken(host, why) => write!(f, "the exchange with {host} broke: {why}"),
            Self::Unreadable(host, why) => {
                write!(f, "{host} answered something that cannot be read: {why}")
            }
        }
    }
}

impl std::error::Error for HttpsError {}

/// hyper-util's seam: a URI becomes a TLS connection.
#[derive(Clone)]
struct Connector {
    net: Net,
    tls: Tls,
    ahead: Arc<Ahead<Stream>>,
}

impl Connector {
    async fn connect(&self, Place { host, port }: &Place) -> Result<Stream, ConnectError> {
        let stream = self.net.connect(&self.tls, host, *port).await?;
        Ok(Stream(TokioIo::new(stream)))
    }
}

impl tower_service::Service<Uri> for Connector {
    type Response = Stream;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move {
            let place = Place {
                host: uri.host().unwrap_or_default().to_owned(),
                port: uri.port_u16().unwrap_or(443),
            };
            if let Some(connected) = connector.ahead.take(&place).await {
                return connected;
            }
            connector.connect(&place).await
        })
    }
}

struct Stream(TokioIo<Connection>);

impl connect::Connection for Stream {
    fn connected(&self) -> Connected {
        let (_, session) = self.0.inner().get_ref();
        if session.alpn_protocol() == Some(b"h2") {
            Connected::new().negotiated_h2()
        } else {
            Connected::new()
        }
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl Write for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
