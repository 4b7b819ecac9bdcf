//! PKCS#12 files: a key and certificates in bags, the bags in safes, the safes under a checksum.
//!
//! Follows RFC 7292. Bags of other kinds, and what bags are called, are passed over.

use aws_lc_rs::signature::RsaKeyPair;
use zeroize::Zeroizing;

use super::algorithm::{Algorithm, RSA};
use super::encryption::Encrypted;
use super::password::Password;
use super::{Parts, Unreadable, mac};
use crate::ber::{EXPLICIT_0, IMPLICIT_0, OCTETS, OID, Reader, SEQUENCE};
use crate::secret::Secret;

const VERSION: u32 = 3;

const DATA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01";
const ENCRYPTED_DATA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x06";

const KEY: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01\x01";
const SHROUDED_KEY: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01\x02";
const CERTIFICATE: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01\x03";
const X509: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x16\x01";

/// Reads the first key of a file, and all its certificates.
pub(super) fn read(bytes: &[u8], password: Option<&Secret>) -> Result<Parts, Unreadable> {
    let text = password.map_or("", Secret::expose);
    let parts = match open(bytes, &Password::new(text)) {
        Err(Unreadable::PasswordWrong) if text.is_empty() => open(bytes, &Password::none()),
        parts => parts,
    };
    parts.map_err(|wrong| match wrong {
        Unreadable::PasswordWrong if password.is_none() => Unreadable::PasswordMissing,
        wrong => wrong,
    })
}

fn open(bytes: &[u8], password: &Password<'_>) -> Result<Parts, Unreadable> {
    let broken = Unreadable::Broken;
    let mut file = Reader::new(bytes);
    let mut inside = file.inside(SEQUENCE).ok_or(broken)?;
    if !file.is_empty() || inside.number() != Some(VERSION) {
        return Err(broken);
    }
    let (kind, mut content) = content(&mut inside).ok_or(broken)?;
    if kind != DATA {
        // Signed by a key, not by a password.
        return Err(Unreadable::Encryption);
    }
    let content = content.string(OCTETS).ok_or(broken)?;
    let is_proved = !inside.is_empty();
    if is_proved {
        let mac = inside.inside(SEQUENCE).ok_or(broken)?;
        mac::verify(mac, &content, password)?;
    }
    let mut contents = Contents {
        password,
        // Without a checksum a wrong password shows by what comes out.
        garbled: if is_proved {
            broken
        } else {
            Unreadable::PasswordWrong
        },
        key: None,
        certificates: Vec::new(),
    };
    contents.safes(&content)?;
    let key = contents.key.ok_or(Unreadable::NoKey)?;
    Ok((key, contents.certificates))
}

/// The next element, which is a `ContentInfo`: what kind it is of, and what is in it.
fn content<'a>(reader: &mut Reader<'a>) -> Option<(&'a [u8], Reader<'a>)> {
    let mut inside = reader.inside(SEQUENCE)?;
    Some((inside.content(OID)?, inside.inside(EXPLICIT_0)?))
}

/// What has been read so far.
struct Contents<'a> {
    password: &'a Password<'a>,
    /// What is wrong if something decrypted cannot be read.
    garbled: Unreadable,
    key: Option<RsaKeyPair>,
    certificates: Vec<Vec<u8>>,
}

impl Contents<'_> {
    fn safes(&mut self, bytes: &[u8]) -> Result<(), Unreadable> {
        let broken = Unreadable::Broken;
        let mut safes = Reader::new(bytes).inside(SEQUENCE).ok_or(broken)?;
        while !safes.is_empty() {
            let (kind, mut content) = content(&mut safes).ok_or(broken)?;
            match kind {
                DATA => {
                    let bags = content.string(OCTETS).ok_or(broken)?;
                    self.bags(&bags, broken)?;
                }
                ENCRYPTED_DATA => {
                    let encrypted = encrypted_data(&mut content).ok_or(broken)?;
                    self.bags(&encrypted.open(self.password)?, self.garbled)?;
                }
                // To a certificate's holder.
                _ => return Err(Unreadable::Encryption),
            }
        }
        Ok(())
    }

    fn bags(&mut self, bytes: &[u8], broken: Unreadable) -> Result<(), Unreadable> {
        let mut bags = Reader::new(bytes).inside(SEQUENCE).ok_or(broken)?;
        while !bags.is_empty() {
            let (kind, mut bag) = content(&mut bags).ok_or(broken)?;
            match kind {
                KEY if self.key.is_none() => self.key = Some(private_key(&mut bag, broken)?),
                SHROUDED_KEY if self.key.is_none() => {
                    let key = Encrypted::read(&mut bag).ok_or(broken)?;
                    let key = key.open(self.password)?;
                    self.key = Some(private_key(&mut Reader::new(&key), self.garbled)?);
                }
                CERTIFICATE => {
                    let (kind, mut certificate) = content(&mut bag).ok_or(broken)?;
                    if kind == X509 {
                        let der = certificate.string(OCTETS).ok_or(broken)?;
                        self.certificates.push(der.into_owned());
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// What is in an `EncryptedData`.
fn encrypted_data<'a>(reader: &mut Reader<'a>) -> Option<Encrypted<'a>> {
    let mut inside = reader.inside(SEQUENCE)?;
    inside.number()?; // version
    let mut inside = inside.inside(SEQUENCE)?;
    inside.content(OID)?; // what it is once decrypted
    Some(Encrypted {
        how: Algorithm::read(&mut inside)?,
        what: inside.string(IMPLICIT_0)?,
    })
}

/// The next element, which is a `PrivateKeyInfo`.
fn private_key(reader: &mut Reader<'_>, broken: Unreadable) -> Result<RsaKeyPair, Unreadable> {
    let mut inside = reader.inside(SEQUENCE).ok_or(broken)?;
    inside.number().ok_or(broken)?; // version
    let kind = Algorithm::read(&mut inside).ok_or(broken)?;
    let key = inside.string(OCTETS).ok_or(broken)?;
    let key = Zeroizing::new(key.into_owned());
    if kind.id != RSA {
        return Err(Unreadable::KeyKind);
    }
    RsaKeyPair::from_der(&key).map_err(|_| Unreadable::KeyKind)
}
