//! Keys out of passwords.
//!
//! Follows RFC 8018, 5.2 (PBKDF2) and RFC 7292, appendix B, which PKCS#12 had before it. How often
//! a password is hashed stands in the file; how often this is done is limited, for the whole file.

use std::cell::Cell;
use std::num::NonZeroU32;

use aws_lc_rs::digest::{self, Context, Digest};
use aws_lc_rs::{hmac, pbkdf2};
use zeroize::Zeroizing;

use super::Unreadable;
use crate::ber::{OCTETS, OID, Reader, SEQUENCE};

/// Rounds for one file: some seconds of CPU. Tools write some thousands for each of its parts.
const ROUNDS: u32 = 4_000_000;

/// No key for a MAC is longer.
const KEY: usize = 64;

const PBKDF2: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0c";
pub(super) const HMAC_SHA1: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x02\x07";
pub(super) const HMAC_SHA256: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x02\x09";
pub(super) const HMAC_SHA384: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x02\x0a";
pub(super) const HMAC_SHA512: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x02\x0b";

/// A password in the forms that it is hashed in, and how often that may still be.
pub(super) struct Password<'a> {
    text: &'a str,
    /// UTF-16, the higher byte first, with a zero at the end.
    wide: Zeroizing<Vec<u8>>,
    rounds: Cell<u32>,
}

/// What a key of RFC 7292 is for.
#[derive(Clone, Copy)]
pub(super) enum Purpose {
    Key = 1,
    Iv = 2,
    Mac = 3,
}

/// What is said of an algorithm: which it is, and its parameters.
#[derive(Clone, Copy)]
pub(super) struct Algorithm<'a> {
    pub(super) id: &'a [u8],
    pub(super) parameters: Reader<'a>,
}

impl<'a> Algorithm<'a> {
    pub(super) fn read(reader: &mut Reader<'a>) -> Option<Self> {
        let mut parameters = reader.inside(SEQUENCE)?;
        let id = parameters.content(OID)?;
        Some(Self { id, parameters })
    }
}

impl<'a> Password<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let wide = text.encode_utf16().chain([0]).flat_map(u16::to_be_bytes);
        // Growing would leave copies behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(2 * text.len() + 2));
        bytes.extend(wide);
        Self {
            text,
            wide: bytes,
            rounds: Cell::new(ROUNDS),
        }
    }

    /// No password, as some tools understand an empty one: without even the zero at its end.
    pub(super) fn none() -> Self {
        Self {
            wide: Zeroizing::default(),
            ..Self::new("")
        }
    }

    fn spend(&self, rounds: u32) -> Result<(), Unreadable> {
        let left = self.rounds.get().checked_sub(rounds);
        self.rounds.set(left.ok_or(Unreadable::Encryption)?);
        Ok(())
    }

    /// Fills `key` as PBKDF2 does with what `algorithm` says.
    pub(super) fn pbkdf2(&self, algorithm: Algorithm<'_>, key: &mut [u8]) -> Result<(), Unreadable> {
        if algorithm.id != PBKDF2 {
            return Err(Unreadable::Encryption);
        }
        let (salt, rounds, hash) = pbkdf2_parameters(algorithm).ok_or(Unreadable::Broken)?;
    }
}
