//! A proxy as companies have them: it opens TLS, and signs for every host with its own authority.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use arc_emulator::tls::{Authority, provider};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::task::AbortOnDropHandle;

/// The interceptor's authority, as its certificates name it.
pub(super) const NAME: &str = "Contoso Inspection CA";
/// Such proxies seldom speak HTTP/2.
const ALPN: &str = "http/1.1";

pub(super) struct Interceptor {
    pub(super) url: String,
    authority: Arc<Authority>,
    opened: Arc<Mutex<BTreeSet<String>>>,
    _serving: AbortOnDropHandle<()>,
}

impl Interceptor {
    /// Trusts `upstream`, an authority's certificate, and leads every host to this machine.
    pub(super) async fn start(upstream: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let authority = Arc::new(Authority::new(NAME).unwrap());
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(upstream.as_bytes()).unwrap())
            .unwrap();
        let mut client = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.alpn_protocols = vec![ALPN.into()];
        let client = TlsConnector::from(Arc::new(client));
        let opened = Arc::<Mutex<BTreeSet<String>>>::default();
        let (signer, seen) = (authority.clone(), opened.clone());
        let serving = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                let (signer, client, seen) = (signer.clone(), client.clone(), seen.clone());
                connections.spawn(async move {
                    // A client that does not trust it leaves.
                    let _ = intercept(near, &signer, client, &seen).await;
                });
            }
        });
        Self {
            url,
            authority,
            opened,
            _serving: AbortOnDropHandle::new(serving),
        }
    }

    /// Its authority's certificate, PEM.
    pub(super) fn pem(&self) -> &str {
        self.authority.pem()
    }

    /// The hosts whose TLS it has opened.
    pub(super) fn opened(&self) -> BTreeSet<String> {
        self.opened.lock().unwrap().clone()
    }
}

async fn intercept(
    mut near: TcpStream,
    signer: &Authority,
    client: TlsConnector,
    seen: &Mutex<BTreeSet<String>>,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(near.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap();
    let target = head
        .strip_prefix("CONNECT ")
        .and_then(|rest| rest.split(' ').next());
    let (host, port) = target.and_then(|target| target.split_once(':')).unwrap();
    near.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
        .await?;
    let server = signer.server_config(&[host], &[ALPN]).unwrap();
    let mut near = TlsAcceptor::from(Arc::new(server)).accept(near).await?;
    seen.lock().unwrap().insert(host.to_owned());
    let far = TcpStream::connect(("127.0.0.1", port.parse().unwrap())).await?;
    let name = ServerName::try_from(host.to_owned()).unwrap();
    let mut far = client.connect(name, far).await?;
    copy_bidirectional(&mut near, &mut far).await?;
    Ok(())
}
