//! Assertions that a certificate's key signs.
//!
//! Follows "Microsoft identity platform application authentication certificate credentials": a JWT
//! of the algorithm PS256 whose header names the certificate by its SHA-256 hash, made out to the
//! token endpoint. The file is read for each, since certificates are replaced while programs run.

use std::path::PathBuf;

use async_trait::async_trait;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::RSA_PSS_SHA256;
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use serde_json::json;
use uuid::Uuid;

use super::assertion::{Application, Asserted, Assertions, in_part, read};
use super::key_file::{KeyFile, Unreadable};
use super::{Gear, Made};
use crate::clock::Clock;
use crate::error::{Code, Error};
use crate::secret::Secret;

pub(super) const PATH: &str = "AZURE_CLIENT_CERTIFICATE_PATH";
const PASSWORD: &str = "AZURE_CLIENT_CERTIFICATE_PASSWORD";
const SEND_CHAIN: &str = "AZURE_CLIENT_SEND_CERTIFICATE_CHAIN";

/// An assertion is good for this many seconds, which Entra takes for short.
const LIFE_SECONDS: u64 = 10 * 60;

/// The file, and what is said with its key.
#[derive(Debug, Clone)]
struct Certificate {
    path: PathBuf,
    password: Option<Secret>,
    sends_chain: bool,
    client_id: String,
    audience: String,
    clock: Clock,
}

/// The service principal whose certificate is in the file `path`.
pub(super) fn make(gear: &Gear<'_>, path: PathBuf) -> Made {
    let application = Application::of(gear).map_err(|missing| in_part(PATH, missing))?;
    let sends_chain = gear
        .variable(SEND_CHAIN)
        .is_some_and(|value| value == "1" || value.eq_ignore_ascii_case("true"));
    let certificate = Certificate {
        path,
        password: gear.variable(PASSWORD).map(Secret::from),
        sends_chain,
        client_id: application.client_id.clone(),
        audience: gear.endpoint(&application.tenant)?.url().to_string(),
        clock: gear.clock.clone(),
    };
    Asserted::make(gear, &application, "certificate", certificate)
}

#[async_trait]
impl Assertions for Certificate {
    async fn fresh(&self) -> Result<Secret, Error> {
        let bytes = read(&self.path).await.map_err(|error| {
            let path = self.path.display();
            Error::new(
                Code::NotSignedIn,
                format!("cannot read the certificate {path}"),
            )
            .caused_by(&error)
            .hinted(format!("check {PATH}"))
        })?;
        let this = self.clone();
        // A password is made slow to try.
        let signed = tokio::task::spawn_blocking(move || {
            let file = KeyFile::read(&bytes, this.password.as_ref());
            let file = file.map_err(|why| this.unusable(why))?;
            this.sign(&file, this.clock.now())
        });
        signed.await.map_err(|error| {
            Error::new(Code::Unexpected, "signing was cut short").caused_by(&error)
        })?
    }

    fn hint(&self, number: u32) -> Option<String> {
        let path = self.path.display();
        Some(match number {
            700_024 => {
                "this machine's clock is wrong, or the certificate is not in its time".to_owned()
            }
            700_027 => format!(
                "the application does not know this certificate: add it with `az ad app credential reset --id APP --append --cert @{path}`"
            ),
            _ => return None,
        })
    }
}

