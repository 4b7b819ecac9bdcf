//! The key that Entra signs its tokens with.

use std::io;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{
    KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, UnparsedPublicKey,
};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use rsa::PublicKey;
use rsa::pkcs1::DecodeRsaPublicKey as _;
use rsa::traits::PublicKeyParts as _;
use serde_json::{Value, json};

use super::jws::Jws;
use crate::aad_proxy::AccessTokenKeys;
use crate::names::random_hex;

/// The signing key of one run, and what verifies with it.
#[derive(Debug)]
pub struct Keys {
    pair: KeyPair,
    kid: String,
}

impl Keys {
    /// Makes a key of 2048 bits, away from the threads that serve.
    ///
    /// # Errors
    ///
    /// When the key cannot be made or the runtime shuts down meanwhile.
    pub async fn generate() -> io::Result<Self> {
        let pair = tokio::task::spawn_blocking(|| KeyPair::generate(KeySize::Rsa2048))
            .await?
            .map_err(io::Error::other)?;
        Ok(Self {
            pair,
            kid: random_hex::<20>(),
        })
    }

    /// The key's id in token headers and in the key set.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The key set that Entra publishes.
    pub fn jwks(&self, issuer: &str) -> Value {
        let key = self.public();
        json!({ "keys": [{
            "kty": "RSA",
            "use": "sig",
            "kid": self.kid,
            "x5t": self.kid,
            "n": BASE64_URL_SAFE_NO_PAD.encode(key.n_bytes()),
            "e": BASE64_URL_SAFE_NO_PAD.encode(key.e_bytes()),
            "issuer": issuer,
        }]})
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey::from_pkcs1_der(self.pair.public_key().as_ref())
            .expect("a public key of this kind has this encoding")
    }

    /// Signs `claims` into a token.
    pub fn sign(&self, claims: &Value) -> String {
        let header = json!({ "typ": "JWT", "alg": "RS256", "x5t": self.kid, "kid": self.kid });
        let input = format!(
            "{}.{}",
            BASE64_URL_SAFE_NO_PAD.encode(header.to_string()),
            BASE64_URL_SAFE_NO_PAD.encode(claims.to_string()),
        );
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                input.as_bytes(),
                &mut signature,
            )
            .expect("the buffer has the length of the modulus");
        format!("{input}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    }

    /// Whether `signature` over `signing_input` is the RS256 signature of the key named `kid`.
    pub fn verify(&self, kid: &str, signing_input: &[u8], signature: &[u8]) -> bool {
        kid == self.kid
            && UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, self.pair.public_key().as_ref())
                .verify(signing_input, signature)
                .is_ok()
    }

    /// The claims of a token that this key signed; times are left to the caller.
    pub fn read(&self, token: &str) -> Option<Value> {
        let jws = Jws::parse(token)?;
        let kid = jws.header.get("kid")?.as_str()?;
        (jws.header.get("alg")? == "RS256" && self.verify(kid, jws.signing_input, &jws.signature))
            .then_some(jws.claims)
    }
}

impl AccessTokenKeys for Keys {
    fn verify(&self, kid: &str, signing_input: &[u8], signature: &[u8]) -> bool {
        Keys::verify(self, kid, signing_input, signature)
    }
}
