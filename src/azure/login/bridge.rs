//! Reading what `azure_identity` answers.

use azure_core::credentials as azure;

use super::{AccessToken, token_endpoint};
use crate::clock::Clock;
use crate::error::{Code, Error};
use crate::secret::Secret;

/// The token as ours.
pub(super) fn token(token: &azure::AccessToken, clock: &Clock) -> AccessToken {
    let end = u64::try_from(token.expires_on.unix_timestamp()).unwrap_or(0);
    AccessToken {
        secret: Secret::from(token.token.secret()),
        expires: end_by(end, clock),
    }
}

/// When what a tool says ends at `end` does so by the server's clock: az and azd go by this
/// machine's.
pub(super) fn end_by(end: u64, clock: &Clock) -> u64 {
    end.saturating_add_signed(clock.offset())
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
