//! Whom to trust: the operating system's store, and the authorities that the user adds.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::Verifier;

use super::issuer::Naming;

/// The authorities that are trusted, and the client settings made from them.
#[derive(Clone)]
pub struct Trust {
    provider: Arc<CryptoProvider>,
    verifier: Arc<dyn ServerCertVerifier>,
}

/// Why trust could not be set up.
#[derive(Debug)]
pub enum TlsError {
    /// A CA bundle cannot be read.
    Read(PathBuf, std::io::Error),
    /// A CA bundle holds no certificate, or a broken one.
    Bundle(PathBuf, String),
    /// A certificate handed over in memory is broken.
    Certificate(String),
    /// rustls refuses the settings.
    Settings(rustls::Error),
}

impl Trust {
    /// The operating system's store plus the certificates in `bundles` (PEM files). The store is
    /// the one that `SSL_CERT_FILE` and `SSL_CERT_DIR` name, where they are set.
    ///
    /// # Errors
    /// A bundle cannot be read or holds no certificate.
    pub fn system<'a>(bundles: impl IntoIterator<Item = &'a Path>) -> Result<Self, TlsError> {
        let mut extra = Vec::new();
        for path in bundles {
            let pem =
                std::fs::read(path).map_err(|error| TlsError::Read(path.to_owned(), error))?;
            let found = certificates(&pem).map_err(|why| TlsError::Bundle(path.to_owned(), why))?;
            extra.extend(found);
        }
        let provider = provider();
        let verifier =
            Verifier::new_with_extra_roots(extra, provider.clone()).map_err(TlsError::Settings)?;
        Ok(Self {
            provider,
            verifier: Arc::new(Naming(Arc::new(verifier))),
        })
    }

    /// Client settings that trust these authorities and offer `alpn`, most wanted first.
    ///
    /// # Errors
    /// rustls refuses the settings.
    pub fn client(&self, alpn: &[&str]) -> Result<ClientConfig, TlsError> {
        let mut config = ClientConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Settings)?
            .dangerous() // rustls's name for any verifier that is not its own, the system's too
            .with_custom_certificate_verifier(self.verifier.clone())
            .with_no_client_auth();
        config.alpn_protocols = protocols(alpn);
        Ok(config)
    }

    /// Client settings that trust the authorities in `pem` alone.
    ///
    /// # Errors
    /// There is no certificate in it, or a broken one.
    pub fn only(pem: &[u8], alpn: &[&str]) -> Result<ClientConfig, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(pem).map_err(TlsError::Certificate)? {
            roots
                .add(certificate)
                .map_err(|error| TlsError::Certificate(error.to_string()))?;
        }
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Settings)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols(alpn);
        Ok(config)
    }
}

/// The one cryptography provider of the process.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())?;
    if found.is_empty() {
        return Err("there is no certificate in it".to_owned());
    }
    Ok(found)
}

fn protocols(alpn: &[&str]) -> Vec<Vec<u8>> {
    alpn.iter().map(|name| name.as_bytes().to_vec()).collect()
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").finish_non_exhaustive()
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(path, _) => write!(f, "cannot read CA bundle {}", path.display()),
            Self::Bundle(path, why) => write!(f, "CA bundle {}: {why}", path.display()),
            Self::Certificate(why) => write!(f, "unusable certificate authority: {why}"),
            Self::Settings(_) => f.write_str("cannot set up TLS"),
        }
    }
}

impl std::error::Error for TlsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read(_, error) => Some(error),
            Self::Settings(error) => Some(error),
            Self::Bundle(..) | Self::Certificate(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_without_certificates_is_named() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let error = Trust::system([file.path()]).expect_err("an empty bundle");
        assert!(error.to_string().contains("no certificate"), "{error}");
        let missing = file.path().with_extension("missing");
        let error = Trust::system([missing.as_path()]).expect_err("a missing bundle");
        assert!(
            error.to_string().contains(&missing.display().to_string()),
            "{error}"
        );
    }
}
