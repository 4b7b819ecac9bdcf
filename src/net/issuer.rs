//! Naming the issuer of a certificate that is not trusted.
//!
//! A proxy that opens TLS is told by who signed the certificate it presents: that name is what a
//! user can ask about. It comes from somebody who is not trusted, and is shown as such.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, OtherError, SignatureScheme};

use crate::ber::{EXPLICIT_0, INTEGER, OID, Reader, SEQUENCE, SET};

/// As many characters of an issuer's name as are shown.
const NAME: usize = 200;

/// A certificate that does not verify, and who issued it as it says itself.
#[derive(Debug, Clone)]
pub struct Untrusted {
    why: CertificateError,
    issuer: Option<String>,
}

impl Untrusted {
    /// What a handshake failed with, if it is this.
    pub(super) fn of(error: &std::io::Error) -> Option<Self> {
        let inner = error.get_ref()?.downcast_ref::<rustls::Error>()?;
        let rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(other))) = inner
        else {
            return None;
        };
        other.downcast_ref::<Self>().cloned()
    }

    /// What to do.
    pub(super) fn hint(&self) -> &'static str {
        match self.why {
            CertificateError::UnknownIssuer => {
                "a proxy that opens TLS may stand in between: if you know the issuer, give its certificate with --ca-file or SSL_CERT_FILE"
            }
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => {
                "check this machine's clock; if it is right, the certificate has to be renewed"
            }
            _ => "something else than the host may answer under its name: check DNS and proxies",
        }
    }
}

impl fmt::Display for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let issuer = self.issuer.as_deref().unwrap_or("nobody that it names");
        if self.why == CertificateError::UnknownIssuer {
            return write!(
                f,
                "its certificate was issued by {issuer}, which is not trusted"
            );
        }
        write!(
            f,
            "its certificate, issued by {issuer}, does not verify: {}",
            self.why
        )
    }
}

impl std::error::Error for Untrusted {}

/// A verifier whose refusals name the issuer.
#[derive(Debug)]
pub(super) struct Naming(pub(super) Arc<dyn ServerCertVerifier>);

impl ServerCertVerifier for Naming {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.0
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            .map_err(|error| match error {
                rustls::Error::InvalidCertificate(why) => {
                    let issuer = issuer(end_entity);
                    let untrusted = Arc::new(Untrusted { why, issuer });
                    rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(
                        untrusted,
                    )))
                }
                other => other,
            })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// The issuer's distinguished name, in one line; `None` if the certificate has none that can be
/// read.
pub(super) fn issuer(certificate: &[u8]) -> Option<String> {
    let mut tbs = Reader::new(certificate)
        .inside(SEQUENCE)?
        .inside(SEQUENCE)?;
    tbs.content(EXPLICIT_0); // version
    tbs.content(INTEGER)?; // serial number
    tbs.content(SEQUENCE)?; // signature algorithm
    let parts = name(tbs.inside(SEQUENCE)?)?;
    let line: String = parts
        .join(", ")
        .chars()
        .take(NAME)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    (!line.is_empty()).then(|| format!("\"{line}\""))
}

/// The parts of a distinguished name that people go by.
fn name(mut name: Reader<'_>) -> Option<Vec<String>> {
    let mut parts = Vec::new();
    while !name.is_empty() {
        let mut relative = name.inside(SET)?;
        while !relative.is_empty() {
            let mut attribute = relative.inside(SEQUENCE)?;
            let kind = label(attribute.content(OID)?);
            let (_, value) = attribute.any()?;
            if let Some(kind) = kind {
                parts.push(format!("{kind}={}", String::from_utf8_lossy(value)));
            }
        }
    }
    Some(parts)
}

fn label(kind: &[u8]) -> Option<&'static str> {
    match kind {
        b"\x55\x04\x03" => Some("CN"),
        b"\x55\x04\x06" => Some("C"),
        b"\x55\x04\x0a" => Some("O"),
        b"\x55\x04\x0b" => Some("OU"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

    use super::*;

    fn issued_by(parts: &[(DnType, &str)]) -> Option<String> {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in parts {
            params.distinguished_name.push(kind.clone(), *value);
        }
        issuer(params.self_signed(&key).expect("a certificate").der())
    }

    #[test]
    fn the_issuer_is_read_in_one_harmless_line() {
        let corporate = issued_by(&[
            (DnType::CountryName, "DE"),
            (DnType::OrganizationName, "Contoso AG"),
            (DnType::StateOrProvinceName, "Bayern"),
            (DnType::CommonName, "Contoso Prüf-CA"),
        ]);
        assert_eq!(
            corporate.as_deref(),
            Some("\"C=DE, O=Contoso AG, CN=Contoso Prüf-CA\"")
        );
        let odd = issued_by(&[(DnType::CommonName, &"\u{1b}[31m\n".repeat(99))]).expect("a name");
        assert!(!odd.contains(char::is_control) && odd.len() < 250, "{odd}");
        assert_eq!(issued_by(&[]), None);
    }

    #[test]
    fn what_is_no_certificate_has_no_issuer() {
        let key = KeyPair::generate().expect("a key");
        let certificate = CertificateParams::default().self_signed(&key);
        let der = certificate.expect("a certificate").der().to_vec();
        for length in 0..der.len() {
            assert_eq!(issuer(&der[..length]), None);
        }
        for at in 0..der.len() {
            let mut broken = der.clone();
            broken[at] ^= 0xff;
            issuer(&broken);
        }
        // A length that does not fit behind where it stands.
        let endless = [0x02, 0x88, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xf4];
        let der = [&[0x30, 12, 0x30, 10][..], &endless].concat();
        assert_eq!(issuer(&der), None);
    }
}
