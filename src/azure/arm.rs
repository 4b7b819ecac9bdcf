//! Azure Resource Manager: subscriptions, the cluster, and its relay credentials.
//!
//! Follows the `Microsoft.Kubernetes` and `Microsoft.Resources` REST specifications. Faults that
//! pass are waited out as [`Https::send_patiently`] has it.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use serde::de::DeserializeOwned;
use url::Url;

use super::challenge;
use super::cloud::Cloud;
use super::id::ClusterId;
use super::login::{AccessToken, SignIn};
use super::types::{Cluster, CredentialResults, ErrorBody, ErrorDocument, Page, Subscription};
use crate::error::{Code, Error};
use crate::net::{Answer, Https, Tried, may_pass};

const CLUSTER_API: &str = "2024-01-01";
const SUBSCRIPTION_API: &str = "2022-12-01";

/// The pages of a list that are followed before it is taken for endless.
const PAGES: usize = 200;

/// Who the cluster will take the caller for; ARM's `authenticationMethod`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthenticationMethod {
    /// An Entra user or service principal.
    Aad,
    /// A Kubernetes service account, by its token.
    Token,
}

/// A client of Azure Resource Manager.
#[derive(Debug, Clone)]
pub struct Arm {
    https: Https,
    endpoint: Url,
    scope: String,
    sign_in: Arc<dyn SignIn>,
}

impl Arm {
    /// A client of `cloud`'s ARM that signs in with `sign_in`.
    pub fn new(https: Https, cloud: &Cloud, sign_in: Arc<dyn SignIn>) -> Self {
        Self {
            https,
            endpoint: cloud.resource_manager.clone(),
            scope: cloud.resource_manager_scope(),
            sign_in,
        }
    }

    /// Begins to connect, while the token for the first call is still on its way.
    pub fn approach(&self) {
        self.https.approach(&self.endpoint);
    }

    /// Reads the cluster.
    ///
    /// # Errors
    /// Not found, refused, or ARM cannot be reached.
    pub async fn cluster(&self, id: &ClusterId) -> Result<Cluster, Error> {
        let url = self.url(&id.to_string(), CLUSTER_API);
        let answer = self.call(Method::GET, &url, Bytes::new()).await?;
        self.read(&answer, &format!("read cluster {}", id.name))
            .map_err(|refusal| refusal.explain(id))
    }

