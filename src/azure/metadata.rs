//! What a cloud says about itself: Azure Resource Manager's `metadata/endpoints`.
//!
//! Anyone may ask. Newer versions of the document describe the cloud that was asked, older ones
//! and some installations list several; both forms are read, whichever version was asked for.

use bytes::Bytes;
use http::{Request, header};
use serde::Deserialize;
use url::Url;

use super::arm;
use super::cloud::{Cloud, Description};
use crate::error::{Code, Error};
use crate::net::Https;

const API_VERSION: &str = "2022-09-01";
const FILE_INSTEAD: &str =
    "describe the cloud in a file and give it with --cloud: docs/clouds.md has the format";

#[derive(Deserialize)]
#[serde(untagged)]
enum Document {
    One(Endpoints),
    Several(Vec<Endpoints>),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Endpoints {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    resource_manager: Option<String>,
    authentication: Authentication,
    #[serde(default)]
    suffixes: Suffixes,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Authentication {
    login_endpoint: String,
    #[serde(default)]
    audiences: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Suffixes {
    #[serde(default)]
    relay_endpoint_suffix: Option<String>,
}

/// Asks the Azure Resource Manager at `arm` which cloud it is in.
///
/// # Errors
/// It cannot be reached, or does not tell all that is needed.
pub async fn cloud(https: &Https, arm: &Url) -> Result<Cloud, Error> {
    let mut url = arm.clone();
    let base = url.path().trim_end_matches('/').to_owned();
    url.set_path(&format!("{base}/metadata/endpoints"));
    url.set_query(Some(&format!("api-version={API_VERSION}")));
    let request = Request::get(url.as_str())
        .header(header::ACCEPT, "application/json")
        .body(Bytes::new())
        .map_err(|error| {
            Error::new(Code::Unexpected, format!("bad request to {url}")).caused_by(&error)
        })?;
    let (answer, tried) = https.send_patiently(&request).await;
    let asking = format!("cannot ask {} which cloud it is in", shown(arm));
    let answer = answer.map_err(|error| {
        let code = error.code().unwrap_or(Code::ArmUnreachable);
        Error::new(code, asking.clone())
            .because(format!("{error}{tried}"))
            .maybe_hinted(error.hint())
    })?;
    if !answer.status.is_success() {
        let why = format!("it answered {}{tried}", answer.status);
        let code = arm::refusal(answer.status);
        return Err(Error::new(code, asking).because(why).hinted(FILE_INSTEAD));
    }
    read(&answer.body, arm).map_err(|why| {
        let what = format!("{} does not tell which cloud it is in", shown(arm));
        Error::new(Code::CloudFile, what)
            .because(why)
            .hinted(FILE_INSTEAD)
    })
}

fn shown(arm: &Url) -> &str {
    arm.host_str().unwrap_or_default()
}

pub(super) fn read(body: &[u8], arm: &Url) -> Result<Cloud, String> {
    let document = serde_json::from_slice(body)
        .map_err(|_| "its metadata is not what Azure Resource Manager's is".to_owned())?;
    let endpoints = match document {
        Document::One(one) => one,
        Document::Several(several) => own(several, arm)?,
    };
    let relay_suffix = endpoints
        .suffixes
        .relay_endpoint_suffix
        .as_deref()
        .map(|suffix| suffix.trim_start_matches('.'))
        .filter(|suffix| !suffix.is_empty())
        .ok_or("its metadata names no suffixes.relayEndpointSuffix")?;
    let login = endpoints.authentication.login_endpoint;
    let authority = Url::parse(&login)
        .map_err(|error| format!("authentication.loginEndpoint is {login:?}: {error}"))?;
    Cloud::described(Description {
        name: endpoints.name.unwrap_or_else(|| shown(arm).to_owned()),
        resource_manager: arm.clone(),
        resource_manager_audience: endpoints.authentication.audiences.into_iter().next(),
        authority,
        relay_suffix: relay_suffix.to_owned(),
        server_app_id: None,
        ca_file: None,
    })
}

/// The one of `several` clouds whose Azure Resource Manager is at `arm`.
fn own(mut several: Vec<Endpoints>, arm: &Url) -> Result<Endpoints, String> {
    let plain = |url: &str| {
        let url = Url::parse(url).ok()?;
        let path = url.path().trim_end_matches('/').to_owned();
        Some((url.origin(), path))
    };
    let wanted = plain(arm.as_str());
    let found = several.iter().position(|endpoints| {
        let url = endpoints.resource_manager.as_deref();
        url.is_some_and(|url| plain(url) == wanted)
    });
    if let Some(index) = found {
        return Ok(several.swap_remove(index));
    }
    let names = several.iter().map(|endpoints| endpoints.name.as_deref());
    let names: Vec<_> = names.map(|name| name.unwrap_or("no name")).collect();
    Err(format!(
        "it tells of other clouds only: {}",
        names.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn arm() -> Url {
        Url::parse("https://arm.lab.example/").expect("a URL")
    }

    fn document() -> Value {
        json!({
            "name": "Lab",
            "resourceManager": "https://arm.lab.example",
            "portal": "https://portal.lab.example",
            "authentication": {
                "loginEndpoint": "https://login.lab.example/",
                "audiences": ["https://management.lab.example/", "https://arm.lab.example"],
                "tenant": "common",
                "identityProvider": "AAD",
            },
            "suffixes": {"relayEndpointSuffix": "servicebus.lab.example", "storage": "core.lab.example"},
        })
    }

    fn read(document: &Value) -> Result<Cloud, String> {
        super::read(document.to_string().as_bytes(), &arm())
    }

    #[test]
    fn a_cloud_describes_itself() {
        let cloud = read(&document()).expect("a cloud");
        assert_eq!(cloud.name, "Lab");
        assert_eq!(
            cloud.resource_manager_scope(),
            "https://management.lab.example//.default"
        );
        assert_eq!(cloud.authority.as_str(), "https://login.lab.example/");
        let relay = cloud.relay("r1").expect("a host");
        assert_eq!(relay, ("r1.servicebus.lab.example".to_owned(), 443));
        assert_eq!(cloud.ca_file, None);
    }

    #[test]
    fn one_of_several_is_found_by_its_address() {
        let mut other = document();
        other["name"] = "Other".into();
        other["resourceManager"] = "https://arm.other.example/".into();
        let both = json!([other.clone(), document()]);
        assert_eq!(read(&both).expect("a cloud").name, "Lab");
        let error = read(&json!([other])).expect_err("another");
        assert!(error.contains("Other"), "{error}");
        assert!(read(&json!([])).is_err());
    }

    #[test]
    fn what_is_missing_is_named() {
        let mut without = document();
        without["suffixes"] = json!({"storage": "x"});
        let error = read(&without).expect_err("no suffix");
        assert!(error.contains("relayEndpointSuffix"), "{error}");
        let mut dotted = document();
        dotted["suffixes"]["relayEndpointSuffix"] = ".servicebus.lab.example".into();
        assert!(read(&dotted).is_ok());
        let mut plain = document();
        plain["authentication"]["loginEndpoint"] = "http://login.lab.example".into();
        let error = read(&plain).expect_err("http");
        assert!(error.contains("authority"), "{error}");
        let mut nowhere = document();
        nowhere["authentication"]["loginEndpoint"] = "login".into();
        let error = read(&nowhere).expect_err("no URL");
        assert!(error.contains("loginEndpoint"), "{error}");
        assert!(super::read(b"<html>", &arm()).is_err());
    }

    #[test]
    fn what_only_says_the_least_is_enough() {
        let least = json!({
            "authentication": {"loginEndpoint": "https://login.lab.example"},
            "suffixes": {"relayEndpointSuffix": "relay.lab.example:8443"},
        });
        let cloud = read(&least).expect("a cloud");
        assert_eq!(cloud.name, "arm.lab.example");
        assert_eq!(cloud.resource_manager_audience, "https://arm.lab.example");
    }
}
