//! The proof-of-possession token: a signed HTTP request that carries an access token bound to the
//! key that signed it.
//!
//! The checks, their order and their messages are those of guard's verifier. The signature is
//! verified with the `rsa` crate, which shares no code with what clients here sign with.

use rsa::pkcs1v15::{Signature, VerifyingKey};
use rsa::signature::Verifier as _;
use rsa::{BoxedUint, PublicKey};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::jws::{Jws, Malformed, decode, encode};

/// How long a token is good after its `ts`, in seconds.
pub(super) const VALIDITY: u64 = 15 * 60;

/// What a good token proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Proof {
    /// The access token that it carries, yet to be verified.
    pub(super) access_token: String,
    /// When the proof ends, seconds since 1970.
    pub(super) end: u64,
}

/// Verifies `token` for the cluster `host` at the time `now`.
///
/// # Errors
///
/// What guard says.
pub(super) fn verify(token: &str, host: &str, now: u64) -> Result<Proof, String> {
    let jws = Jws::parse(token).map_err(|malformed| match malformed {
        Malformed::Parts(count) => format!("PoP token invalid schema. Token length: {count}"),
        Malformed::Part(part) => {
            format!("Could not parse PoP token. Error: the {part} is malformed")
        }
    })?;
    check_header(&jws)?;
    let end = check_time(&jws, now)?;
    check_host(&jws, host)?;
    let key = Key::of(&jws)?;
    let access_token = match jws.claims.get("at") {
        Some(Value::String(at)) => at,
        Some(_) => return Err("Invalid token. 'at' claim should be string".to_owned()),
        None => return Err("Invalid token. access token missing".to_owned()),
    };
    if bound_to(access_token)? != key.thumbprint() {
        return Err("PoP token validate failed: 'cnf' claim mismatch".to_owned());
    }
    key.verify(jws.signing_input.as_bytes(), &jws.signature)?;
    Ok(Proof {
        access_token: access_token.clone(),
        end,
    })
}

fn check_header(jws: &Jws<'_>) -> Result<(), String> {
    if jws.header_text("kid").is_none_or(str::is_empty) {
        return Err("No KeyID found in PoP token header".to_owned());
    }
    let algorithm = jws.header_text("alg").unwrap_or_default();
    if algorithm != "RS256" {
        return Err(format!(
            "Wrong algorithm found in PoP token header, expected 'RS256' having '{algorithm}'"
        ));
    }
    match jws.header.get("typ") {
        Some(Value::String(typ)) if typ.eq_ignore_ascii_case("pop") => Ok(()),
        Some(Value::String(typ)) => Err(format!("Wrong typ. Expected 'pop' having '{typ}'")),
        Some(_) => Err("Invalid token. 'typ' claim should be of string".to_owned()),
        None => Err("Invalid token. 'typ' claim is missing".to_owned()),
    }
}

/// When the token ends. A `ts` that is no time counts as the beginning of time.
fn check_time(jws: &Jws<'_>, now: u64) -> Result<u64, String> {
    let issued = match jws.claims.get("ts") {
        Some(Value::Number(ts)) => ts.as_u64().or_else(|| whole_seconds(ts.as_f64()?)),
        Some(Value::String(ts)) => ts.parse().ok(),
        Some(_) => None,
        None => return Err("Invalid token. 'ts' claim is missing".to_owned()),
    };
    let end = issued.unwrap_or(0).saturating_add(VALIDITY);
    if end < now {
        let (now, end) = (go_time(now), go_time(end));
        return Err(format!("Token is expired. Now: {now}, Valid till: {end}"));
    }
    Ok(end)
}

fn whole_seconds(seconds: f64) -> Option<u64> {
    let whole = seconds.trunc();
    format!("{whole:.0}").parse().ok()
}

/// A time as Go prints it.
fn go_time(seconds: u64) -> String {
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
        .unwrap_or(jiff::Timestamp::MAX)
        .strftime("%Y-%m-%d %H:%M:%S +0000 UTC")
        .to_string()
}

fn check_host(jws: &Jws<'_>, host: &str) -> Result<(), String> {
    match jws.claims.get("u") {
        Some(Value::String(u)) if u.to_lowercase() == host.to_lowercase() => Ok(()),
        Some(Value::String(u)) => Err(format!(
            "Invalid Pop token due to host mismatch. Expected: {host:?}, received: {u:?}"
        )),
        Some(_) => Err("Invalid token. 'u' claim should be of string".to_owned()),
        None => Err("Invalid token. 'u' claim is missing".to_owned()),
    }
}

