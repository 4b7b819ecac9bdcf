//! Reading a key and its certificates from a file: PEM or PKCS#12, with or without a password.

use std::fmt;

use aws_lc_rs::signature::{KeyPair as _, RsaKeyPair};
use p12_keystore::Pkcs12Archive;
use p12_keystore::error::Error as Pkcs12Error;
use pem::Pem;
use pkcs8::EncryptedPrivateKeyInfoRef;
use zeroize::Zeroizing;

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
        // DER of a sequence, which no text begins with.
        let (key, certificates) = if bytes.first() == Some(&0x30) {
            pkcs12(bytes, password)?
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

fn pkcs12(bytes: &[u8], password: Option<&Secret>) -> Result<Parts, Unreadable> {
    let text = password.map_or("", Secret::expose);
    let archive = Pkcs12Archive::from_pkcs12(bytes, text).map_err(|error| match error {
        // The password is proved by a checksum or, without one, by what comes out.
        Pkcs12Error::MacError(_) | Pkcs12Error::Pkcs5Error(_) | Pkcs12Error::UnpadError => {
            if password.is_none() {
                Unreadable::PasswordMissing
            } else {
                Unreadable::PasswordWrong
            }
        }
        Pkcs12Error::UnsupportedEncryptionScheme | Pkcs12Error::UnsupportedMacAlgorithm => {
            Unreadable::Encryption
        }
        _ => Unreadable::Broken,
    })?;
    let key = archive.keys.first().ok_or(Unreadable::NoKey)?;
    let key = RsaKeyPair::from_pkcs8(key.key.as_der()).map_err(|_| Unreadable::KeyKind)?;
    let certificates = archive.certs.iter().map(|bag| bag.cert.as_der().to_vec());
    Ok((key, certificates.collect()))
}

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
            RsaKeyPair::from_pkcs8(decrypted(&der, password)?.as_bytes())
        }
        _ => return Err(Unreadable::KeyKind),
    };
    pair.map_err(|_| Unreadable::KeyKind)
}

fn decrypted(der: &[u8], password: &Secret) -> Result<pkcs8::SecretDocument, Unreadable> {
    use pkcs8::pkcs5::Error as Pkcs5;
    // A scheme that is not known cannot be told from damage.
    let key = EncryptedPrivateKeyInfoRef::try_from(der).map_err(|_| Unreadable::Encryption)?;
    key.decrypt(password.expose()).map_err(|error| match error {
        pkcs8::Error::EncryptedPrivateKey(
            Pkcs5::NoPbes1CryptSupport
            | Pkcs5::UnsupportedAlgorithm { .. }
            | Pkcs5::AlgorithmParametersInvalid { .. },
        ) => Unreadable::Encryption,
        // Wrong padding, or what comes out is no key.
        _ => Unreadable::PasswordWrong,
    })
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
mod tests {
    use super::*;

    fn bytes(name: &str) -> Vec<u8> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/certificates/");
        std::fs::read(format!("{folder}{name}")).expect(name)
    }

    fn read(name: &str, password: Option<&str>) -> Result<KeyFile, Unreadable> {
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
