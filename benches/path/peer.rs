//! A TLS server on this machine, from its client's side.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::Result;

/// Where it is, and how to know it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    /// The authority of its certificate, PEM.
    pub(crate) authority: String,
}

impl Peer {
    /// A TCP connection to it.
    pub(crate) async fn dial(&self) -> Result<TcpStream> {
        let tcp = TcpStream::connect(self.address).await?;
        tcp.set_nodelay(true)?;
        Ok(tcp)
    }

    /// TLS that speaks `alpn`, over a connection that leads there.
    pub(crate) async fn secure<S>(&self, stream: S, alpn: &str) -> Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = ServerName::from(self.address.ip());
        let connector = TlsConnector::from(Arc::new(self.config(alpn)?));
        let stream = connector.connect(name, stream).await?;
        if stream.get_ref().1.alpn_protocol() != Some(alpn.as_bytes()) {
            return Err(format!("the server does not speak {alpn}").into());
        }
        Ok(stream)
    }

    fn config(&self, alpn: &str) -> Result<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.as_bytes())?)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
        Ok(config)
    }
}
