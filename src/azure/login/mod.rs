//! Signing in: how access tokens for ARM and for the cluster are had.
//!
//! Each method is one [`SignIn`], in a module that says with `make` whether it is configured. az and
//! azd are asked through `azure_identity`; Entra's token endpoint is asked here, for bearer tokens
//! and for those that are bound to a key.

mod aadsts;
mod assertion;
mod azd;
mod azure_cli;
mod azure_pipelines;
mod bridge;
mod browser;
mod cache;
mod certificate;
mod device_code;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod github;
mod kept;
mod key_file;
mod managed_identity;
mod method;
mod presence;
mod service_principal;
mod token_endpoint;
mod tool;
mod user;
mod workload_identity;

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use super::cloud::Cloud;
use super::discovery;
use super::pop::PopKey;
use super::profile::Profile;
use crate::clock::Clock;
use crate::error::{Code, Error};
use crate::net::Https;
use crate::secret::Secret;
use crate::settings::Environment;

pub use kept::Kept;
pub use method::Auth;
use token_endpoint::TokenEndpoint;

/// Tokens are renewed this many seconds before their end, or earlier if they live shortly.
const LEAD_SECONDS: u64 = 5 * 60;

/// An access token and its end.
#[derive(Debug, Clone)]
pub struct AccessToken {
    /// The token.
    pub secret: Secret,
    /// When it ends, seconds since 1970 by the server's clock.
    pub expires: u64,
}

/// A way to sign in.
#[async_trait]
pub trait SignIn: Debug + Send + Sync {
    /// Who is signed in and how, for people: `service principal 0000…`.
    fn description(&self) -> String;

    /// A bearer token for `scope`; it may come from a cache while it is valid.
    ///
    /// # Errors
    /// Entra refuses or cannot be reached.
    async fn bearer(&self, scope: &str) -> Result<AccessToken, Error>;

    /// A bearer token for `scope` in the place of `refused`, which ended earlier than it said: it was
    /// revoked, or its end was judged by another clock.
    ///
    /// # Errors
    /// As those of [`SignIn::bearer`].
    async fn replaced(&self, scope: &str, refused: &Secret) -> Result<AccessToken, Error>;

    /// A fresh token for `scope` that is bound to `key`.
    ///
    /// # Errors
    /// Entra refuses or cannot be reached, or this method cannot give such tokens.
    async fn bound(&self, scope: &str, key: &PopKey) -> Result<AccessToken, Error>;

    /// A bearer token for `scope` in the place of `refused`, for which a service wants the sign-in
    /// to show `claims`. Only a person can show more: other methods say so.
    ///
    /// # Errors
    /// As those of [`SignIn::bearer`].
    async fn challenged(
        &self,
        _scope: &str,
        _refused: &Secret,
        _claims: &str,
    ) -> Result<AccessToken, Error> {
        Err(challenge_refused(&self.description()))
    }
}

/// A service asks for what `who` cannot show.
fn challenge_refused(who: &str) -> Error {
    Error::new(
        Code::SignInRefused,
        format!("Azure asks for more than the sign-in as {who} shows"),
    )
    .because("a conditional access policy or a risk that was seen wants a new sign-in, perhaps with a second factor")
    .hinted("sign in with --auth browser or --auth device-code, or ask an administrator to exempt this identity")
}

/// What a person has to do to sign in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prompt<'a> {
    /// Finish in the browser, which is opened at this page.
    Browser {
        /// The page.
        url: &'a str,
    },
    /// Enter a code in a browser anywhere.
    DeviceCode {
        /// The page to enter it on.
        url: &'a str,
        /// The code.
        code: &'a str,
        /// For how many minutes it is good.
        minutes: u64,
    },
}

