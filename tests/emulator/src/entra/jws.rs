//! Signed tokens in compact form, taken apart but not yet believed.

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use serde_json::Value;

/// The three parts of a token.
#[derive(Debug)]
pub(crate) struct Jws<'a> {
    pub(crate) header: Value,
    pub(crate) claims: Value,
    pub(crate) signing_input: &'a [u8],
    pub(crate) signature: Vec<u8>,
}

impl<'a> Jws<'a> {
    /// Takes `token` apart, if it has three parts of which two are JSON objects.
    pub(crate) fn parse(token: &'a str) -> Option<Self> {
        let (input, signature) = token.rsplit_once('.')?;
        let (header, claims) = input.split_once('.')?;
        Some(Self {
            header: object(header)?,
            claims: object(claims)?,
            signing_input: input.as_bytes(),
            signature: BASE64_URL_SAFE_NO_PAD.decode(signature).ok()?,
        })
    }

    /// A claim that is text.
    pub(crate) fn claim(&self, name: &str) -> Option<&str> {
        self.claims.get(name)?.as_str()
    }

    /// A claim that is a number of seconds.
    pub(crate) fn seconds(&self, name: &str) -> Option<u64> {
        let value = self.claims.get(name)?;
        value.as_u64().or_else(|| {
            // Some makers of tokens write fractions of seconds.
            let whole = value.as_f64()?.trunc().to_string();
            whole.parse().ok()
        })
    }
}

fn object(part: &str) -> Option<Value> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(part).ok()?;
    let value: Value = serde_json::from_slice(&bytes).ok()?;
    value.is_object().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_three_parts_with_two_objects_are_a_token() {
        let part = |json: &str| BASE64_URL_SAFE_NO_PAD.encode(json);
        let token = format!(
            "{}.{}.AAEC",
            part("{\"alg\":\"none\"}"),
            part("{\"exp\":12.5}")
        );
        let jws = Jws::parse(&token).expect("a token");
        assert_eq!(jws.seconds("exp"), Some(12));
        assert_eq!(jws.signature, [0, 1, 2]);
        assert!(Jws::parse("a.b").is_none());
        assert!(Jws::parse(&format!("{}.{}.", part("[]"), part("{}"))).is_none());
        assert!(Jws::parse(&format!("x.{token}")).is_none());
    }
}
