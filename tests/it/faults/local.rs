//! A client of the local listener that sees what HTTP itself tells: whether an answer has ended or
//! broken off, over either version.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

use arc_emulator::tls::provider;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Incoming};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kube::config::Kubeconfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::Url;

use crate::harness::World;

/// The version of HTTP that is spoken to the listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    One,
    Two,
}

/// How an exchange ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// With a whole answer, so many bytes long.
    Whole(StatusCode, usize),
    /// With an error, before or within the answer.
    Error(String),
}

/// What reaches the listener as kubectl does.
#[derive(Clone)]
pub(crate) struct Local {
    tls: Arc<ClientConfig>,
    server: Url,
    token: String,
}

impl Local {
    /// As the kubeconfig that arcproxy wrote has it.
    pub(crate) fn new(world: &World) -> Self {
        Self::of(&world.kubeconfig())
    }

    /// As the kubeconfig `file` has it.
    pub(crate) fn of(file: &Path) -> Self {
        let kubeconfig = Kubeconfig::read_from(file).unwrap();
        let cluster = kubeconfig.clusters[0].cluster.as_ref().unwrap();
        let server = cluster.server.as_ref().unwrap().parse().unwrap();
        let user = serde_json::to_value(&kubeconfig.auth_infos[0]).unwrap();
        let encoded = cluster.certificate_authority_data.as_ref().unwrap();
        let pem = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, encoded).unwrap();
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            roots.add(certificate.unwrap()).unwrap();
        }
        let tls = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self {
            tls: Arc::new(tls),
            server,
            token: user["user"]["token"].as_str().unwrap().to_owned(),
        }
    }

    /// Sends a request on a connection of its own.
    pub(crate) async fn send(
        &self,
        version: Version,
        method: Method,
        path: &str,
        body: impl Into<Bytes>,
    ) -> Result<Response<Incoming>, hyper::Error> {
        let body = Full::new(body.into());
        self.send_body(version, method, path, body).await
    }

    /// Sends a request, whose body may be slow to come, on a connection of its own.
    pub(crate) async fn send_body<B>(
        &self,
        version: Version,
        method: Method,
        path: &str,
        body: B,
    ) -> Result<Response<Incoming>, hyper::Error>
    where
        B: Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static,
    {
        let mut tls = (*self.tls).clone();
        let alpn: &[u8] = match version {
            Version::One => b"http/1.1",
            Version::Two => b"h2",
        };
        tls.alpn_protocols = vec![alpn.to_vec()];
        let address = ("127.0.0.1", self.server.port().unwrap());
        let tcp = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let connecting = TlsConnector::from(Arc::new(tls)).connect(name, tcp);
        let io = TokioIo::new(connecting.await.unwrap());
        let target = format!("{}{path}", self.server.path());
        let target = match version {
            Version::One => target,
            Version::Two => format!("https://127.0.0.1:{}{target}", address.1),
        };
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header("host", format!("127.0.0.1:{}", address.1))
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", "application/json")
            .body(body)
            .unwrap();
        match version {
            Version::One => {
                let (mut sender, connection) = http1::handshake(io).await?;
                tokio::spawn(connection);
                sender.send_request(request).await
            }
            Version::Two => {
                let executor = TokioExecutor::new();
                let (mut sender, connection) = http2::handshake(executor, io).await?;
                tokio::spawn(connection);
                sender.send_request(request).await
            }
        }
    }

    /// Sends a request and reads the answer.
    pub(crate) async fn ask(&self, method: Method, path: &str, body: impl Into<Bytes>) -> Outcome {
        match self.send(Version::Two, method, path, body).await {
            Ok(response) => read(response).await,
            Err(error) => Outcome::Error(format!("{error:?}")),
        }
    }

    /// Whether a request is answered.
    pub(crate) async fn works(&self) -> bool {
        let outcome = self.ask(Method::GET, "/version", "").await;
        matches!(outcome, Outcome::Whole(StatusCode::OK, _))
    }
}

/// Reads an answer to its end.
pub(crate) async fn read(response: Response<Incoming>) -> Outcome {
    let status = response.status();
    let mut body = response.into_body();
    let mut length = 0;
    loop {
        match body.frame().await {
            Some(Ok(frame)) => length += frame.data_ref().map_or(0, Bytes::len),
            Some(Err(error)) => return Outcome::Error(format!("{error:?}")),
            None => return Outcome::Whole(status, length),
        }
    }
}
