//! A small HTTPS client, and what the tests ask with it.

use std::sync::Arc;

use arc_emulator::entra::{Entra, EntraConfig};
use arc_emulator::faults::Faults;
use arc_emulator::names::Names;
use arc_emulator::shape::Shaper;
use arc_emulator::tls::Authority;
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper::ext::ReasonPhrase;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::Url;

/// One answer, whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// The reason phrase, if it is not the status's usual one.
    pub(crate) reason: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }
}

/// Sends one request on a connection of its own.
pub(crate) async fn send(
    tls: &ClientConfig,
    method: Method,
    url: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let url = Url::parse(url).unwrap();
    let tcp = TcpStream::connect(("127.0.0.1", url.port().unwrap()))
        .await
        .unwrap();
    let host = url.host_str().unwrap().to_owned();
    let authority = format!("{host}:{}", url.port().unwrap());
    let mut request = Request::builder()
        .method(method)
        .uri(&url[url::Position::BeforePath..])
        .header("host", &authority);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::from(body.to_owned())).unwrap();
    if url.scheme() == "http" {
        return exchange(tcp, request).await;
    }
    let name = ServerName::try_from(host).unwrap();
    let tls = TlsConnector::from(Arc::new(tls.clone()))
        .connect(name, tcp)
        .await
        .unwrap();
    exchange(tls, request).await
}

async fn exchange<S>(stream: S, request: Request<Full<bytes::Bytes>>) -> Answer
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    let (response, _) = tokio::join!(
        async {
            let response = sender.send_request(request).await.unwrap();
            drop(sender);
            let (parts, body) = response.into_parts();
            (parts, body.collect().await.unwrap().to_bytes())
        },
        connection
    );
    let (parts, body) = response;
    Answer {
        status: parts.status,
        reason: parts
            .extensions
            .get::<ReasonPhrase>()
            .map(|reason| String::from_utf8_lossy(reason.as_bytes()).into_owned())
            .unwrap_or_default(),
        headers: parts.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    }
}

/// An Entra of its own, and a client that trusts it.
pub(crate) struct Tenant {
    pub(crate) entra: Entra,
    pub(crate) faults: Faults,
    pub(crate) tls: ClientConfig,
}

impl Tenant {
    pub(crate) async fn start() -> Self {
        let authority = Arc::new(Authority::new("test").unwrap());
        let faults = Faults::default();
        let tls = authority.client_config(&["http/1.1"]).unwrap();
        let entra = Entra::start(EntraConfig {
            authority,
            faults: faults.clone(),
            shaper: Shaper::new(faults.clone()),
            names: Names::new(7),
        })
        .await
        .unwrap();
        Self { entra, faults, tls }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.entra.url())
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        send(&self.tls, Method::GET, &self.url(path), &[], "").await
    }

    /// Posts `form` to `path`.
    pub(crate) async fn post(&self, path: &str, form: &[(&str, &str)]) -> Answer {
        post(&self.tls, &self.url(path), form).await
    }

    /// Posts `form` to the tenant's token endpoint.
    pub(crate) async fn token(&self, form: &[(&str, &str)]) -> Answer {
        let path = format!("{}/oauth2/v2.0/token", self.entra.tenant());
        self.post(&path, form).await
    }
}

/// Posts `form` to `url`.
pub(crate) async fn post(tls: &ClientConfig, url: &str, form: &[(&str, &str)]) -> Answer {
    let body = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(form)
        .finish();
    let kind = [("content-type", "application/x-www-form-urlencoded")];
    send(tls, Method::POST, url, &kind, &body).await
}

/// The claims of a token, not verified.
pub(crate) fn claims(token: &str) -> Value {
    let part = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// Asserts that `answer` is Entra's refusal `number` with OAuth's `error`, shaped as Entra's are.
#[track_caller]
pub(crate) fn assert_refused(answer: &Answer, error: &str, number: u64) {
    let body = answer.json();
    assert_eq!(body["error"], error, "{body}");
    assert_eq!(body["error_codes"], serde_json::json!([number]), "{body}");
    let description = body["error_description"].as_str().unwrap();
    let ids = [
        format!("AADSTS{number}: "),
        format!("Trace ID: {}", body["trace_id"].as_str().unwrap()),
        format!(
            "Correlation ID: {}",
            body["correlation_id"].as_str().unwrap()
        ),
        format!("Timestamp: {}", body["timestamp"].as_str().unwrap()),
    ];
    for part in ids {
        assert!(description.contains(&part), "{part} in {description}");
    }
    let status = match error {
        "invalid_client" => StatusCode::UNAUTHORIZED,
        _ => StatusCode::BAD_REQUEST,
    };
    assert_eq!(answer.status, status);
    let uri = format!("/error?code={number}");
    assert!(
        body["error_uri"].as_str().unwrap().ends_with(&uri),
        "{body}"
    );
}
