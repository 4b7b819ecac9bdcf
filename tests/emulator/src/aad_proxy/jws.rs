//! A JWS in compact form, taken apart but not yet believed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

/// The three parts of a JWS.
#[derive(Debug)]
pub(super) struct Jws<'a> {
    /// What the signature is over.
    pub(super) signing_input: &'a str,
    pub(super) header: Map<String, Value>,
    pub(super) claims: Map<String, Value>,
    pub(super) signature: Vec<u8>,
}

/// Why a text is no JWS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Malformed {
    /// It has this many parts, or an empty one.
    Parts(usize),
    /// A part is not what it should be.
    Part(&'static str),
}

impl<'a> Jws<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, Malformed> {
        let parts: Vec<_> = text.split('.').collect();
        let [header, claims, signature] = parts[..] else {
            return Err(Malformed::Parts(parts.len()));
        };
        if header.is_empty() || claims.is_empty() || signature.is_empty() {
            return Err(Malformed::Parts(parts.len()));
        }
        Ok(Self {
            signing_input: &text[..header.len() + 1 + claims.len()],
            header: object(header).ok_or(Malformed::Part("header"))?,
            claims: object(claims).ok_or(Malformed::Part("payload"))?,
            signature: decode(signature).ok_or(Malformed::Part("signature"))?,
        })
    }

    /// A member of the header that is a string.
    pub(super) fn header_text(&self, name: &str) -> Option<&str> {
        self.header.get(name)?.as_str()
    }

    /// A claim that is a string.
    pub(super) fn claim_text(&self, name: &str) -> Option<&str> {
        self.claims.get(name)?.as_str()
    }
}

fn object(part: &str) -> Option<Map<String, Value>> {
    serde_json::from_slice(&decode(part)?).ok()
}

/// Base64 as JOSE writes it.
pub(super) fn decode(part: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(part).ok()
}

/// Base64 as JOSE writes it.
pub(super) fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
