//! Certificates that apps sign their assertions with.

use aws_lc_rs::digest;
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use rsa::PublicKey;
use rsa::pkcs8::DecodePublicKey as _;
use rsa::signature::Verifier as _;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::ParsedCertificate;

use crate::tls::Error;

/// A registered certificate.
#[derive(Debug, Clone)]
pub(super) struct Certificate {
    sha1: Vec<u8>,
    sha256: Vec<u8>,
    key: PublicKey,
}

impl Certificate {
    /// Reads the first certificate in `pem`.
    pub(super) fn from_pem(pem: &str) -> Result<Self, Error> {
        let der = CertificateDer::from_pem_slice(pem.as_bytes())?;
        let key = ParsedCertificate::try_from(&der)?.subject_public_key_info();
        let hash = |algorithm| digest::digest(algorithm, &der).as_ref().to_vec();
        Ok(Self {
            sha1: hash(&digest::SHA1_FOR_LEGACY_USE_ONLY),
            sha256: hash(&digest::SHA256),
            key: PublicKey::from_public_key_der(&key)?,
        })
    }

    /// Whether the header of an assertion names this certificate, by `x5t` or `x5t#S256`.
    pub(super) fn is_named(&self, header: &serde_json::Value) -> bool {
        let names = |field: &str, hash: &[u8]| {
            header[field].as_str().is_some_and(|text| {
                BASE64_URL_SAFE_NO_PAD
                    .decode(text.trim_end_matches('='))
                    .is_ok_and(|named| named == hash)
            })
        };
        names("x5t#S256", &self.sha256) || names("x5t", &self.sha1)
    }

    /// Whether this certificate's key made `signature`.
    pub(super) fn verifies(&self, algorithm: &str, input: &[u8], signature: &[u8]) -> bool {
        verifies(&self.key, algorithm, input, signature)
    }
}

/// Whether `key` made `signature` over `input`, by `RS256` or `PS256`.
pub(super) fn verifies(key: &PublicKey, algorithm: &str, input: &[u8], signature: &[u8]) -> bool {
    match algorithm {
        "RS256" => rsa::pkcs1v15::Signature::try_from(signature).is_ok_and(|signature| {
            rsa::pkcs1v15::VerifyingKey::<sha2::Sha256>::new(key.clone())
                .verify(input, &signature)
                .is_ok()
        }),
        "PS256" => rsa::pss::Signature::try_from(signature).is_ok_and(|signature| {
            rsa::pss::VerifyingKey::<sha2::Sha256>::new(key.clone())
                .verify(input, &signature)
                .is_ok()
        }),
        _ => false,
    }
}
