//! What answers at the far end of the stream: kube-aad-proxy, its name and its authority.
//!
//! **Inferred**: that TLS runs end to end inside the stream, with the authority and the server
//! that ARM's kubeconfig names; an `http://` server means no TLS inside.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use url::Url;

use crate::net::Trust;

/// The far end of a stream.
#[derive(Debug)]
pub struct FarSide {
    pub(super) authority: String,
    /// What the bridge calls it.
    pub(super) port: String,
    pub(super) tls: Option<FarTls>,
}

#[derive(Debug)]
pub(super) struct FarTls {
    pub(super) name: ServerName<'static>,
    /// For ordinary requests: HTTP/2 if it is offered.
    pub(super) requests: Arc<ClientConfig>,
    /// For upgrades: HTTP/1.1.
    pub(super) upgrades: Arc<ClientConfig>,
}

impl FarSide {
    /// The far end at `server`, whose certificate must come from an authority in
    /// `certificate_authority` (PEM) and carry `tls_server_name` or else the server's host.
    ///
    /// # Errors
    /// What does not fit together, in words.
    pub fn new(
        server: &str,
        tls_server_name: Option<&str>,
        certificate_authority: Option<&[u8]>,
    ) -> Result<Self, String> {
        let url = Url::parse(server).map_err(|_| "its server is no URL".to_owned())?;
        let host = url.host_str().ok_or("its server names no host")?.to_owned();
        let port = url
            .port_or_known_default()
            .ok_or("its server names no port")?;
        let tls = match (url.scheme(), certificate_authority) {
            ("http", _) => None,
            ("https", Some(pem)) => {
                let config = |alpn: &[&str]| {
                    Trust::only(pem, alpn)
                        .map(Arc::new)
                        .map_err(|error| error.to_string())
                };
                let name = tls_server_name.unwrap_or(&host).to_owned();
                Some(FarTls {
                    name: ServerName::try_from(name).map_err(|error| error.to_string())?,
                    requests: config(&["h2", "http/1.1"])?,
                    upgrades: config(&["http/1.1"])?,
                })
            }
            ("https", None) => return Err("it names no certificate authority".to_owned()),
            (scheme, _) => return Err(format!("its server has the scheme {scheme}")),
        };
        let authority = url
            .port()
            .map_or_else(|| host.clone(), |port| format!("{host}:{port}"));
        Ok(Self {
            authority,
            port: port.to_string(),
            tls,
        })
    }

    /// Host and port, as requests name it.
    pub fn authority(&self) -> &str {
        &self.authority
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_said() {
        let error = |server, ca| FarSide::new(server, None, ca).expect_err("refused");
        assert!(error("nonsense", None).contains("no URL"));
        assert!(error("https://kube-aad-proxy", None).contains("authority"));
        assert!(error("https://kube-aad-proxy", Some(&b"no pem"[..])).contains("certificate"));
        assert!(error("ftp://kube-aad-proxy", None).contains("ftp"));
    }

    #[test]
    fn plain_http_means_no_tls() {
        let far = FarSide::new("http://kube-aad-proxy:8080", None, None).expect("usable");
        assert!(far.tls.is_none());
        assert_eq!(
            (far.authority(), far.port.as_str()),
            ("kube-aad-proxy:8080", "8080")
        );
    }
}
