//! What is encrypted with a password.
//!
//! Follows RFC 8018 (PBES2) and RFC 7292, appendix C, which is PKCS#12's own.

use std::borrow::Cow;

use aws_lc_rs::cipher::{self, DecryptionContext, PaddedBlockDecryptingKey, UnboundCipherKey};
use aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeDecrypt, KeyIvInit};
use rc2::Rc2;
use zeroize::Zeroizing;

use super::Unreadable;
use super::algorithm::{
    AES_128_CBC, AES_192_CBC, AES_256_CBC, Algorithm, DES_EDE3_CBC, PBE_3DES, PBE_3DES_2_KEYS,
    PBE_RC2_40, PBE_RC2_128, PBES2,
};
use super::password::{Password, Purpose};
use crate::ber::{OCTETS, Reader, SEQUENCE};

/// No key is longer.
const KEY: usize = 32;

/// What is encrypted, and how.
pub(super) struct Encrypted<'a> {
    pub(super) how: Algorithm<'a>,
    pub(super) what: Cow<'a, [u8]>,
}

/// A block cipher in CBC, and the length of its key in bytes.
#[derive(Clone, Copy)]
enum Cipher {
    Aes(&'static cipher::Algorithm, usize),
    Des(&'static cipher::Algorithm, usize),
    Rc2(usize),
}

impl<'a> Encrypted<'a> {
    /// The next element, which is an `EncryptedPrivateKeyInfo`.
    pub(super) fn read(reader: &mut Reader<'a>) -> Option<Self> {
        let mut inside = reader.inside(SEQUENCE)?;
        Some(Self {
            how: Algorithm::read(&mut inside)?,
            what: inside.string(OCTETS)?,
        })
    }

    /// # Errors
    /// The way is not known, the password is not its own as far as its padding tells, or it is
    /// broken.
    pub(super) fn open(&self, password: &Password<'_>) -> Result<Zeroizing<Vec<u8>>, Unreadable> {
        let mut parameters = { self.how.parameters }.inside(SEQUENCE);
        let parameters = parameters.as_mut().ok_or(Unreadable::Broken);
        let mut key = Zeroizing::new([0; KEY]);
        if self.how.id == PBES2 {
            let parameters = parameters?;
            let derivation = Algorithm::read(parameters).ok_or(Unreadable::Broken)?;
            let mut cipher = Algorithm::read(parameters).ok_or(Unreadable::Broken)?;
            let iv = cipher.parameters.content(OCTETS);
            let cipher = Cipher::of(cipher.id)?;
            let key = &mut key[..cipher.key_length()];
            password.pbkdf2(derivation, key)?;
            return cipher.decrypt(key, iv.ok_or(Unreadable::Broken)?, &self.what);
        }
        let cipher = Cipher::of_pkcs12(self.how.id)?;
        let parameters = parameters?;
        let salt = parameters.string(OCTETS).ok_or(Unreadable::Broken)?;
        let rounds = parameters.number().ok_or(Unreadable::Broken)?;
        let (key, mut iv) = (&mut key[..cipher.key_length()], [0; 8]);
        let hash = &SHA1_FOR_LEGACY_USE_ONLY;
        password.derive(hash, Purpose::Encryption, &salt, rounds, key)?;
        password.derive(hash, Purpose::Iv, &salt, rounds, &mut iv)?;
        cipher.decrypt(key, &iv, &self.what)
    }
}

#[expect(deprecated, reason = "these are what there are files with")]
const DES: [&cipher::Algorithm; 2] = [
    &cipher::DES_EDE_FOR_LEGACY_USE_ONLY,
    &cipher::DES_EDE3_FOR_LEGACY_USE_ONLY,
];

impl Cipher {
    fn of(id: &[u8]) -> Result<Self, Unreadable> {
        Ok(match id {
            AES_128_CBC => Self::Aes(&cipher::AES_128, 16),
            AES_192_CBC => Self::Aes(&cipher::AES_192, 24),
            AES_256_CBC => Self::Aes(&cipher::AES_256, 32),
            DES_EDE3_CBC => Self::Des(DES[1], 24),
            _ => return Err(Unreadable::Encryption),
        })
    }

    fn of_pkcs12(id: &[u8]) -> Result<Self, Unreadable> {
        Ok(match id {
            PBE_3DES => Self::Des(DES[1], 24),
            PBE_3DES_2_KEYS => Self::Des(DES[0], 16),
            PBE_RC2_128 => Self::Rc2(16),
            PBE_RC2_40 => Self::Rc2(5),
            _ => return Err(Unreadable::Encryption),
        })
    }

    fn key_length(self) -> usize {
        let (Self::Aes(_, length) | Self::Des(_, length) | Self::Rc2(length)) = self;
        length
    }

    fn decrypt(self, key: &[u8], iv: &[u8], what: &[u8]) -> Result<Zeroizing<Vec<u8>>, Unreadable> {
        let mut bytes = Zeroizing::new(what.to_vec());
        let broken = Unreadable::Broken;
        let (algorithm, iv) = match self {
            Self::Aes(algorithm, _) => {
                let iv: [u8; 16] = iv.try_into().map_err(|_| broken)?;
                (algorithm, DecryptionContext::Iv128(iv.into()))
            }
            Self::Des(algorithm, _) => {
                let iv: [u8; 8] = iv.try_into().map_err(|_| broken)?;
                (algorithm, DecryptionContext::Iv64(iv.into()))
            }
            Self::Rc2(_) => {
                let cipher = cbc::Decryptor::<Rc2>::new_from_slices(key, iv).map_err(|_| broken)?;
                let plain = cipher.decrypt_padded::<Pkcs7>(&mut bytes);
                let length = plain.map_err(|_| Unreadable::PasswordWrong)?.len();
                bytes.truncate(length);
                return Ok(bytes);
            }
        };
        let key =
            UnboundCipherKey::new(algorithm, key).and_then(PaddedBlockDecryptingKey::cbc_pkcs7);
        let plain = key.map_err(|_| broken)?.decrypt(&mut bytes, iv);
        let length = plain.map_err(|_| Unreadable::PasswordWrong)?.len();
        bytes.truncate(length);
        Ok(bytes)
    }
}
