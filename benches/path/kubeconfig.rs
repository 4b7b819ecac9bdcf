//! Where a kubeconfig leads.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::HeaderValue;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use url::Url;

use crate::Result;

/// An HTTPS server on this machine, and how to be let in.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    /// What stands before every path; empty, or without a slash at its end.
    pub(crate) prefix: String,
    pub(crate) authorization: HeaderValue,
    roots: Arc<RootCertStore>,
}

#[derive(Deserialize)]
struct Kubeconfig {
    clusters: Vec<Named>,
    users: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    cluster: Cluster,
    #[serde(default)]
    user: User,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    server: String,
    certificate_authority_data: String,
}

#[derive(Default, Deserialize)]
struct User {
    token: String,
}

impl Endpoint {
    /// Reads a kubeconfig of one context.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let kubeconfig: Kubeconfig = serde_saphyr::from_str(&std::fs::read_to_string(path)?)?;
        let ([cluster], [user]) = (&*kubeconfig.clusters, &*kubeconfig.users) else {
            return Err(format!("{} has not one context", path.display()).into());
        };
        let server: Url = cluster.cluster.server.parse()?;
        let address = server
            .socket_addrs(|| None)?
            .pop()
            .ok_or("the server has no address")?;
        let pem = BASE64_STANDARD.decode(&cluster.cluster.certificate_authority_data)?;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&pem)?)?;
        let mut authorization = HeaderValue::try_from(format!("Bearer {}", user.user.token))?;
        authorization.set_sensitive(true);
        Ok(Self {
            address,
            prefix: server.path().trim_end_matches('/').to_owned(),
            authorization,
            roots: Arc::new(roots),
        })
    }

    /// TLS that speaks `alpn` and trusts the kubeconfig's authority.
    pub(crate) fn tls(&self, alpn: &str) -> Result<ClientConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth();
        config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
        Ok(config)
    }
}
