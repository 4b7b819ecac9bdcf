//! Keys out of passwords.
//!
//! Follows RFC 8018, 5.2 (PBKDF2), and RFC 7292, appendix B, which is PKCS#12's own. A file says
//! how often its password is to be hashed; how often that may be is limited, for all of a file.

use std::cell::Cell;
use std::num::NonZeroU32;

use aws_lc_rs::digest::{self, Context};
use aws_lc_rs::pbkdf2;
use zeroize::Zeroizing;

use super::Unreadable;
use super::algorithm::{Algorithm, HMAC_SHA1, HMAC_SHA256, HMAC_SHA384, HMAC_SHA512, PBKDF2};
use crate::ber::{INTEGER, OCTETS, SEQUENCE};

/// Rounds of hashing for one file: some seconds. Tools have it take thousands.
const ROUNDS: u32 = 4_000_000;

/// A password in the forms that are hashed.
pub(super) struct Password<'a> {
    text: &'a str,
    /// UTF-16 with the higher byte first.
    wide: Zeroizing<Vec<u8>>,
    /// Rounds that are left.
    rounds: Cell<u32>,
}

/// What a key of RFC 7292 is for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose {
    Encryption = 1,
    Iv = 2,
    Mac = 3,
}

impl<'a> Password<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        // As long as it can get: growing would leave copies behind.
        let mut wide = Zeroizing::new(Vec::with_capacity(2 * text.len() + 2));
        wide.extend(text.encode_utf16().chain([0]).flat_map(u16::to_be_bytes));
        Self {
            text,
            wide,
            rounds: Cell::new(ROUNDS),
        }
    }

    /// What some tools take an empty password for: one without the zero at the end.
    pub(super) fn none() -> Self {
        Self {
            wide: Zeroizing::default(),
            ..Self::new("")
        }
    }

    /// Fills `key` by PBKDF2.
    ///
    /// # Errors
    /// The derivation is another one, or takes too long.
    pub(super) fn pbkdf2(
        &self,
        derivation: Algorithm<'_>,
        key: &mut [u8],
    ) -> Result<(), Unreadable> {
        if derivation.id != PBKDF2 {
            return Err(Unreadable::Encryption);
        }
        let mut parameters = { derivation.parameters }.inside(SEQUENCE);
        let parameters = parameters.as_mut().ok_or(Unreadable::Broken)?;
        let salt = parameters.string(OCTETS).ok_or(Unreadable::Broken)?;
        let rounds = parameters.number().ok_or(Unreadable::Broken)?;
        // The length of the key, which the cipher tells as well.
        parameters.content(INTEGER);
        let hash = Algorithm::read(parameters);
        let hash = match hash.map_or(HMAC_SHA1, |hash| hash.id) {
            HMAC_SHA1 => pbkdf2::PBKDF2_HMAC_SHA1,
            HMAC_SHA256 => pbkdf2::PBKDF2_HMAC_SHA256,
            HMAC_SHA384 => pbkdf2::PBKDF2_HMAC_SHA384,
            HMAC_SHA512 => pbkdf2::PBKDF2_HMAC_SHA512,
            _ => return Err(Unreadable::Encryption),
        };
        let rounds = self.spend(rounds)?;
        pbkdf2::derive(hash, rounds, &salt, self.text.as_bytes(), key);
        Ok(())
    }

    /// Fills `key` as RFC 7292 has it.
    ///
    /// # Errors
    /// It takes too long.
    pub(super) fn derive(
        &self,
        hash: &'static digest::Algorithm,
        purpose: Purpose,
        salt: &[u8],
        rounds: u32,
        key: &mut [u8],
    ) -> Result<(), Unreadable> {
        let rounds = self.spend(rounds)?;
        let block = hash.block_len();
        let (salted, filled) = (
            salt.len().next_multiple_of(block),
            self.wide.len().next_multiple_of(block),
        );
        let mut input = Zeroizing::new(Vec::with_capacity(salted + filled));
        input.extend(salt.iter().cycle().take(salted));
        input.extend(self.wide.iter().cycle().take(filled));
        for part in key.chunks_mut(hash.output_len()) {
            let mut first = Context::new(hash);
            first.update(&[purpose as u8; digest::MAX_BLOCK_LEN][..block]);
            first.update(&input);
            let mut hashed = first.finish();
            for _ in 1..rounds.get() {
                hashed = digest::digest(hash, hashed.as_ref());
            }
            let hashed = hashed.as_ref();
            part.copy_from_slice(&hashed[..part.len()]);
            for number in input.chunks_mut(block) {
                add_one_and(hashed, number);
            }
        }
        Ok(())
    }

    fn spend(&self, rounds: u32) -> Result<NonZeroU32, Unreadable> {
        let left = self.rounds.get().checked_sub(rounds);
        self.rounds.set(left.ok_or(Unreadable::Encryption)?);
        NonZeroU32::new(rounds).ok_or(Unreadable::Broken)
    }
}