/// The thumbprint of the key that `access_token` is bound to.
fn bound_to(access_token: &str) -> Result<String, String> {
    let jws = Jws::parse(access_token)
        .map_err(|error| format!("could not parse access token in PoP token. Error: {error:?}"))?;
    let cnf = match jws.claims.get("cnf") {
        Some(Value::Object(cnf)) => cnf,
        Some(_) => return Err("failed while parsing 'cnf' in access token".to_owned()),
        None => return Err("could not retrieve 'cnf' claim from access token".to_owned()),
    };
    Ok(text(cnf, "kid").unwrap_or_default().to_owned())
}

fn text<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    object.get(name)?.as_str()
}

/// The key that the token presents.
struct Key<'a> {
    n: &'a str,
    e: &'a str,
}

impl<'a> Key<'a> {
    fn of(jws: &'a Jws<'_>) -> Result<Self, String> {
        let cnf = match jws.claims.get("cnf") {
            Some(Value::Object(cnf)) => cnf,
            Some(_) => {
                return Err("Invalid token. 'cnf' claim is not in expected format".to_owned());
            }
            None => return Err("Invalid token. 'cnf' claim is missing".to_owned()),
        };
        let jwk = match cnf.get("jwk") {
            Some(Value::Object(jwk)) => jwk,
            Some(_) => return Err("failed while parsing 'jwk' claim in PoP token".to_owned()),
            None => return Err("Invalid token. 'cnf' claim is not in expected format".to_owned()),
        };
        match (text(jwk, "n"), text(jwk, "e")) {
            (Some(n), Some(e)) if !n.is_empty() && !e.is_empty() => Ok(Self { n, e }),
            _ => Err("Invalid token. 'jwk' claim is empty".to_owned()),
        }
    }

    /// As RFC 7638 has it.
    fn thumbprint(&self) -> String {
        let members = format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, self.e, self.n);
        encode(&Sha256::digest(members))
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), String> {
        let number = |name: &str, text: &str| {
            let bytes = decode(text).ok_or_else(|| format!("Failed to decode jwk.{name} ."))?;
            Ok::<_, String>(BoxedUint::from_be_slice_vartime(&bytes))
        };
        let key = PublicKey::new(number("n", self.n)?, number("e", self.e)?)
            .map_err(|error| format!("RSA verify err: crypto/rsa: {error}"))?;
        let wrong = || "RSA verify err: crypto/rsa: verification error".to_owned();
        let signature = Signature::try_from(signature).map_err(|_| wrong())?;
        VerifyingKey::<Sha256>::new(key)
            .verify(message, &signature)
            .map_err(|_| wrong())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    #[test]
    fn every_verdict_is_guards() {
        let vectors: Value =
            serde_json::from_str(include_str!("../../../fixtures/pop.json")).unwrap();
        let host = vectors["host"].as_str().unwrap();
        let cases = vectors["cases"].as_array().unwrap();
        assert_eq!(cases.len(), 15);
        for case in cases {
            let name = case["case"].as_str().unwrap();
            let expected = case["verdict"].as_str().unwrap();
            let verdict = verify(case["token"].as_str().unwrap(), host, 1_790_000_000);
            match verdict {
                Ok(proof) => {
                    assert_eq!(expected, "ok", "{name}");
                    assert_eq!(proof.access_token, vectors["access_token"], "{name}");
                    assert_eq!(proof.end, vectors["ts"].as_u64().unwrap() + VALIDITY);
                }
                // Guard goes on to name the times.
                Err(verdict) if expected == "Token is expired" => {
                    assert!(verdict.starts_with(expected), "{name}: {verdict}");
                }
                Err(verdict) => assert_eq!(verdict, expected, "{name}"),
            }
        }
    }

    #[test]
    fn the_proof_ends_when_its_validity_does() {
        let vectors: Value =
            serde_json::from_str(include_str!("../../../fixtures/pop.json")).unwrap();
        let host = vectors["host"].as_str().unwrap();
        let token = vectors["cases"][0]["token"].as_str().unwrap();
        let end = vectors["ts"].as_u64().unwrap() + VALIDITY;
        assert!(verify(token, host, end).is_ok());
        let late = verify(token, host, end + 1).unwrap_err();
        assert_eq!(
            late,
            "Token is expired. Now: 2100-01-01 00:15:01 +0000 UTC, \
             Valid till: 2100-01-01 00:15:00 +0000 UTC"
        );
    }

    #[test]
    fn what_is_no_jws_is_refused() {
        assert_eq!(
            verify("opaque", "host", 0).unwrap_err(),
            "PoP token invalid schema. Token length: 1"
        );
        assert_eq!(
            verify("a..c", "host", 0).unwrap_err(),
            "PoP token invalid schema. Token length: 3"
        );
        assert!(
            verify("a.b.c", "host", 0)
                .unwrap_err()
                .starts_with("Could not parse PoP token.")
        );
    }
}
