//! Where the browser is sent back to: a listener on this machine's loopback, for one answer.
//!
//! It takes the GET of its one path with the right state. Everything else is answered and ignored:
//! an icon, a scanner, a tab of an earlier sign-in.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use url::form_urlencoded;

use super::page::Page;
use crate::secret::Secret;

/// How often a port is looked for that is free on both loopbacks.
const PORTS: usize = 10;
/// How long a connection may take to say what it wants.
const HEAD: Duration = Duration::from_secs(10);
/// The pause after a connection that could not be taken.
const PAUSE: Duration = Duration::from_millis(100);
/// How long the browser may take to fetch its last page.
const LAST: Duration = Duration::from_secs(2);

/// The listener.
#[derive(Debug)]
pub(super) struct Redirect {
    port: u16,
    v4: TcpListener,
    /// Where there is IPv6: `localhost` may be either.
    v6: Option<TcpListener>,
}

/// What the browser came back with.
#[derive(Debug)]
pub(super) struct Returned {
    answer: Result<Secret, Refusal>,
    page: oneshot::Sender<Page>,
    connections: JoinSet<()>,
}

/// Why the browser came back without a code, in Entra's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) error: String,
    /// Empty where there is none, as the next one.
    pub(super) description: String,
    pub(super) subcode: String,
}

type Arrival = (Result<Secret, Refusal>, oneshot::Sender<Page>);

impl Redirect {
    /// Listens on any free port.
    pub(super) async fn bind() -> io::Result<Self> {
        for _ in 0..PORTS {
            let v4 = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            let port = v4.local_addr()?.port();
            let v6 = match TcpListener::bind((Ipv6Addr::LOCALHOST, port)).await {
                Ok(v6) => Some(v6),
                // Somebody else has it, who would get what is sent here.
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => continue,
                Err(_) => None,
            };
            return Ok(Self { port, v4, v6 });
        }
        Err(io::ErrorKind::AddrInUse.into())
    }

    #[cfg(test)]
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// The address that Entra sends the browser to. Entra takes any port of `localhost`.
    pub(super) fn uri(&self) -> String {
        format!("http://localhost:{}", self.port)
    }

    /// Waits for the answer with `state`, and listens no more.
    pub(super) async fn returned(self, state: &str) -> Returned {
        let state: Arc<str> = state.into();
        let (arrived, mut arrivals) = mpsc::channel(1);
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.accept() => match accepted {
                    Ok(tcp) => {
                        connections.spawn(serve(tcp, state.clone(), arrived.clone()));
                    }
                    Err(error) => {
                        tracing::debug!(%error, "cannot take a connection of the browser");
                        sleep(PAUSE).await;
                    }
                },
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                Some((answer, page)) = arrivals.recv() => {
                    return Returned { answer, page, connections };
                }
            }
        }
    }

    async fn accept(&self) -> io::Result<TcpStream> {
        let accepted = match &self.v6 {
            None => self.v4.accept().await,
            Some(v6) => tokio::select! {
                accepted = self.v4.accept() => accepted,
                accepted = v6.accept() => accepted,
            },
        };
        accepted.map(|(tcp, _)| tcp)
    }
}

impl Returned {
    /// The code.
    pub(super) fn code(&self) -> Result<&Secret, &Refusal> {
        self.answer.as_ref()
    }

    /// Shows `page` in the browser, if it still waits.
    pub(super) async fn show(mut self, page: Page) {
        if self.page.send(page).is_err() {
            return;
        }
        let shown = async { while self.connections.join_next().await.is_some() {} };
        // Connections that were opened ahead and say nothing are not waited for.
        let _late = timeout(LAST, shown).await;
    }
}

async fn serve(tcp: TcpStream, state: Arc<str>, arrived: mpsc::Sender<Arrival>) {
    let service = service_fn(move |request| {
        let (state, arrived) = (state.clone(), arrived.clone());
        async move { Ok::<_, Infallible>(answer(&request, &state, &arrived).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .keep_alive(false)
        .serve_connection(TokioIo::new(tcp), service);
    if let Err(error) = served.await {
        tracing::debug!(%error, "a connection of the browser ended");
    }
}

async fn answer(
    request: &Request<Incoming>,
    state: &str,
    arrived: &mpsc::Sender<Arrival>,
) -> Response<Full<Bytes>> {
    if request.uri().path() != "/" {
        return nothing(StatusCode::NOT_FOUND);
    }
    if request.method() != Method::GET {
        return nothing(StatusCode::METHOD_NOT_ALLOWED);
    }
    let query = request.uri().query().unwrap_or_default();
    let value = |wanted: &str| {
        form_urlencoded::parse(query.as_bytes())
            .find_map(|(name, value)| (name == wanted).then(|| value.into_owned()))
    };
    let result = match (value("state"), value("code"), value("error")) {
        (Some(given), Some(code), None) if given == state => Ok(Secret::from(code)),
        (Some(given), _, Some(error)) if given == state => Err(Refusal {
            error,
            description: value("error_description").unwrap_or_default(),
            subcode: value("error_subcode").unwrap_or_default(),
        }),
        _ => {
            tracing::info!("the browser came with what belongs to another sign-in");
            return respond(StatusCode::BAD_REQUEST, &Page::stray());
        }
    };
    let (show, shown) = oneshot::channel();
    if arrived.send((result, show)).await.is_err() {
        return respond(StatusCode::GONE, &Page::stray());
    }
    match shown.await {
        Ok(page) => respond(StatusCode::OK, &page),
        Err(_) => nothing(StatusCode::GONE),
    }
}

fn nothing(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

fn respond(status: StatusCode, page: &Page) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(page.html()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    if let Ok(policy) = HeaderValue::from_str(&Page::policy()) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    for (name, value) in [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