/// Adds one and `hashed`, repeated to the number's length, to `number`; what runs over is dropped.
fn add_one_and(hashed: &[u8], number: &mut [u8]) {
    let mut carry = 1;
    for (at, digit) in number.iter_mut().enumerate().rev() {
        let sum = u16::from(*digit) + u16::from(hashed[at % hashed.len()]) + carry;
        *digit = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY;

    use super::*;

    /// The vectors that the implementations of this derivation have in common.
    #[test]
    fn keys_come_out_as_elsewhere() {
        for (text, purpose, salt, rounds, key) in [
            (
                "smeg",
                Purpose::Encryption,
                0x0A58_CF64_530D_823F_u64,
                1,
                "8aaae6297b6cb04642ab5b077851284eb7128f1a2a7fbca3",
            ),
            (
                "smeg",
                Purpose::Iv,
                0x0A58_CF64_530D_823F,
                1,
                "79993dfe048d3b76",
            ),
            (
                "smeg",
                Purpose::Mac,
                0x3D83_C0E4_546A_C140,
                1,
                "8d967d88f6caa9d714800ab3d48051d63f73a312",
            ),
            (
                "queeg",
                Purpose::Encryption,
                0x05DE_C959_ACFF_72F7,
                1000,
                "ed2034e36328830ff09df1e1a07dd357185dac0d4f9eb3d4",
            ),
            (
                "queeg",
                Purpose::Iv,
                0x05DE_C959_ACFF_72F7,
                1000,
                "11dedad7758d4860",
            ),
        ] {
            let mut out = vec![0; key.len() / 2];
            let hash = &SHA1_FOR_LEGACY_USE_ONLY;
            let derived =
                Password::new(text).derive(hash, purpose, &salt.to_be_bytes(), rounds, &mut out);
            assert_eq!(derived, Ok(()));
            let key: Vec<_> = (0..key.len() / 2)
                .map(|at| u8::from_str_radix(&key[2 * at..2 * at + 2], 16).expect("hex"))
                .collect();
            assert_eq!(out, key, "{text} {purpose:?}");
        }
    }

    #[test]
    fn a_file_has_its_password_hashed_so_often_and_no_more() {
        let (password, mut key) = (Password::new("secret"), [0; 8]);
        let mut derive = |rounds| {
            password.derive(
                &SHA1_FOR_LEGACY_USE_ONLY,
                Purpose::Iv,
                b"salt",
                rounds,
                &mut key,
            )
        };
        assert_eq!(derive(0), Err(Unreadable::Broken));
        assert_eq!(derive(1000), Ok(()));
        assert_eq!(derive(ROUNDS - 999), Err(Unreadable::Encryption));
        assert_eq!(derive(u32::MAX), Err(Unreadable::Encryption));
        assert_eq!(derive(1000), Ok(()));
    }
}