/// How a person is told what to do.
#[derive(Clone)]
pub struct Teller(Arc<dyn Fn(&Prompt<'_>) + Send + Sync>);

impl Teller {
    /// Tells with `tell`.
    pub fn new(tell: impl Fn(&Prompt<'_>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }

    fn tell(&self, prompt: &Prompt<'_>) {
        (self.0)(prompt);
    }
}

impl Debug for Teller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Teller").finish_non_exhaustive()
    }
}

/// Whether what was fetched at `fetched` and ends at `expires` is due for renewal at `now`: five
/// minutes before its end, or in the last fifth of a shorter life. Seconds since 1970.
pub(crate) fn is_due(now: u64, fetched: u64, expires: u64) -> bool {
    let lead = LEAD_SECONDS.min(expires.saturating_sub(fetched) / 5).max(1);
    now.saturating_add(lead) >= expires
}

/// The sign-in settings.
#[derive(Debug, Clone, Default)]
pub struct SignInSettings {
    /// `--auth`.
    pub auth: Auth,
    /// `AZURE_TENANT_ID`.
    pub tenant: Option<String>,
    /// `AZURE_CLIENT_ID`.
    pub client_id: Option<String>,
    /// `AZURE_CLIENT_SECRET`.
    pub client_secret: Option<Secret>,
    /// The subscription whose account az should use, and whose tenant is taken where none is
    /// given.
    pub subscription: Option<String>,
    /// The accounts of az in this cloud.
    pub az_profile: Profile,
    /// The variables that single methods read.
    pub environment: Environment,
    /// Whether requests to the cluster need a token that is bound to a key, as in every mode but
    /// that of a service account.
    pub needs_bound: bool,
    /// Where people's sign-ins are kept for the next run.
    pub kept: Kept,
    /// Whether `tenant` was asked of Azure and not given by anybody.
    pub tenant_is_found: bool,
}

/// What methods are made with.
#[derive(Clone, Copy)]
struct Gear<'a> {
    settings: &'a SignInSettings,
    cloud: &'a Cloud,
    https: &'a Https,
    clock: &'a Clock,
    teller: &'a Teller,
}

/// A method that is ready, or why it is not.
type Made = Result<Arc<dyn SignIn>, Unavailable>;

/// A method that is to be taken, or what is wrong with it.
type Ready = Result<Arc<dyn SignIn>, Error>;

/// Why a method is not taken.
enum Unavailable {
    /// Nothing of it is configured. Reads after the method's name and a colon.
    NotConfigured(String),
    /// It is configured in part, or makes no sense: no other is tried in its place.
    Wrong(Error),
}

impl From<Error> for Unavailable {
    fn from(error: Error) -> Self {
        Self::Wrong(error)
    }
}

/// Makes the method that the settings name or, for `auto`, the first that is configured; the log
/// says which, and why those before it were not taken. A method that needs a tenant gets that of
/// the subscription where nothing names one. A person who has to do something for it is told
/// by `teller`.
///
/// # Errors
/// None is configured, one is configured in part, or the tenant cannot be asked for.
pub async fn choose(
    settings: &SignInSettings,
    cloud: &Cloud,
    https: &Https,
    clock: &Clock,
    teller: &Teller,
) -> Result<Arc<dyn SignIn>, Error> {
    let gear = Gear {
        settings,
        cloud,
        https,
        clock,
        teller,
    };
    let (auth, made) = first(&gear).await?;
    if let Some(subscription) = &settings.subscription
        && settings.tenant.is_none()
        && (auth.is_a_person() || (auth.goes_by_tenant() && made.is_err()))
        && let Some(tenant) = discovery::tenant(https, cloud, subscription).await?
    {
        let settings = &SignInSettings {
            tenant: Some(tenant),
            tenant_is_found: true,
            ..settings.clone()
        };
        return match make(auth, &Gear { settings, ..gear }).await {
            Ok(method) => Ok(method),
            Err(unavailable) => Err(unavailable.told(auth)),
        };
    }
    made
}

/// The method that the settings name or the first that is configured, if only in part.
async fn first(gear: &Gear<'_>) -> Result<(Auth, Ready), Error> {
    let auth = gear.settings.auth;
    if auth != Auth::Auto {
        let made = make(auth, gear)
            .await
            .map_err(|unavailable| unavailable.told(auth));
        return Ok((auth, made));
    }
    let mut passed_over = Vec::new();
    for auth in Auth::ORDER {
        let made = match make(auth, gear).await {
            Ok(method) => Ok(method),
            Err(Unavailable::Wrong(error)) => Err(error),
            Err(Unavailable::NotConfigured(why)) => {
                tracing::info!(method = %auth, why, "passed over");
                passed_over.push(format!("{auth}: {why}"));
                continue;
            }
        };
        tracing::info!(method = %auth, "signing in");
        return Ok((auth, made));
    }
    let none = Error::new(Code::NotSignedIn, "no sign-in method is configured");
    Err(passed_over.into_iter().fold(none, Error::because))
}

impl Unavailable {
    /// The error for whoever asked for the method by name.
    fn told(self, auth: Auth) -> Error {
        match self {
            Self::Wrong(error) => error,
            Self::NotConfigured(why) => {
                let what = format!("--auth {auth} is not configured");
                let hint = format!(
                    "docs/sign-in.md says what {auth} needs; --auth auto takes what is configured"
                );
                Error::new(Code::NotSignedIn, what)
                    .because(why)
                    .hinted(hint)
            }
        }
    }
}

async fn make(auth: Auth, gear: &Gear<'_>) -> Made {
    match auth {
        Auth::ServicePrincipal => service_principal::make(gear),
        Auth::WorkloadIdentity => workload_identity::make(gear),
        Auth::Github => github::make(gear),
        Auth::AzurePipelines => azure_pipelines::make(gear),
        Auth::AzureCli => azure_cli::make(gear),
        Auth::ManagedIdentity => managed_identity::make(gear),
        Auth::Browser => browser::make(gear).await,
        Auth::DeviceCode => device_code::make(gear).await,
        Auth::Azd => azd::make(gear).await,
        // `auto` is all of the others.
        Auth::Auto => Box::pin(first(gear)).await?.1.map_err(Unavailable::Wrong),
    }
}

impl Gear<'_> {
    /// The variable `name`, if it is set to something.
    fn variable(&self, name: &str) -> Option<String> {
        self.settings.environment.text(name)
    }

    /// Entra's token endpoint for `tenant`.
    fn endpoint(&self, tenant: &str) -> Result<TokenEndpoint, Error> {
        TokenEndpoint::new(self.cloud, tenant, self.https.clone(), self.clock.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_that_is_named_is_not_told_of_anothers_variables() {
        let unavailable = Unavailable::NotConfigured("no permission".to_owned());
        let error = unavailable.told(Auth::Github);
        assert!(error.hint().contains("what github needs"), "{error:?}");
        assert!(!error.hint().contains("AZURE_CLIENT_SECRET"));
    }

    #[test]
    fn renewal_is_due_five_minutes_before_the_end_or_in_the_last_fifth() {
        let hours = 3 * 3600;
        assert!(!is_due(hours - 301, 0, hours));
        assert!(is_due(hours - 300, 0, hours));
        assert!(!is_due(47, 0, 60));
        assert!(is_due(48, 0, 60));
        assert!(is_due(1, 0, 1));
        assert!(is_due(100, 90, 80));
    }
}
