//! Entra: one tenant with its apps and users, and the endpoints that make tokens for them.
//!
//! Follows OAuth 2.0 (RFC 6749), PKCE (RFC 7636), the device flow (RFC 8628), OIDC discovery
//! and the Microsoft identity platform's documents where it differs from them. Access
//! tokens are those of version 1, as kube-aad-proxy's and ARM's are. What a token is good for is
//! left to the parts that receive it.

mod assertion;
mod certificate;
mod ci;
mod claims;
mod directory;
mod discovery;
mod error;
mod grants;
mod interactive;
mod jws;
mod keys;
mod pages;
mod refusals;
mod routes;
mod scope;
mod state;
mod token;

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use rsa::PublicKey;
use serde::Serialize;

pub use self::directory::SERVER_APP;
pub use self::grants::Revocation;
pub use self::keys::Keys;

use self::certificate::Certificate;
use self::directory::Directory;
use self::grants::Verdict;
use self::state::State;
use crate::certificates;
use crate::faults::Faults;
use crate::names::Names;
use crate::serve::Service;
use crate::shape::Shaper;
use crate::tls::{self, Authority};

/// What Entra is started with.
#[derive(Debug)]
pub struct EntraConfig {
    /// The authority of the certificate that it serves with.
    pub authority: Arc<Authority>,
    /// The faults that it plays.
    pub faults: Faults,
    /// The path to it.
    pub shaper: Shaper,
    /// Where the ids of its tenant, apps and users come from.
    pub names: Names,
}

/// A running Entra.
#[derive(Debug)]
pub struct Entra {
    state: Arc<State>,
    service: Service,
}

/// An app, as those who sign in with it know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The app's client id.
    pub client_id: String,
    /// The object id of its service principal.
    pub object_id: String,
    /// Its secret.
    pub client_secret: String,
}

/// The apps that every emulator starts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DemoApp {
    /// May do everything.
    Demo,
    /// Its secret has expired.
    Expired,
    /// In more than 200 groups.
    Overage,
    /// Without a role on any cluster.
    Stranger,
}

/// An outside issuer's token that stands for an app.
#[derive(Debug, Clone)]
pub struct FederatedIdentity {
    /// The token's `iss`.
    pub issuer: String,
    /// The token's `sub`.
    pub subject: String,
    /// The token's `aud`.
    pub audience: String,
    /// The issuer's key.
    pub key: PublicKey,
}

/// What happened at Entra so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct EntraSeen {
    /// Requests to the token endpoint.
    pub token_requests: u64,
    /// Tokens given out, by grant.
    pub grants: BTreeMap<String, u64>,
    /// How many of them were bound to a key.
    pub pop_tokens: u64,
    /// Refusals, by AADSTS number.
    pub refusals: BTreeMap<u32, u64>,
    /// Times the authorize page was asked for.
    pub authorize_requests: u64,
    /// Identity tokens given to jobs of GitHub and Azure Pipelines.
    pub identity_tokens: u64,
}

impl Entra {
    /// Starts Entra.
    ///
    /// # Errors
    ///
    /// When its key or certificate cannot be made, or no port can be had.
    pub async fn start(config: EntraConfig) -> io::Result<Self> {
        let EntraConfig {
            authority,
            faults,
            shaper,
            names,
        } = config;
        let keys = Arc::new(Keys::generate().await?);
        let state = Arc::new(State::new(keys, faults, Directory::demo(names)));
        let tls = certificates::server_config(authority, &["h2", "http/1.1"])
            .map_err(io::Error::other)?;
        let serving = Arc::clone(&state);
        let service = Service::start(
            SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            tls,
            shaper,
            move |request| routes::answer(Arc::clone(&serving), request),
        )
        .await?;
        let url = format!("https://localhost:{}", service.address().port());
        state.set_url(url);
        ci::register(&state);
        Ok(Self { state, service })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.service.address()
    }

    /// The authority that clients sign in at, without a tenant and without a slash at its end.
    pub fn url(&self) -> &str {
        self.state.url()
    }

