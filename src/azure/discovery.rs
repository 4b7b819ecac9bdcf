//! Which tenant a subscription is in, asked of Azure Resource Manager without a sign-in: it
//! refuses, and its refusal names where to sign in.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use tokio::time::timeout;
use url::Url;
use uuid::Uuid;

use super::arm;
use super::cloud::Cloud;
use crate::error::{Code, Error};
use crate::net::{Https, may_pass};

const API_VERSION: &str = "2022-12-01";
/// How long this may hold up a sign-in.
const DEADLINE: Duration = Duration::from_secs(30);

/// The id of the tenant of `subscription`, an id. `None` where that is no id, or ARM does not tell.
///
/// # Errors
/// ARM cannot be reached, or did not answer within half a minute.
pub async fn tenant(
    https: &Https,
    cloud: &Cloud,
    subscription: &str,
) -> Result<Option<String>, Error> {
    let Ok(id) = Uuid::try_parse(subscription) else {
        return Ok(None);
    };
    let mut url = cloud.resource_manager.clone();
    let base = url.path().trim_end_matches('/').to_owned();
    url.set_path(&format!("{base}/subscriptions/{id}"));
    url.set_query(Some(&format!("api-version={API_VERSION}")));
    let request = Request::get(url.as_str())
        .body(Bytes::new())
        .map_err(|error| {
            Error::new(Code::Unexpected, format!("bad request to {url}")).caused_by(&error)
        })?;
    let untold = |code, why: String| {
        let what = "cannot ask Azure Resource Manager for the subscription's tenant";
        Error::new(code, what).because(why)
    };
    let asked = timeout(DEADLINE, https.send_patiently(&request)).await;
    let (answer, tried) = asked.map_err(|_| {
        let seconds = DEADLINE.as_secs();
        let why = format!("it did not answer within {seconds} seconds");
        untold(Code::ArmUnreachable, why)
    })?;
    let answer = answer.map_err(|error| {
        let code = error.code().unwrap_or(Code::ArmUnreachable);
        untold(code, format!("{error}{tried}")).maybe_hinted(error.hint())
    })?;
    if may_pass(answer.status) {
        let why = format!("it answered {}{tried}", answer.status);
        return Err(untold(arm::refusal(answer.status), why));
    }
    let found = if answer.status == StatusCode::UNAUTHORIZED {
        named(&answer.headers)
    } else {
        None
    };
    let status = answer.status.as_u16();
    tracing::info!(
        status,
        tenant = found,
        "asked for the subscription's tenant"
    );
    Ok(found)
}

/// The tenant that a challenge names in its `authorization_uri`.
pub(super) fn named(headers: &HeaderMap) -> Option<String> {
    let challenges = headers.get_all(header::WWW_AUTHENTICATE).iter();
    challenges
        .filter_map(|value| value.to_str().ok())
        .find_map(|challenge| {
            let (_, rest) = challenge.split_once("authorization_uri=")?;
            let uri = rest.strip_prefix('"')?.split('"').next()?;
            let uri = Url::parse(uri).ok()?;
            let tenant = uri.path_segments()?.next()?;
            // Only an id: `common` names nobody, and a name could be anybody's.
            Some(Uuid::try_parse(tenant).ok()?.to_string())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: &str = "8f2c1b7e-0000-4000-8000-00000000abcd";

    fn found(challenge: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        let value = challenge.parse().expect("a value");
        headers.insert(header::WWW_AUTHENTICATE, value);
        named(&headers)
    }

    #[test]
    fn the_challenge_names_the_tenant() {
        let challenge = format!(
            "Bearer authorization_uri=\"https://login.windows.net/{TENANT}\", error=\"invalid_token\""
        );
        assert_eq!(found(&challenge).as_deref(), Some(TENANT));
        let longer = format!(
            "Bearer realm=\"x\", authorization_uri=\"https://login.example/{TENANT}/oauth2/authorize\""
        );
        assert_eq!(found(&longer).as_deref(), Some(TENANT));
    }

    #[test]
    fn what_is_no_id_is_no_tenant() {
        for challenge in [
            "Bearer",
            "Bearer authorization_uri=\"https://login.example/common\"",
            "Bearer authorization_uri=\"https://login.example/\"",
            "Bearer authorization_uri=\"login\"",
            "Bearer authorization_uri=x",
        ] {
            assert_eq!(found(challenge), None, "{challenge}");
        }
        assert_eq!(named(&HeaderMap::new()), None);
    }
}
