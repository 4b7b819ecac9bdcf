//! The listener's certificate: an authority and a leaf of this run alone, in memory.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::error::{Code, Error};

/// What a client needs to trust the listener, and what the listener needs to prove itself.
#[derive(Debug)]
pub struct LocalCertificate {
    /// The authority's certificate, PEM.
    pub authority_pem: String,
    /// The listener's TLS settings.
    pub config: Arc<ServerConfig>,
}

impl LocalCertificate {
    /// Makes both afresh, for the loopback addresses and `localhost`.
    ///
    /// # Errors
    /// The cryptography library refuses, which means that it is broken.
    pub fn generate() -> Result<Self, Error> {
        make().map_err(|error| {
            Error::new(
                Code::Unexpected,
                "cannot make the local listener's certificate",
            )
            .caused_by(&*error)
        })
    }
}

fn make() -> Result<LocalCertificate, Box<dyn std::error::Error>> {
    let named = |name: &str| {
        let mut distinguished = DistinguishedName::new();
        distinguished.push(DnType::CommonName, name);
        distinguished
    };
    let authority_key = KeyPair::generate()?;
    let mut authority = CertificateParams::default();
    authority.distinguished_name = named("arcproxy local authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority_pem = authority.self_signed(&authority_key)?.pem();

    let key = KeyPair::generate()?;
    let subjects = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let mut leaf = CertificateParams::new(subjects)?;
    leaf.distinguished_name = named("arcproxy");
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    leaf.use_authority_key_identifier_extension = true;
    let leaf = leaf.signed_by(&key, &Issuer::new(authority, authority_key))?;

    let mut config = ServerConfig::builder_with_provider(crate::net::provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(
            vec![leaf.der().clone()],
            PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(LocalCertificate {
        authority_pem,
        config: Arc::new(config),
    })
}
