//! Fuzz targets: what Entra answers, tokens, and files with keys.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::kept;
use super::key_file::KeyFile;
use super::token_endpoint::{self, Refused};
use super::user::id_token;
use crate::error::Code;
use crate::secret::Secret;

/// Entra's answers, its words, and the tokens in its answers.
pub(crate) fn tokens(data: &[u8]) {
    token_endpoint::fuzzing(data);
    let text = String::from_utf8_lossy(data).into_owned();
    let error = token_endpoint::refusal(Code::SignInRefused, "no", &text);
    assert!(!error.causes().is_empty());
    let refused = Refused {
        error: text.clone(),
        error_description: text.clone(),
        claims: None,
    };
    let _ = refused.number();
    let payload = BASE64_URL_SAFE_NO_PAD.encode(data);
    for token in [text, format!("e30.{payload}.x")].map(Secret::from) {
        if let Some(name) = id_token::name(&token, "c") {
            assert!(!name.contains(char::is_control));
            assert!(id_token::claims(&token, "c").is_some());
        }
    }
}

/// The file of sign-ins.
pub(crate) fn kept(data: &[u8]) {
    kept::fuzzing(data);
}

/// A file with a key and certificates, with a password and without.
pub(crate) fn key_file(data: &[u8]) {
    for password in [None, Some(Secret::from("secret"))] {
        if let Ok(file) = KeyFile::read(data, password.as_ref()) {
            assert!(!file.chain.is_empty());
        }
    }
}
