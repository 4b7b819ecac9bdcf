//! Proof of possession: the key, and the signed HTTP request (SHR) made with it.
//!
//! Pure but for the random number generator. The form is that of the draft "A Method for Signing
//! HTTP Requests for OAuth" as Entra's clients use it and as kube-aad-proxy's verifier reads it:
//! a compact JWS, RS256, with the access token in `at`, the time in `ts`, the cluster's ARM id in
//! `u` and the public key in `cnf`. The order of the members is fixed so that the bytes equal
//! those of other clients. Thumbprints follow RFC 7638.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use crate::secret::{Secret, random_hex};

/// An RSA key pair to which access tokens are bound. It lives in memory only.
pub struct PopKey {
    pair: RsaKeyPair,
    /// The key as a JWK without `alg` and `kid`: the members that RFC 7638 hashes, in its order.
    jwk: Jwk,
}

#[derive(Clone)]
struct Jwk {
    n: String,
    e: String,
    thumbprint: String,
}

impl PopKey {
    /// Makes a new key of 2048 bits. It takes about a tenth of a second of CPU: call it off the
    /// async workers.
    ///
    /// # Errors
    /// The cryptography library refuses, which means that it is broken.
    pub fn generate() -> Result<Self, aws_lc_rs::error::Unspecified> {
        let pair = KeyPair::generate(KeySize::Rsa2048)?;
        let der = pair.as_der()?;
        Self::from_pkcs8(der.as_ref()).map_err(|_| aws_lc_rs::error::Unspecified)
    }

    /// The key of a PKCS#8 document.
    ///
    /// # Errors
    /// It is not an RSA key that the library takes.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, aws_lc_rs::error::KeyRejected> {
        let pair = RsaKeyPair::from_pkcs8(der)?;
        let public = pair.public_key();
        let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let n = encode(public.modulus().big_endian_without_leading_zero());
        let e = encode(public.exponent().big_endian_without_leading_zero());
        let canonical = format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#);
        let thumbprint = encode(digest(&SHA256, canonical.as_bytes()).as_ref());
        Ok(Self {
            pair,
            jwk: Jwk { n, e, thumbprint },
        })
    }

    /// The key's RFC 7638 thumbprint, base64url.
    pub fn thumbprint(&self) -> &str {
        &self.jwk.thumbprint
    }

    /// The `req_cnf` form field that asks Entra to bind a token to this key.
    pub fn req_cnf(&self) -> String {
        let json = format!(r#"{{"kid":"{}","xms_ksl":"sw"}}"#, self.thumbprint());
        BASE64_URL_SAFE_NO_PAD.encode(json)
    }

    /// Signs a request to the cluster `host` (its ARM id) at `unix` seconds with `access_token`.
    /// The verifier takes the result for its validity, 15 minutes, for any number of requests.
    ///
    /// # Errors
    /// The cryptography library refuses, which means that it is broken.
    pub fn sign(
        &self,
        access_token: &Secret,
        host: &str,
        unix: u64,
    ) -> Result<Secret, aws_lc_rs::error::Unspecified> {
        self.sign_with_nonce(access_token, host, unix, &random_hex::<16>())
    }

    fn sign_with_nonce(
        &self,
        access_token: &Secret,
        host: &str,
        unix: u64,
        nonce: &str,
    ) -> Result<Secret, aws_lc_rs::error::Unspecified> {
        let Jwk {
            n,
            e,
            thumbprint: kid,
        } = &self.jwk;
        let header = format!(r#"{{"typ":"pop","alg":"RS256","kid":"{kid}"}}"#);
        let jwk = format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}","alg":"RS256","kid":"{kid}"}}"#);
        let (at, host) = (json_string(access_token.expose()), json_string(host));
        let payload = zeroize::Zeroizing::new(format!(
            r#"{{"at":{at},"ts":{unix},"u":{host},"cnf":{{"jwk":{jwk}}},"nonce":"{nonce}"}}"#,
        ));
        let mut token = BASE64_URL_SAFE_NO_PAD.encode(header);
        token.push('.');
        BASE64_URL_SAFE_NO_PAD.encode_string(payload.as_bytes(), &mut token);
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair.sign(
            &RSA_PKCS1_SHA256,
            &SystemRandom::new(),
            token.as_bytes(),
            &mut signature,
        )?;
        token.push('.');
        BASE64_URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(Secret::from(token))
    }
}

impl fmt::Debug for PopKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PopKey")
            .field("thumbprint", &self.thumbprint())
            .finish_non_exhaustive()
    }
}

fn json_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::PrivatePkcs8KeyDer;
    use rustls::pki_types::pem::PemObject as _;
    use serde_json::Value;

    use super::*;

    fn vectors() -> Value {
        serde_json::from_str(include_str!("../../tests/fixtures/pop.json")).expect("JSON")
    }

    fn key(vectors: &Value) -> PopKey {
        let pem = vectors["key_pkcs8_pem"].as_str().expect("a key");
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).expect("PEM");
        PopKey::from_pkcs8(der.secret_pkcs8_der()).expect("an RSA key")
    }

    #[test]
    fn equals_the_bytes_of_another_client() {
        let vectors = vectors();
        let key = key(&vectors);
        let text = |name: &str| vectors[name].as_str().expect("text").to_owned();
        assert_eq!(key.thumbprint(), text("thumbprint"));
        assert_eq!(key.req_cnf(), text("req_cnf"));
        let token = key
            .sign_with_nonce(
                &Secret::from(text("access_token")),
                &text("host"),
                vectors["ts"].as_u64().expect("a time"),
                &text("nonce"),
            )
            .expect("signs");
        let cases = vectors["cases"].as_array().expect("cases");
        let valid = cases
            .iter()
            .find(|case| case["case"] == "valid")
            .expect("a valid case");
        assert_eq!(token.expose(), valid["token"].as_str().expect("a token"));
    }

    #[test]
    fn a_fresh_key_signs_and_every_signature_has_a_nonce_of_its_own() {
        let key = PopKey::generate().expect("a key");
        let token = Secret::from("at");
        let one = key.sign(&token, "/subscriptions/x", 1).expect("signs");
        let two = key.sign(&token, "/subscriptions/x", 1).expect("signs");
        assert_ne!(one.expose(), two.expose());
        assert_eq!(one.expose().split('.').count(), 3);
    }
}