impl Certificate {
    fn sign(&self, file: &KeyFile, now: u64) -> Result<Secret, Error> {
        let own = file.chain.first().map_or(&[][..], Vec::as_slice);
        let mut header = json!({
            "alg": "PS256",
            "typ": "JWT",
            "x5t#S256": BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, own).as_ref()),
        });
        if self.sends_chain {
            let chain = file.chain.iter().map(|der| BASE64_STANDARD.encode(der));
            header["x5c"] = chain.collect::<Vec<_>>().into();
        }
        let claims = json!({
            "aud": self.audience,
            "iss": self.client_id,
            "sub": self.client_id,
            "jti": Uuid::new_v4().to_string(),
            "nbf": now,
            "iat": now,
            "exp": now + LIFE_SECONDS,
        });
        let mut token = BASE64_URL_SAFE_NO_PAD.encode(header.to_string());
        token.push('.');
        BASE64_URL_SAFE_NO_PAD.encode_string(claims.to_string(), &mut token);
        let mut signature = vec![0; file.key.public_modulus_len()];
        file.key
            .sign(
                &RSA_PSS_SHA256,
                &SystemRandom::new(),
                token.as_bytes(),
                &mut signature,
            )
            .map_err(|error| {
                Error::new(Code::Unexpected, "cannot sign with the certificate's key")
                    .caused_by(&error)
            })?;
        token.push('.');
        BASE64_URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(Secret::from(token))
    }

    fn unusable(&self, why: Unreadable) -> Error {
        let path = self.path.display();
        let hint = match why {
            Unreadable::Unknown | Unreadable::Broken | Unreadable::NoKey => format!(
                "{PATH} takes a PEM file with a private key and its certificate, or a PKCS#12 file"
            ),
            Unreadable::KeyKind => "Entra takes RSA certificates only".to_owned(),
            Unreadable::NoCertificate => {
                "put the certificate and its key into one file: `cat cert.pem key.pem > both.pem`"
                    .to_owned()
            }
            Unreadable::PasswordMissing => format!("set {PASSWORD}"),
            Unreadable::PasswordWrong => format!("check {PASSWORD}"),
            Unreadable::Encryption => {
                "encrypt the key anew: `openssl pkcs8 -topk8 -in key.pem -out new.pem`".to_owned()
            }
        };
        Error::new(
            Code::NotSignedIn,
            format!("cannot sign in with the certificate {path}"),
        )
        .because(why.to_string())
        .hinted(hint)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const NOW: u64 = 1_790_000_000;
    const THUMBPRINT: &str = "swg4RF4kY_Y23kLfde7AP2o4x0oCnkTlteT_OdShqKI";

    fn assertion(sends_chain: bool) -> (Value, Value) {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/certificates/");
        let path = PathBuf::from(format!("{folder}plain.pem"));
        let bytes = std::fs::read(&path).expect("a fixture");
        let certificate = Certificate {
            path,
            password: None,
            sends_chain,
            client_id: "the app".to_owned(),
            audience: "https://login.example/t/oauth2/v2.0/token".to_owned(),
            clock: Clock::fixed(NOW),
        };
        let file = KeyFile::read(&bytes, None).expect("readable");
        let token = certificate.sign(&file, NOW).expect("signs");
        let parts: Vec<_> = token.expose().split('.').collect();
        let json = |part: &str| {
            let bytes = BASE64_URL_SAFE_NO_PAD.decode(part).expect("base64url");
            serde_json::from_slice(&bytes).expect("JSON")
        };
        assert_eq!(parts.len(), 3);
        (json(parts[0]), json(parts[1]))
    }

    /// The hash is what `openssl x509 -in app.crt -outform DER | openssl dgst -sha256` says.
    #[test]
    fn it_says_who_to_whom_and_until_when() {
        let (header, claims) = assertion(false);
        assert_eq!(
            header,
            json!({ "alg": "PS256", "typ": "JWT", "x5t#S256": THUMBPRINT })
        );
        assert_eq!(claims["iss"], "the app");
        assert_eq!(claims["sub"], "the app");
        assert_eq!(claims["aud"], "https://login.example/t/oauth2/v2.0/token");
        assert_eq!(claims["nbf"], NOW);
        assert_eq!(claims["exp"], NOW + 600);
        assert_ne!(claims["jti"], assertion(false).1["jti"]);
    }

    #[test]
    fn the_chain_goes_with_it_if_asked_for() {
        let (header, _) = assertion(true);
        let chain = header["x5c"].as_array().expect("certificates");
        assert_eq!(chain.len(), 2);
        let text = chain[0].as_str().expect("text");
        let own = BASE64_STANDARD.decode(text).expect("base64");
        let hash = BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, &own).as_ref());
        assert_eq!(header["x5t#S256"], hash);
    }
}
