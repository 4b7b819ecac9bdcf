//! Names of algorithms, as they stand in files.

use crate::ber::{OID, Reader, SEQUENCE};

pub(super) const RSA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01";

pub(super) const PBKDF2: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0c";
pub(super) const PBES2: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0d";
pub(super) const PBMAC1: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0e";

/// Those of PKCS#12's own encryptions, all with SHA-1.
pub(super) const PBE_3DES: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x01\x03";
pub(super) const PBE_3DES_2_KEYS: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x01\x04";
pub(super) const PBE_RC2_128: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x01\x05";
pub(super) const PBE_RC2_40: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x01\x06";

pub(super) const HMAC_SHA1: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x02\x07";
pub(super) const HMAC_SHA256: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x02\x09";
pub(super) const HMAC_SHA384: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x02\x0a";
pub(super) const HMAC_SHA512: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x02\x0b";

pub(super) const SHA1: &[u8] = b"\x2b\x0e\x03\x02\x1a";
pub(super) const SHA224: &[u8] = b"\x60\x86\x48\x01\x65\x03\x04\x02\x04";
pub(super) const SHA256: &[u8] = b"\x60\x86\x48\x01\x65\x03\x04\x02\x01";
pub(super) const SHA384: &[u8] = b"\x60\x86\x48\x01\x65\x03\x04\x02\x02";
pub(super) const SHA512: &[u8] = b"\x60\x86\x48\x01\x65\x03\x04\x02\x03";

pub(super) const AES_128_CBC: &[u8] = b"\x60\x86\x48\x01\x65\x03\x04\x01\x02";
pub(super) const AES_192_CBC: &[u8] = b"\x60\x86\x48\x01\x65\x03\x04\x01\x16";
pub(super) const AES_256_CBC: &[u8] = b"\x60\x86\x48\x01\x65\x03\x04\x01\x2a";
pub(super) const DES_EDE3_CBC: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x03\x07";

/// Which algorithm, and what parameters are given to it.
#[derive(Clone, Copy)]
pub(super) struct Algorithm<'a> {
    pub(super) id: &'a [u8],
    pub(super) parameters: Reader<'a>,
}

impl<'a> Algorithm<'a> {
    /// The next element, which is an `AlgorithmIdentifier`.
    pub(super) fn read(reader: &mut Reader<'a>) -> Option<Self> {
        let mut parameters = reader.inside(SEQUENCE)?;
        let id = parameters.content(OID)?;
        Some(Self { id, parameters })
    }
}
