//! The checksum of a PKCS#12 file, which proves its password.
//!
//! Follows RFC 7292, 4 and appendix B.4, and RFC 9579 (PBMAC1).

use aws_lc_rs::{digest, hmac};
use zeroize::Zeroizing;

use super::Unreadable;
use super::algorithm::{
    Algorithm, HMAC_SHA1, HMAC_SHA256, HMAC_SHA384, HMAC_SHA512, PBMAC1, SHA1, SHA224, SHA256,
    SHA384, SHA512,
};
use super::password::{Password, Purpose};
use crate::ber::{OCTETS, Reader, SEQUENCE};

/// No key is longer than the longest hash.
const KEY: usize = digest::MAX_OUTPUT_LEN;

/// Checks `content` by what is in a `MacData`.
///
/// # Errors
/// The password is not the file's, or the kind of checksum is not known.
pub(super) fn verify(
    mut mac: Reader<'_>,
    content: &[u8],
    password: &Password<'_>,
) -> Result<(), Unreadable> {
    let broken = Unreadable::Broken;
    let mut inside = mac.inside(SEQUENCE).ok_or(broken)?;
    let how = Algorithm::read(&mut inside).ok_or(broken)?;
    let value = inside.string(OCTETS).ok_or(broken)?;
    let mut key = Zeroizing::new([0; KEY]);
    let (hash, key) = if how.id == PBMAC1 {
        pbmac1(how.parameters, password, &mut key)?
    } else {
        let (digest, hash) = pkcs12(how.id)?;
        let salt = mac.string(OCTETS).ok_or(broken)?;
        // Left out, it is one.
        let rounds = mac.number().unwrap_or(1);
        let key = &mut key[..digest.output_len()];
        password.derive(digest, Purpose::Mac, &salt, rounds, key)?;
        (hash, &*key)
    };
    // It compares in constant time.
    hmac::verify(&hmac::Key::new(hash, key), content, &value).map_err(|_| Unreadable::PasswordWrong)
}

fn pkcs12(id: &[u8]) -> Result<(&'static digest::Algorithm, hmac::Algorithm), Unreadable> {
    Ok(match id {
        SHA1 => (
            &digest::SHA1_FOR_LEGACY_USE_ONLY,
            hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        ),
        SHA224 => (&digest::SHA224, hmac::HMAC_SHA224),
        SHA256 => (&digest::SHA256, hmac::HMAC_SHA256),
        SHA384 => (&digest::SHA384, hmac::HMAC_SHA384),
        SHA512 => (&digest::SHA512, hmac::HMAC_SHA512),
        _ => return Err(Unreadable::Encryption),
    })
}

fn pbmac1<'k>(
    mut parameters: Reader<'_>,
    password: &Password<'_>,
    key: &'k mut [u8; KEY],
) -> Result<(hmac::Algorithm, &'k [u8]), Unreadable> {
    let broken = Unreadable::Broken;
    let mut parameters = parameters.inside(SEQUENCE).ok_or(broken)?;
    let derivation = Algorithm::read(&mut parameters).ok_or(broken)?;
    let hash = Algorithm::read(&mut parameters).ok_or(broken)?;
    let hash = match hash.id {
        HMAC_SHA1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        HMAC_SHA256 => hmac::HMAC_SHA256,
        HMAC_SHA384 => hmac::HMAC_SHA384,
        HMAC_SHA512 => hmac::HMAC_SHA512,
        _ => return Err(Unreadable::Encryption),
    };
    let length = key_length(derivation.parameters).ok_or(broken)?;
    let key = key.get_mut(..length).ok_or(Unreadable::Encryption)?;
    password.pbkdf2(derivation, key)?;
    Ok((hash, key))
}

/// What PBKDF2's parameters say of the key's length: here no cipher does.
fn key_length(mut parameters: Reader<'_>) -> Option<usize> {
    let mut parameters = parameters.inside(SEQUENCE)?;
    parameters.string(OCTETS)?;
    parameters.number()?;
    usize::try_from(parameters.number()?).ok()
}
