//! A job of GitHub Actions, by the identity token that GitHub makes for it.
//!
//! Such a token lives a few minutes, less than a job: each request to Entra fetches its own.

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, header};
use serde::Deserialize;
use url::Url;

use super::assertion::{
    Application, Asserted, Assertions, EXCHANGE_AUDIENCE, address, federation_hint, fetch, in_part,
};
use super::{Auth, Gear, Made, Unavailable};
use crate::error::{Code, Error};
use crate::net::Https;
use crate::secret::Secret;

const URL: &str = "ACTIONS_ID_TOKEN_REQUEST_URL";
const TOKEN: &str = "ACTIONS_ID_TOKEN_REQUEST_TOKEN";
const PERMISSION: &str = "give the job `permissions: id-token: write`";

/// The job's way to its identity tokens.
#[derive(Debug)]
struct Job {
    url: Url,
    token: Secret,
    https: Https,
}

#[derive(Deserialize)]
struct Answer {
    value: Secret,
}

pub(super) fn make(gear: &Gear<'_>) -> Made {
    let (Some(url), Some(token)) = (gear.variable(URL), gear.variable(TOKEN)) else {
        return Err(unset(gear));
    };
    // A job may have the permission for another purpose.
    if gear.settings.client_id.is_none() {
        return Err(Unavailable::NotConfigured(
            "AZURE_CLIENT_ID is not set, whom the job could sign in as".to_owned(),
        ));
    }
    let application = Application::of(gear).map_err(|missing| in_part(URL, missing))?;
    let mut url = address(URL, &url)?;
    url.query_pairs_mut()
        .append_pair("audience", EXCHANGE_AUDIENCE);
    let job = Job {
        url,
        token: token.into(),
        https: gear.https.clone(),
    };
    Asserted::make(gear, &application, "GitHub Actions", job)
}

/// GitHub sets the variables only for a job that may ask for identity tokens.
fn unset(gear: &Gear<'_>) -> Unavailable {
    let is_job = gear.variable("GITHUB_ACTIONS").as_deref() == Some("true");
    if !is_job {
        return Unavailable::NotConfigured(format!("{URL} and {TOKEN} are not set"));
    }
    let why = "this job may not ask GitHub for an identity token";
    if gear.settings.auth == Auth::Github {
        return Error::new(Code::NotSignedIn, why)
            .because(format!("{URL} and {TOKEN} are not set"))
            .hinted(PERMISSION)
            .into();
    }
    Unavailable::NotConfigured(format!("{why}: {PERMISSION}"))
}

#[async_trait]
impl Assertions for Job {
    async fn fresh(&self) -> Result<Secret, Error> {
        let bad = |error: &(dyn std::error::Error + 'static)| {
            Error::new(
                Code::NotSignedIn,
                format!("{URL} or {TOKEN} makes no sense"),
            )
            .caused_by(error)
            .hinted("leave both as GitHub sets them")
        };
        let authorization = self.token.bearer().map_err(|error| bad(&error))?;
        let request = Request::get(self.url.as_str())
            .header(header::AUTHORIZATION, authorization)
            .header(header::ACCEPT, "application/json")
            .body(Bytes::new())
            .map_err(|error| bad(&error))?;
        let hint = format!("{PERMISSION}, and call arcproxy within that job");
        let answer: Answer = fetch(&self.https, &request, &hint).await?;
        Ok(answer.value)
    }

    fn hint(&self, number: u32) -> Option<String> {
        federation_hint(number, "the job's identity token")
    }
}