    /// Asks for relay credentials. Every call makes a new hybrid connection name; what earlier
    /// calls gave stays valid until its own end.
    ///
    /// # Errors
    /// Not found, refused, or ARM cannot be reached.
    pub async fn credentials(
        &self,
        id: &ClusterId,
        method: AuthenticationMethod,
    ) -> Result<CredentialResults, Error> {
        let url = self.url(&format!("{id}/listClusterUserCredential"), CLUSTER_API);
        let method = match method {
            AuthenticationMethod::Aad => "AAD",
            AuthenticationMethod::Token => "Token",
        };
        let body = format!(r#"{{"authenticationMethod":"{method}","clientProxy":true}}"#);
        let answer = self.call(Method::POST, &url, body.into()).await?;
        self.read(&answer, &format!("get relay credentials for {}", id.name))
            .map_err(|refusal| refusal.explain(id))
    }

    /// The id of the subscription called `name`, in any case.
    ///
    /// # Errors
    /// None or several have that name, or ARM cannot be reached.
    pub async fn subscription_named(&self, name: &str) -> Result<String, Error> {
        let mut url = Some(self.url("/subscriptions", SUBSCRIPTION_API));
        let mut found: Vec<Subscription> = Vec::new();
        for _ in 0..PAGES {
            let Some(page) = url.take() else { break };
            let answer = self.call(Method::GET, &page, Bytes::new()).await?;
            let page: Page<Subscription> = self
                .read(&answer, "list subscriptions")
                .map_err(|refusal| refusal.error)?;
            found.extend(
                page.value
                    .into_iter()
                    .filter(|one| one.display_name.eq_ignore_ascii_case(name)),
            );
            url = page
                .next_link
                .as_deref()
                .map(|next| self.next_page(next))
                .transpose()?;
        }
        match &found[..] {
            [one] => Ok(one.subscription_id.clone()),
            [] => Err(Error::new(
                Code::SubscriptionNotFound,
                format!("there is no subscription called {name:?} among those you can see"),
            )),
            [_, ..] => Err(Error::new(
                Code::SubscriptionNotFound,
                format!("{} subscriptions are called {name:?}", found.len()),
            )
            .hinted("give the subscription's id with --subscription")),
        }
    }

    /// A next page must be ARM's own: the bearer token goes with the request.
    fn next_page(&self, link: &str) -> Result<Url, Error> {
        Url::parse(link)
            .ok()
            .filter(|url| url.origin() == self.endpoint.origin())
            .ok_or_else(|| {
                Error::new(
                    Code::ArmAnswer,
                    format!("{} names a next page elsewhere", self.host()),
                )
            })
    }

    fn url(&self, path: &str, api_version: &str) -> Url {
        let mut url = self.endpoint.clone();
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{base}{path}"));
        url.query_pairs_mut()
            .append_pair("api-version", api_version);
        url
    }

    fn host(&self) -> &str {
        self.endpoint.host_str().unwrap_or_default()
    }

    /// Asks ARM. Every call here may be repeated: the reads change nothing, and credentials that
    /// nobody got do no harm.
    ///
    /// Where the answer does not take the token, it is asked once more with another one; where it
    /// wants the sign-in to show more, after that.
    async fn call(&self, method: Method, url: &Url, body: Bytes) -> Result<(Answer, Tried), Error> {
        let token = self.sign_in.bearer(&self.scope).await?;
        let (answer, tried) = self.send(&method, url, body.clone(), &token).await?;
        let (scope, refused) = (&self.scope, &token.secret);
        let token = match challenge::claims(&answer) {
            Some(claims) => {
                tracing::info!(claims, "ARM wants the sign-in to show more");
                self.sign_in.challenged(scope, refused, &claims).await?
            }
            None if answer.status == StatusCode::UNAUTHORIZED => {
                match self.sign_in.replaced(scope, refused).await {
                    Ok(another) if another.secret != *refused => another,
                    // There is none: what ARM said of the first one counts.
                    _ => return Ok((answer, tried)),
                }
            }
            None => return Ok((answer, tried)),
        };
        self.send(&method, url, body, &token).await
    }

    async fn send(
        &self,
        method: &Method,
        url: &Url,
        body: Bytes,
        token: &AccessToken,
    ) -> Result<(Answer, Tried), Error> {
        let authorization = token.secret.bearer().map_err(|error| {
            Error::new(
                Code::SignInRefused,
                "the access token for ARM is no header value",
            )
            .caused_by(&error)
        })?;
        let request = Request::builder()
            .method(method)
            .uri(url.as_str())
            .header(header::AUTHORIZATION, authorization)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json")
            .body(body)
            .map_err(|error| {
                Error::new(Code::Unexpected, format!("bad request to {url}")).caused_by(&error)
            })?;
        let (answer, tried) = self.https.send_patiently(&request).await;
        let answer = answer.map_err(|error| {
            let code = error.code().unwrap_or(Code::ArmUnreachable);
            Error::new(code, "cannot reach Azure Resource Manager")
                .because(format!("{error}{tried}"))
                .maybe_hinted(error.hint())
        })?;
        let id = answer
            .headers
            .get("x-ms-correlation-request-id")
            .and_then(|value| value.to_str().ok());
        tracing::info!(%method, path = url.path(), status = answer.status.as_u16(), correlation = id, "ARM answered");
        Ok((answer, tried))
    }

    /// The value in `answer`, or the error and ARM's own document of it.
    fn read<T: DeserializeOwned>(
        &self,
        (answer, tried): &(Answer, Tried),
        doing: &str,
    ) -> Result<T, Box<Refusal>> {
        let failed = format!("cannot {doing}");
        if answer.status.is_success() {
            return serde_json::from_slice(&answer.body).map_err(|error| {
                let what = format!("{failed}: {} answered something else", self.host());
                Box::new(Refusal {
                    error: Error::new(Code::ArmAnswer, what).caused_by(&error),
                    document: None,
                })
            });
        }
        let code = refusal(answer.status);
        let document = serde_json::from_slice::<ErrorDocument>(&answer.body).ok();
        let said = document.as_ref().map_or_else(
            || format!("{} answered {}", self.host(), answer.status),
            |document| format!("{}: {}", document.error.code, document.error.message),
        );
        let mut error = Error::new(code, failed).because(format!("{said}{tried}"));
        if let Some(wait) = answer.retry_after() {
            error = error.hinted(format!(
                "Azure asks to wait {} seconds; then try again",
                wait.as_secs()
            ));
        } else if code == Code::ArmAnswer && may_pass(answer.status) {
            error = error
                .hinted("Azure Resource Manager has a fault that passes: try again in a minute");
        }
        Err(Box::new(Refusal {
            error,
            document: document.map(|document| document.error),
        }))
    }
}

/// The kind of failure that a status of ARM's other than success is.
pub(super) fn refusal(status: StatusCode) -> Code {
    match status {
        StatusCode::UNAUTHORIZED => Code::SignInRefused,
        StatusCode::FORBIDDEN => Code::AccessDenied,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Code::Throttled,
        _ => Code::ArmAnswer,
    }
}

/// ARM's refusal: the error so far, and ARM's own document of it.
struct Refusal {
    error: Error,
    document: Option<ErrorBody>,
}

impl Refusal {
    /// Names what was not found, where ARM's code tells.
    fn explain(self, id: &ClusterId) -> Error {
        let Self { error, document } = self;
        let Some(ErrorBody { code, message }) = document else {
            return error;
        };
        let said = format!("{code}: {message}");
        let found_not = |code, what: String| Error::new(code, what).because(said.clone());
        match code.as_str() {
        "SubscriptionNotFound" | "InvalidSubscriptionId" => found_not(
            Code::SubscriptionNotFound,
            format!("subscription {} was not found", id.subscription),
        ),
        "ResourceGroupNotFound" => found_not(
            Code::ResourceGroupNotFound,
            format!("resource group {} was not found in subscription {}", id.resource_group, id.subscription),
        ),
        "ResourceNotFound" => found_not(
            Code::ClusterNotFound,
            format!("cluster {} was not found in resource group {}", id.name, id.resource_group),
        )
        .hinted(format!("run `az connectedk8s list -g {} -o table` to see its clusters", id.resource_group)),
        "AuthorizationFailed" | "LinkedAuthorizationFailed" => error.hinted(format!(
            "ask for the role \"Azure Arc Enabled Kubernetes Cluster User Role\" on the cluster: \
             `az role assignment create --assignee YOU --role \"Azure Arc Enabled Kubernetes Cluster User Role\" --scope {id}`"
        )),
        _ => error,
    }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_found_is_named() {
        let id: ClusterId =
            "/subscriptions/s/resourceGroups/g/providers/Microsoft.Kubernetes/connectedClusters/c"
                .parse()
                .expect("valid");
        let explained = |code: &str| {
            let body = ErrorBody {
                code: code.to_owned(),
                message: "m".to_owned(),
            };
            Refusal {
                error: Error::new(Code::ArmAnswer, "x"),
                document: Some(body),
            }
            .explain(&id)
            .code()
        };
        assert_eq!(explained("ResourceNotFound"), Code::ClusterNotFound);
        assert_eq!(
            explained("ResourceGroupNotFound"),
            Code::ResourceGroupNotFound
        );
        assert_eq!(
            explained("SubscriptionNotFound"),
            Code::SubscriptionNotFound
        );
        assert_eq!(explained("Other"), Code::ArmAnswer);
    }
}
