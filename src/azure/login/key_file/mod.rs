//! Reading a key and its certificates from a file: PEM or PKCS#12, with or without a password.

mod algorithm;
mod encryption;
mod mac;
mod password;
mod pkcs12;

use std::fmt;

use aws_lc_rs::signature::{KeyPair as _, RsaKeyPair};
use pem::Pem;
use zeroize::Zeroizing;

use self::algorithm::PBES2;
use self::encryption::Encrypted;
use self::password::Password;
use crate::ber::{Reader, SEQUENCE};
use crate::secret::Secret;

/// A private key, and the certificates that vouch for it.
pub(super) struct KeyFile {
    pub(super) key: RsaKeyPair,
    /// The key's own, then the others in the file's order; DER.
    pub(super) chain: Vec<Vec<u8>>,
}

/// What is wrong with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// It is neither PEM nor PKCS#12.
    Unknown,
    /// It says that it is, but is not.
    Broken,
    /// There is no private key in it.
    NoKey,
    /// The key is not RSA, or has a length that is not in use.
    KeyKind,
    /// None of its certificates, if there are any, is the key's.
    NoCertificate,
    /// It needs a password, and none is given.
    PasswordMissing,
    /// The password is not its own.
    PasswordWrong,
    /// It is encrypted in a way that is no longer, or not yet, in use.
    Encryption,
}

impl KeyFile {
    /// Reads `bytes`. A password may take a second of CPU to try.
    ///
    /// # Errors
    /// What is wrong with the file or the password.
    pub(super) fn read(bytes: &[u8], password: Option<&Secret>) -> Result<Self, Unreadable> {
        // No text begins with it.
        let (key, certificates) = if bytes.first() == Some(&SEQUENCE) {
            pkcs12::read(bytes, password)?
        } else {
            pem(bytes, password)?
        };
        Ok(Self {
            chain: chain(&key, certificates)?,
            key,
        })
    }
}

type Parts = (RsaKeyPair, Vec<Vec<u8>>);

fn pem(bytes: &[u8], password: Option<&Secret>) -> Result<Parts, Unreadable> {
    let sections = pem::parse_many(bytes).map_err(|_| Unreadable::Broken)?;
    if sections.is_empty() {
        return Err(Unreadable::Unknown);
    }
    let (mut key, mut certificates) = (None, Vec::new());
    for section in sections {
        if section.tag() == "CERTIFICATE" {
            certificates.push(section.into_contents());
        } else if section.tag().ends_with("PRIVATE KEY") && key.is_none() {
            key = Some(private_key(section, password)?);
        }
    }
    Ok((key.ok_or(Unreadable::NoKey)?, certificates))
}

fn private_key(section: Pem, password: Option<&Secret>) -> Result<RsaKeyPair, Unreadable> {
    let tag = section.tag().to_owned();
    // The encryption of PEM itself: MD5 of the password, and no checksum.
    if section.headers().get("DEK-Info").is_some() {
        return Err(Unreadable::Encryption);
    }
    let der = Zeroizing::new(section.into_contents());
    let pair = match tag.as_str() {
        "PRIVATE KEY" => RsaKeyPair::from_pkcs8(&der),
        "RSA PRIVATE KEY" => RsaKeyPair::from_der(&der),
        "ENCRYPTED PRIVATE KEY" => {
            let password = password.ok_or(Unreadable::PasswordMissing)?;
            RsaKeyPair::from_pkcs8(&decrypted(&der, password)?)
        }
        _ => return Err(Unreadable::KeyKind),
    };
    pair.map_err(|_| Unreadable::KeyKind)
}

fn decrypted(der: &[u8], password: &Secret) -> Result<Zeroizing<Vec<u8>>, Unreadable> {
    let encrypted = Encrypted::read(&mut Reader::new(der)).ok_or(Unreadable::Broken)?;
    // The other ways are PKCS#12's own.
    if encrypted.how.id != PBES2 {
        return Err(Unreadable::Encryption);
    }
    let key = encrypted.open(&Password::new(password.expose()))?;
    // Not every wrong password breaks the padding.
    let is_key = Reader::new(&key).inside(SEQUENCE).is_some();
    is_key.then_some(key).ok_or(Unreadable::PasswordWrong)
}