    /// The key that its tokens are signed with.
    pub fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.state.keys)
    }

    /// The tenant's id.
    pub fn tenant(&self) -> String {
        self.state.directory().tenant.clone()
    }

    /// The issuer of its access tokens.
    pub fn issuer(&self) -> String {
        claims::issuer(&self.state.directory().tenant)
    }

    /// What one signs in with as `app`.
    pub fn credentials(&self, app: DemoApp) -> Credentials {
        let name = match app {
            DemoApp::Demo => "arcproxy-demo",
            DemoApp::Expired => "expired",
            DemoApp::Overage => "overage",
            DemoApp::Stranger => "stranger",
        };
        let directory = self.state.directory();
        let app = directory
            .apps
            .iter()
            .find(|app| app.name == name)
            .expect("the demo apps are never removed");
        Credentials {
            client_id: app.client_id.clone(),
            object_id: app.object_id.clone(),
            client_secret: app
                .secret
                .as_ref()
                .map(|secret| secret.value.clone())
                .unwrap_or_default(),
        }
    }

    /// Lets the app of `client_id` sign in with assertions that the first certificate of `pem`
    /// signed; whether there is such an app.
    ///
    /// # Errors
    ///
    /// When `pem` has no certificate with an RSA key.
    pub fn register_certificate(&self, client_id: &str, pem: &str) -> Result<bool, tls::Error> {
        let certificate = Certificate::from_pem(pem)?;
        Ok(self
            .state
            .change_app(client_id, |app| app.certificates.push(certificate)))
    }

    /// Lets the app of `client_id` sign in with tokens of another issuer; whether there is such
    /// an app.
    pub fn federate(&self, client_id: &str, identity: FederatedIdentity) -> bool {
        self.state
            .change_app(client_id, |app| app.federated.push(identity))
    }

    /// Makes tokens for `resource`, too.
    pub fn add_resource(&self, resource: &str) {
        self.state.add_resource(resource);
    }

    /// Seats a person at the browser, who picks `upn` whenever the authorize page is shown, or
    /// nobody: the page then waits for a choice.
    pub fn seat(&self, upn: Option<&str>) {
        self.state.seat(upn);
    }

    /// Approves the sign-in of `user_code` as `upn`; whether one waits under that code.
    pub fn approve_device(&self, user_code: &str, upn: &str) -> bool {
        let verdict = Verdict::Approved(upn.to_owned());
        self.state.grants().decide_device(user_code, verdict)
    }

    /// Declines the sign-in of `user_code`; whether one waits under that code.
    pub fn decline_device(&self, user_code: &str) -> bool {
        self.state
            .grants()
            .decide_device(user_code, Verdict::Declined)
    }

    /// Tells the next `times` requests for a device's token to slow down.
    pub fn slow_down(&self, times: u32) {
        self.state.grants().slow_down(times);
    }

    /// Makes every refresh token that `upn` holds useless.
    pub fn revoke(&self, upn: &str, why: Revocation) {
        let now = self.state.faults.cloud_time();
        self.state.grants().revoke(upn, why, now);
    }

    /// What a job of a GitHub workflow finds in its environment to ask for an identity token,
    /// which the demo app accepts.
    pub fn github_env(&self) -> Vec<(String, String)> {
        ci::github_env(&self.state)
    }

    /// What a job of Azure Pipelines finds in its environment to ask for an identity token, which
    /// the demo app accepts.
    pub fn pipelines_env(&self) -> Vec<(String, String)> {
        ci::pipelines_env(&self.state)
    }

    /// An identity token as a Kubernetes workload finds it in a file, which the demo app accepts.
    pub fn workload_token(&self) -> String {
        ci::token(&self.state, ci::WORKLOAD_SUBJECT, ci::AUDIENCE)
    }

    /// Whether a role lets the principal of `object_id` reach clusters.
    pub fn may_connect(&self, object_id: &str) -> bool {
        self.state.directory().may_connect(object_id)
    }

    /// What happened so far.
    pub fn seen(&self) -> EntraSeen {
        self.state.seen()
    }

    /// Stops it.
    pub async fn stop(&self) {
        self.service.stop().await;
    }
}
