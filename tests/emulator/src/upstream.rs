//! A real cluster behind kube-aad-proxy: the way to it, read from a kubeconfig.

use std::io;
use std::path::{Path, PathBuf};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use url::Url;

use crate::aad_proxy::Upstream;
use crate::tls::provider;

/// Why a kubeconfig does not lead to a cluster.
#[derive(Debug)]
pub enum Error {
    /// A file cannot be read.
    Read(PathBuf, io::Error),
    /// The kubeconfig is not one.
    Parse(serde_saphyr::Error),
    /// It lacks something, or has it in a form that the emulator does not know.
    Unusable(String),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Read(path, error) => write!(f, "cannot read {}: {error}", path.display()),
            Self::Parse(error) => write!(f, "not a kubeconfig: {error}"),
            Self::Unusable(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Error {}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Kubeconfig {
    current_context: String,
    clusters: Vec<NamedCluster>,
    contexts: Vec<NamedContext>,
    users: Vec<NamedUser>,
}

#[derive(Debug, Deserialize)]
struct NamedCluster {
    name: String,
    cluster: Cluster,
}

#[derive(Debug, Deserialize)]
struct NamedContext {
    name: String,
    context: Context,
}

#[derive(Debug, Deserialize)]
struct NamedUser {
    name: String,
    user: User,
}

#[derive(Debug, Deserialize)]
struct Context {
    cluster: String,
    user: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    server: String,
    certificate_authority: Option<PathBuf>,
    certificate_authority_data: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct User {
    token: Option<String>,
    client_certificate: Option<PathBuf>,
    client_certificate_data: Option<String>,
    client_key: Option<PathBuf>,
    client_key_data: Option<String>,
}

/// Reads the current context of the kubeconfig at `path`. Its user has to be one that may
/// impersonate others, and sign in with a token or a certificate.
pub fn read(path: &Path) -> Result<Upstream, Error> {
    let text = std::fs::read_to_string(path).map_err(|error| Error::Read(path.into(), error))?;
    let config: Kubeconfig = serde_saphyr::from_str(&text).map_err(Error::Parse)?;
    let missing = |what: &str, name: &str| Error::Unusable(format!("there is no {what} {name:?}"));
    let context = config
        .contexts
        .into_iter()
        .find(|context| context.name == config.current_context)
        .ok_or_else(|| missing("context", &config.current_context))?
        .context;
    let cluster = config
        .clusters
        .into_iter()
        .find(|cluster| cluster.name == context.cluster)
        .ok_or_else(|| missing("cluster", &context.cluster))?
        .cluster;
    let user = config
        .users
        .into_iter()
        .find(|user| user.name == context.user)
        .ok_or_else(|| missing("user", &context.user))?
        .user;
    let directory = path.parent().unwrap_or(Path::new("."));
    let url = Url::parse(&cluster.server)
        .ok()
        .filter(|url| url.scheme() == "https")
        .ok_or_else(|| Error::Unusable(format!("{:?} is no https URL", cluster.server)))?;
    Ok(Upstream {
        url,
        tls: client_config(directory, &cluster, &user)?,
        authorization: user.token.map(|token| format!("Bearer {token}")),
        handler: None,
    })
}

fn client_config(directory: &Path, cluster: &Cluster, user: &User) -> Result<ClientConfig, Error> {
    let ca = data(
        directory,
        cluster.certificate_authority_data.as_deref(),
        cluster.certificate_authority.as_deref(),
    )?
    .ok_or_else(|| Error::Unusable("the cluster has no certificate authority".to_owned()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&ca) {
        roots
            .add(certificate.map_err(unusable)?)
            .map_err(unusable)?;
    }
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_root_certificates(roots);
    let certificate = data(
        directory,
        user.client_certificate_data.as_deref(),
        user.client_certificate.as_deref(),
    )?;
    let key = data(
        directory,
        user.client_key_data.as_deref(),
        user.client_key.as_deref(),
    )?;
    match (certificate, key) {
        (Some(certificate), Some(key)) => {
            let chain = CertificateDer::pem_slice_iter(&certificate)
                .collect::<Result<Vec<_>, _>>()
                .map_err(unusable)?;
            let key = PrivateKeyDer::from_pem_slice(&key).map_err(unusable)?;
            builder.with_client_auth_cert(chain, key).map_err(unusable)
        }
        _ if user.token.is_some() => Ok(builder.with_no_client_auth()),
        _ => Err(Error::Unusable(
            "the user has neither a token nor a client certificate".to_owned(),
        )),
    }
}

/// What stands in the kubeconfig itself, or in the file that it names.
fn data(
    directory: &Path,
    inline: Option<&str>,
    file: Option<&Path>,
) -> Result<Option<Vec<u8>>, Error> {
    match (inline, file) {
        (Some(inline), _) => BASE64_STANDARD.decode(inline).map(Some).map_err(unusable),
        (None, Some(file)) => {
            let path = directory.join(file);
            std::fs::read(&path)
                .map(Some)
                .map_err(|error| Error::Read(path, error))
        }
        (None, None) => Ok(None),
    }
}

fn unusable(error: impl std::fmt::Display) -> Error {
    Error::Unusable(error.to_string())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;
    use crate::tls::Authority;

    fn kubeconfig(directory: &Path, user: &str) -> PathBuf {
        let ca = BASE64_STANDARD.encode(Authority::new("kubernetes").unwrap().pem());
        let path = directory.join("config");
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: here\n\
             clusters: [{{name: c, cluster: {{server: 'https://127.0.0.1:6443', certificate-authority-data: {ca}}}}}]\n\
             contexts: [{{name: here, context: {{cluster: c, user: u}}}}]\n\
             users: [{{name: u, user: {user}}}]\n"
        );
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn a_token_user_becomes_an_authorization() {
        let directory = tempfile::tempdir().unwrap();
        let upstream = read(&kubeconfig(directory.path(), "{token: abc}")).unwrap();
        assert_eq!(upstream.authorization.as_deref(), Some("Bearer abc"));
        assert_eq!(upstream.url.as_str(), "https://127.0.0.1:6443/");
    }

    #[test]
    fn a_certificate_user_signs_in_by_tls() {
        let directory = tempfile::tempdir().unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::default()
            .self_signed(&key)
            .unwrap();
        std::fs::write(directory.path().join("user.crt"), certificate.pem()).unwrap();
        let key = BASE64_STANDARD.encode(key.serialize_pem());
        let user = format!("{{client-certificate: user.crt, client-key-data: {key}}}");
        let upstream = read(&kubeconfig(directory.path(), &user)).unwrap();
        assert_eq!(upstream.authorization, None);
        assert!(upstream.tls.client_auth_cert_resolver.has_certs());
    }

    #[test]
    fn a_user_of_another_kind_is_named_as_the_trouble() {
        let directory = tempfile::tempdir().unwrap();
        let path = kubeconfig(directory.path(), "{exec: {command: kubelogin}}");
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("neither a token nor"), "{error}");
    }
}
