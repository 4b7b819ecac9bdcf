//! Reading what `azure_identity` answers.

use azure_core::credentials as azure;

use super::{AccessToken, token_endpoint};
use crate::error::{Code, Error};
use crate::secret::Secret;

/// The token as ours.
pub(super) fn token(token: &azure::AccessToken) -> AccessToken {
    AccessToken {
        secret: Secret::from(token.token.secret()),
        expires: u64::try_from(token.expires_on.unix_timestamp()).unwrap_or(0),
    }
}

/// The library's error without its framing.
pub(super) fn refused(what: &str, error: &azure_core::Error) -> Error {
    token_endpoint::refusal(Code::SignInRefused, what, &words(error))
}

/// The innermost words of the library's error.
pub(super) fn words(error: &azure_core::Error) -> String {
    let causes =
        std::iter::successors(Some(error as &(dyn std::error::Error + 'static)), |cause| {
            cause.source()
        });
    causes
        .skip(1)
        .last()
        .map_or_else(|| error.to_string(), ToString::to_string)
}
