//! The first request: does one go through the tunnel to the apiserver and back?

use std::time::Duration;

use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Either, Empty, Limited};
use serde::Deserialize;
use tokio::time::timeout;

use super::upstream::Cluster;
use crate::azure::arm::AuthenticationMethod;
use crate::error::{Code, Error};
use crate::proxy::Upstream as _;

/// How long the cluster has for an answer.
const DEADLINE: Duration = Duration::from_secs(30);
/// As much of an answer as is read.
const LIMIT: usize = 64 << 10;
/// How the cluster says that the caller is in too many groups to look up.
const OVERAGE: &str = "Overage claim";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    git_version: String,
}

#[derive(Deserialize)]
struct Status {
    message: String,
}

/// What the cluster said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Probed {
    /// Its Kubernetes version, where it told.
    Answered(Option<String>),
    /// It does not know the service account's token. That is for kubectl to say, in its own words.
    TokenRefused,
}

/// Asks the apiserver for its version, which everyone may.
pub(super) async fn probe(
    cluster: &Cluster,
    method: AuthenticationMethod,
) -> Result<Probed, Error> {
    let name = &cluster.session.id().name;
    let request = Request::get("/version")
        .body(Either::Right(Empty::new()))
        .map_err(|error| Error::new(Code::Unexpected, "bad probe").caused_by(&error))?;
    let late = |_| Error::new(Code::Tunnel, format!("{name} did not answer in time"));
    let response = timeout(DEADLINE, cluster.request(request))
        .await
        .map_err(late)??;
    let status = response.status();
    let reading = Limited::new(response.into_body(), LIMIT).collect();
    let body = timeout(DEADLINE, reading)
        .await
        .map_err(late)?
        .map_err(|error| {
            Error::new(Code::Tunnel, format!("the answer of {name} broke off"))
                .because(error.to_string())
        })?
        .to_bytes();
    let message = || {
        serde_json::from_slice::<Status>(&body).map_or_else(
            |_| String::from_utf8_lossy(&body).trim().to_owned(),
            |status| status.message,
        )
    };
    match (status, method) {
        (status, AuthenticationMethod::Aad)
            if !status.is_success() && message().contains(OVERAGE) =>
        {
            Err(Error::new(
                Code::GroupOverage,
                format!("{name} cannot look up who you are: you are in more than 200 groups"),
            )
            .because(message()))
        }
        (StatusCode::UNAUTHORIZED, AuthenticationMethod::Token) => Ok(Probed::TokenRefused),
        (StatusCode::UNAUTHORIZED, AuthenticationMethod::Aad) => Err(Error::new(
            Code::ClusterRefused,
            format!("{name} refuses the sign-in"),
        )
        .because(message())),
        (status, _) if status.is_server_error() => {
            let what = format!("{name} answers {}", status.as_u16());
            Err(Error::new(Code::Tunnel, what).because(message()))
        }
        // Even a 403 has been to the apiserver and back.
        _ => Ok(Probed::Answered(
            serde_json::from_slice::<Version>(&body)
                .ok()
                .map(|version| version.git_version),
        )),
    }
}
