//! A job of Azure Pipelines, by the identity token of its service connection.
//!
//! Such a token lives a few minutes, less than a job: each request to Entra fetches its own.

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, header};
use serde::Deserialize;
use url::Url;

use super::assertion::{
    Application, Asserted, Assertions, address, federation_hint, fetch, in_part,
};
use super::{Gear, Made, Unavailable};
use crate::error::{Code, Error};
use crate::net::Https;
use crate::secret::Secret;

const URL: &str = "SYSTEM_OIDCREQUESTURI";
const TOKEN: &str = "SYSTEM_ACCESSTOKEN";
const CONNECTION: &str = "AZURESUBSCRIPTION_SERVICE_CONNECTION_ID";
const API_VERSION: &str = "7.1";

/// The job's way to its identity tokens.
#[derive(Debug)]
struct Job {
    url: Url,
    token: Secret,
    https: Https,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "oidcToken")]
    token: Secret,
}

pub(super) fn make(gear: &Gear<'_>) -> Made {
    let missing = |why: String| Err(Unavailable::NotConfigured(why));
    let Some(url) = gear.variable(URL) else {
        return missing(format!("{URL} is not set"));
    };
    let Some(token) = gear.variable(TOKEN) else {
        return missing(format!(
            "{TOKEN} is not set: give the step `env: {TOKEN}: $(System.AccessToken)`"
        ));
    };
    let Some(connection) = gear.variable(CONNECTION) else {
        return missing(format!(
            "{CONNECTION} is not set: run arcproxy in a task with `azureSubscription`, or set it"
        ));
    };
    let task = |name: &str| gear.variable(&format!("AZURESUBSCRIPTION_{name}"));
    let settings = gear.settings;
    let Some(client_id) = task("CLIENT_ID").or_else(|| settings.client_id.clone()) else {
        return missing("AZURESUBSCRIPTION_CLIENT_ID is not set".to_owned());
    };
    let Some(tenant) = task("TENANT_ID").or_else(|| settings.tenant.clone()) else {
        return Err(in_part(CONNECTION, "AZURESUBSCRIPTION_TENANT_ID"));
    };
    let application = Application { tenant, client_id };
    let mut url = address(URL, &url)?;
    url.query_pairs_mut()
        .append_pair("api-version", API_VERSION)
        .append_pair("serviceConnectionId", &connection);
    let job = Job {
        url,
        token: token.into(),
        https: gear.https.clone(),
    };
    Asserted::make(gear, &application, "Azure Pipelines", job)
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
            .hinted("leave both as Azure Pipelines sets them")
        };
        let authorization = self.token.bearer().map_err(|error| bad(&error))?;
        let request = Request::post(self.url.as_str())
            .header(header::AUTHORIZATION, authorization)
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_LENGTH, "0")
            // Else a token that is not taken is answered by a page to sign in at.
            .header("x-tfs-fedauthredirect", "Suppress")
            .body(Bytes::new())
            .map_err(|error| bad(&error))?;
        let hint = format!(
            "check {CONNECTION}, that its federation is set up, and that {TOKEN} is $(System.AccessToken)"
        );
        let answer: Answer = fetch(&self.https, &request, &hint).await?;
        Ok(answer.token)
    }

    fn hint(&self, number: u32) -> Option<String> {
        federation_hint(number, "the service connection's identity token")
    }
}
