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

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::KeyFile;
    use super::super::tests::{bytes, read};
    use super::*;
    use crate::ber::tests::{definite, indefinite};

    fn assert_whole(name: &str, file: &KeyFile) {
        let own = pem::parse(bytes("app.crt")).expect("PEM").into_contents();
        assert_eq!(file.chain.len(), 2, "{name}");
        assert!(file.chain[0] == own, "{name}");
    }

    #[test]
    fn every_way_that_is_in_use_is_read() {
        for (name, password) in [
            ("aes.p12", Some("secret")),
            ("bare.p12", Some("secret")),
            ("legacy-others.p12", Some("secret")),
            ("pbmac1.p12", Some("secret")),
            ("unproved.p12", Some("secret")),
            ("unproved-legacy.p12", Some("secret")),
            ("wide.p12", Some("Grüße-🔑")),
            ("open.p12", Some("")),
            ("none.p12", Some("")),
            ("none.p12", None),
        ] {
            assert_whole(name, &read(name, password).expect(name));
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        use Unreadable as U;
        for (name, password, wrong) in [
            ("certless.p12", Some("secret"), U::NoCertificate),
            ("keyless.p12", Some("secret"), U::NoKey),
            ("ec.p12", Some("secret"), U::KeyKind),
            ("rc4.p12", Some("secret"), U::Encryption),
            ("costly.p12", Some("secret"), U::Encryption),
            ("bare.p12", None, U::PasswordMissing),
            ("bare.p12", Some("wrong"), U::PasswordWrong),
            ("none.p12", Some("wrong"), U::PasswordWrong),
            ("pbmac1.p12", Some("wrong"), U::PasswordWrong),
            ("unproved.p12", Some("wrong"), U::PasswordWrong),
            ("unproved-legacy.p12", None, U::PasswordMissing),
            ("unproved-legacy.p12", Some("wrong"), U::PasswordWrong),
        ] {
            assert_eq!(read(name, password).err(), Some(wrong), "{name}");
        }
    }

    /// What comes out of a wrong password is padded well once in 256 times.
    #[test]
    fn without_a_checksum_no_wrong_password_looks_like_damage() {
        for name in ["unproved.p12", "unproved-legacy.p12"] {
            for number in 0..600 {
                let wrong = read(name, Some(&format!("wrong {number}")));
                assert_eq!(wrong.err(), Some(Unreadable::PasswordWrong), "{number}");
            }
        }
    }

    #[test]
    fn lengths_may_be_left_open() {
        let secret = Secret::from("secret");
        for name in ["modern.p12", "legacy.p12", "pbmac1.p12", "bare.p12"] {
            let open = indefinite(&bytes(name), 9);
            assert_whole(name, &KeyFile::read(&open, Some(&secret)).expect(name));
        }
        // Further in, where a checksum would notice.
        for name in ["unproved.p12", "unproved-legacy.p12"] {
            let whole = bytes(name);
            let mut inside = Reader::new(&whole).inside(SEQUENCE).expect(name);
            inside.number().expect(name);
            let (_, mut safes) = content(&mut inside).expect(name);
            let safes = indefinite(&safes.string(OCTETS).expect(name), 9);
            let safes = definite(EXPLICIT_0, &definite(OCTETS, &safes));
            let safes = definite(SEQUENCE, &[&definite(OID, DATA)[..], &safes].concat());
            let whole = definite(SEQUENCE, &[&[2, 1, 3], &safes[..]].concat());
            assert_whole(name, &KeyFile::read(&whole, Some(&secret)).expect(name));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_changed_bytes_make_it_panic(
            name in prop::sample::select(vec![
                "bare.p12", "modern.p12", "pbmac1.p12", "unproved.p12", "unproved-legacy.p12",
            ]),
            changes in vec((any::<prop::sample::Index>(), 1_u8..), 1..4),
        ) {
            let mut bytes = bytes(name);
            for (at, change) in changes {
                let at = at.index(bytes.len());
                bytes[at] ^= change;
            }
            let _ = KeyFile::read(&bytes, Some(&Secret::from("secret")));
        }
    }
}