/// The key's own certificate first.
fn chain(key: &RsaKeyPair, mut certificates: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>, Unreadable> {
    // A certificate has its public key in it in this very form; parsers are pickier than Entra.
    let public = key.public_key().as_ref();
    let is_own = |der: &Vec<u8>| der.windows(public.len()).any(|bytes| bytes == public);
    let own = certificates.iter().position(is_own);
    let own = certificates.remove(own.ok_or(Unreadable::NoCertificate)?);
    certificates.insert(0, own);
    Ok(certificates)
}

/// Reads after the file's name.
impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "it is neither PEM nor PKCS#12",
            Self::Broken => "it cannot be read as PEM or PKCS#12",
            Self::NoKey => "there is no private key in it",
            Self::KeyKind => "its key is not an RSA key of 2048 to 8192 bits",
            Self::NoCertificate => "no certificate in it belongs to its key",
            Self::PasswordMissing => "it needs a password",
            Self::PasswordWrong => "the password does not open it",
            Self::Encryption => "it is encrypted in a way that is not supported",
        })
    }
}

/// Neither the key nor what it is for.
impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let certificates = self.chain.len();
        f.debug_struct("KeyFile")
            .field("certificates", &certificates)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(super) fn bytes(name: &str) -> Vec<u8> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/certificates/");
        std::fs::read(format!("{folder}{name}")).expect(name)
    }

    pub(super) fn read(name: &str, password: Option<&str>) -> Result<KeyFile, Unreadable> {
        KeyFile::read(&bytes(name), password.map(Secret::from).as_ref())
    }

    #[test]
    fn every_form_gives_the_same_key_and_its_certificate_first() {
        let own = pem::parse(bytes("app.crt")).expect("PEM").into_contents();
        let plain = read("plain.pem", None).expect("readable");
        for (name, password) in [
            ("plain.pem", None),
            ("plain.pem", Some("of no use")),
            ("pkcs1.pem", None),
            ("encrypted.pem", Some("secret")),
            ("encrypted-sha1.pem", Some("secret")),
            ("encrypted-3des.pem", Some("secret")),
            ("encrypted-sha512.pem", Some("secret")),
            ("modern.p12", Some("secret")),
            ("legacy.p12", Some("secret")),
            ("open.p12", None),
        ] {
            let file = read(name, password).expect(name);
            assert_eq!(
                file.key.public_key().as_ref(),
                plain.key.public_key().as_ref(),
                "{name}"
            );
            assert_eq!(file.chain.len(), 2, "{name}");
            assert!(file.chain[0] == own, "{name}");
        }
    }

    #[test]
    fn a_certificate_of_version_1_is_taken() {
        assert_eq!(read("version1.pem", None).expect("readable").chain.len(), 1);
    }

    #[test]
    fn what_is_wrong_is_told() {
        use Unreadable as U;
        for (name, password, wrong) in [
            ("keyless.pem", None, U::NoKey),
            ("other.pem", None, U::NoCertificate),
            ("ec.pem", None, U::KeyKind),
            ("encrypted.pem", None, U::PasswordMissing),
            ("encrypted.pem", Some("wrong"), U::PasswordWrong),
            ("encrypted-3des.pem", Some("wrong"), U::PasswordWrong),
            ("encrypted-pbes1.pem", Some("secret"), U::Encryption),
            ("encrypted-dek.pem", Some("secret"), U::Encryption),
            ("encrypted-scrypt.pem", Some("secret"), U::Encryption),
            ("modern.p12", None, U::PasswordMissing),
            ("modern.p12", Some("wrong"), U::PasswordWrong),
            ("legacy.p12", Some("wrong"), U::PasswordWrong),
            ("open.p12", Some("wrong"), U::PasswordWrong),
            ("password", None, U::Unknown),
        ] {
            assert_eq!(read(name, password).err(), Some(wrong), "{name}");
        }
    }

    #[test]
    fn no_damage_makes_it_panic() {
        for name in ["modern.p12", "legacy.p12", "plain.pem"] {
            let whole = bytes(name);
            for length in (0..whole.len()).step_by(97) {
                let cut = KeyFile::read(&whole[..length], Some(&Secret::from("secret")));
                assert!(
                    cut.is_err() || name == "plain.pem",
                    "{name} cut to {length}"
                );
            }
        }
        assert_eq!(
            KeyFile::read(b"0\x80\0\0", None).err(),
            Some(Unreadable::Broken)
        );
    }
}
