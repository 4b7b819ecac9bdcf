//! Whoever is signed in to az.
//!
//! Bearer tokens come from `az account get-access-token`. For bound ones az has no command, though
//! its own credential can ask for them: a short script has az's interpreter ask it. What az keeps
//! of tokens is never read.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use azure_core::credentials::TokenCredential as _;
use azure_identity::{AzureCliCredential, AzureCliCredentialOptions};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::json;
use tokio::process::Command;
use tokio::sync::OnceCell;
use zeroize::Zeroizing;

use super::cache::BearerCache;
use super::{
    AccessToken, Auth, Gear, Made, SignIn, Unavailable, bridge, presence, token_endpoint, tool,
};
use crate::azure::pop::PopKey;
use crate::azure::profile::Account;
use crate::clock::Clock;
use crate::error::{Code, Error};
use crate::secret::Secret;

/// What az's interpreter is to run.
const SCRIPT: &str = include_str!("az_bound.py");
/// How long somebody has to sign in, once az has opened a browser.
const SIGN_IN: Duration = Duration::from_mins(5);
/// How az says that it has opened one.
const BROWSER: &str = "Interactively acquiring token";
/// What else there is where az cannot help.
const WAYS_OUT: &str =
    "sign in as a service principal, or use a Kubernetes service-account token with --token-file";

/// az's account.
#[derive(Debug)]
struct AzureCli {
    az: PathBuf,
    account: Option<Account>,
    /// Whether somebody sees the browser that az may open.
    interactive: bool,
    credential: Arc<AzureCliCredential>,
    cache: BearerCache,
    clock: Clock,
    interpreter: OnceCell<PathBuf>,
}

pub(super) fn make(gear: &Gear<'_>) -> Made {
    let settings = gear.settings;
    let path = settings.environment.path("PATH");
    let Some(az) = tool::find("az", path.as_deref().map(Path::as_os_str)) else {
        let why = "az is not on the PATH".to_owned();
        return Err(Unavailable::NotConfigured(why));
    };
    if settings.auth == Auth::Auto && settings.az_profile.is_empty() {
        let why = "nobody is signed in to az".to_owned();
        return Err(Unavailable::NotConfigured(why));
    }
    let (subscription, tenant) = (settings.subscription.as_deref(), settings.tenant.as_deref());
    let account = settings.az_profile.account(subscription, tenant).cloned();
    if let (None, Some(tenant)) = (&account, tenant)
        && settings.needs_bound
        && !settings.az_profile.is_empty()
    {
        // Its token for the cluster would be of another tenant.
        let why = format!("az has no account in the tenant {tenant}: `az login --tenant {tenant}`");
        return Err(Unavailable::NotConfigured(why));
    }
    // az takes one of them only. Its own account says both.
    let subscription = match (&account, tenant) {
        (Some(account), _) => Some(account.id.clone()),
        (None, Some(_)) => None,
        (None, None) => settings.subscription.clone(),
    };
    let tenant_id = match &subscription {
        Some(_) => None,
        None => settings.tenant.clone(),
    };
    let options = AzureCliCredentialOptions {
        tenant_id,
        subscription,
        executor: Some(Arc::new(tool::Tools)),
    };
    let credential = AzureCliCredential::new(Some(options)).map_err(|error| {
        let what = "the tenant or subscription for az makes no sense";
        Error::new(Code::Usage, what).caused_by(&error)
    })?;
    Ok(Arc::new(AzureCli {
        az,
        account,
        interactive: sees_a_browser(gear),
        credential,
        cache: BearerCache::new(gear.clock.clone()),
        clock: gear.clock.clone(),
        interpreter: OnceCell::new(),
    }))
}

/// Whether somebody is there who sees a browser window.
fn sees_a_browser(gear: &Gear<'_>) -> bool {
    let environment = &gear.settings.environment;
    presence::nobody(environment).is_none() && presence::no_desktop(environment).is_none()
}

#[async_trait]
impl SignIn for AzureCli {
    fn description(&self) -> String {
        let account = self.account.as_ref();
        match account.and_then(|account| account.user.shown()) {
            Some(who) => format!("{who} (az)"),
            None => "az".to_owned(),
        }
    }

    async fn bearer(&self, scope: &str) -> Result<AccessToken, Error> {
        self.cache.get(scope, || self.fetch(scope)).await
    }

    async fn replaced(&self, scope: &str, refused: &Secret) -> Result<AccessToken, Error> {
        self.cache
            .replace(scope, refused, || self.fetch(scope))
            .await
    }

    async fn bound(&self, scope: &str, key: &PopKey) -> Result<AccessToken, Error> {
        let is_machine = |account: &Account| account.user.is_machine();
        if self.account.as_ref().is_some_and(is_machine) {
            let what =
                "az is signed in with a machine's identity, which has no token for the cluster";
            let why =
                "tokens for the cluster are bound to a key; a machine's endpoint gives none such";
            return Err(Error::new(Code::NotSignedIn, what)
                .because(why)
                .hinted(format!("run `az login` as somebody else, {WAYS_OUT}")));
        }
        let interpreter = self
            .interpreter
            .get_or_try_init(|| interpreter(&self.az))
            .await?;
        let asked = json!({
            "az": self.az,
            "subscription": self.account.as_ref().map(|account| &account.id),
            "scope": scope,
            "kid": key.thumbprint(),
            "req_cnf": key.req_cnf(),
            "interactive": self.interactive,
        });
        let asked = asked.to_string();
        // As most packages of az run it, out of reach of whatever else is installed; then as the
        // environment has it, which may be where az's modules are.
        let mut answer = ask(interpreter, &["-I"], &asked).await?;
        if let Answer::Failed(Failed { kind, .. }) = &answer
            && kind == "import"
        {
            answer = ask(interpreter, &[], &asked).await?;
        }
        match answer {
            Answer::Token {
                access_token,
                expires_on,
            } => {
                if !may_be_bound(&access_token, key) {
                    let what = "az gave a token for the cluster that is not bound to the key";
                    return Err(Error::new(Code::SignInRefused, what)
                        .hinted(format!("update az with `az upgrade`, or {WAYS_OUT}")));
                }
                Ok(AccessToken {
                    secret: access_token,
                    expires: bridge::end_by(expires_on, &self.clock),
                })
            }
            Answer::Failed(failed) if failed.kind == "import" => {
                let what = "az's own Python cannot load az's modules";
                Err(Error::new(Code::NotSignedIn, what)
                    .because(format!("{}: {}", interpreter.display(), failed.error))
                    .hinted(format!("install az anew, or {WAYS_OUT}")))
            }
            Answer::Failed(failed) => {
                let what = "az gave no token for the cluster";
                let error = refusal(what, &failed.error);
                Err(self.explained(error, &failed.advice))
            }
        }
    }
}

impl AzureCli {
    async fn fetch(&self, scope: &str) -> Result<AccessToken, Error> {
        let token = self.credential.get_token(&[scope], None).await;
        let token = token.map_err(|error| {
            let words = bridge::words(&error);
            let told = refusal("az gave no token", &words);
            self.explained(told, &words)
        });
        token.map(|token| bridge::token(&token, &self.clock))
    }

    /// The error with what to do about it: `advice` is az's own.
    fn explained(&self, error: Error, advice: &str) -> Error {
        if error.code() == Code::SignInUnreachable {
            return error;
        }
        let said = error.causes().join("\n");
        let login = advice
            .lines()
            .map(str::trim)
            .rfind(|line| line.starts_with("az login"));
        if let Some(login) = login {
            return error.hinted(format!("run `{login}`, then try again"));
        }
        let is_signed_out = said.contains("az login") || said.contains("token cache");
        if is_signed_out || !said.contains("AADSTS") {
            let tenant = self
                .account
                .as_ref()
                .and_then(|account| account.tenant_id.as_deref());
            let tenant = tenant
                .map(|tenant| format!(" --tenant {tenant}"))
                .unwrap_or_default();
            return error.hinted(format!("run `az login{tenant}`"));
        }
        error
    }
}

/// What az says where it cannot go out: of requests and urllib3, and of itself that it hangs.
const UNREACHED: [&str; 5] = [
    "Max retries exceeded",
    "Connection aborted",
    "Connection refused",
    "ConnectionError",
    "did not answer within",
];

/// The error for az's own `words`.
fn refusal(what: &str, words: &str) -> Error {
    if UNREACHED.iter().any(|said| words.contains(said)) {
        let said = words.lines().next().unwrap_or_default();
        return Error::new(Code::SignInUnreachable, what)
            .because(said)
            .hinted(
                "az cannot reach Entra from here: check the network, and the proxy that az uses",
            );
    }
    token_endpoint::refusal(Code::SignInRefused, what, words)
}

/// What the script says.
#[derive(Deserialize)]
#[serde(untagged)]
enum Answer {
    Token {
        access_token: Secret,
        expires_on: u64,
    },
    Failed(Failed),
}

#[derive(Deserialize)]
struct Failed {
    error: String,
    kind: String,
    #[serde(default)]
    advice: String,
}

/// Runs the script.
async fn ask(interpreter: &Path, options: &[&str], asked: &str) -> Result<Answer, Error> {
    let mut command = Command::new(interpreter);
    command.args(options).args(["-c", SCRIPT, asked]);
    let output = tool::run(&mut command, |line| {
        line.contains(BROWSER).then(|| {
            tracing::warn!(
                "az has opened a browser: its sign-in has to be renewed there, within {} minutes",
                SIGN_IN.as_secs() / 60
            );
            SIGN_IN
        })
    })
    .await
    .map_err(|error| not_run("az's Python", interpreter, &error))?;
    let stdout = Zeroizing::new(output.stdout);
    let answer = stdout
        .split(|byte| *byte == b'\n')
        .rev()
        .find_map(|line| serde_json::from_slice(line).ok());
    answer.ok_or_else(|| {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let last = stderr.lines().rfind(|line| !line.trim().is_empty());
        let said = last.map_or_else(|| output.status.to_string(), str::to_owned);
        let what = "az's Python answered something other than a token";
        Error::new(Code::NotSignedIn, what)
            .because(said)
            .hinted(format!("check that `az account show` works, or {WAYS_OUT}"))
    })
}

/// The interpreter that runs az, as az itself tells.
async fn interpreter(az: &Path) -> Result<PathBuf, Error> {
    let mut command = Command::new(az);
    // Some packages of az would load modules from wherever it is called.
    command.arg("--version").current_dir("/");
    let output = tool::run(&mut command, |_| None)
        .await
        .map_err(|error| not_run("az", az, &error))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let found = text.lines().find_map(|line| {
        let quoted = line.trim().strip_prefix("Python location ")?;
        Some(quoted.trim_matches(['\'', '"']))
    });
    found.map(PathBuf::from).ok_or_else(|| {
        let what = "`az --version` does not tell which Python runs az";
        Error::new(Code::NotSignedIn, what)
            .because(format!("{}: {}", az.display(), output.status))
            .hinted(format!("check that `az --version` works, or {WAYS_OUT}"))
    })
}

fn not_run(what: &str, program: &Path, error: &std::io::Error) -> Error {
    Error::new(
        Code::NotSignedIn,
        format!("{what} gave no token for the cluster"),
    )
    .because(format!("{}: {error}", program.display()))
    .hinted(format!("check that `az account show` works, or {WAYS_OUT}"))
}

/// Whether `token` is bound to `key`, or cannot be looked into.
fn may_be_bound(token: &Secret, key: &PopKey) -> bool {
    #[derive(Deserialize)]
    struct Claims {
        cnf: Option<Confirmation>,
    }
    #[derive(Deserialize)]
    struct Confirmation {
        kid: String,
    }
    let claims = token.expose().split('.').nth(1);
    let claims = claims.and_then(|part| BASE64_URL_SAFE_NO_PAD.decode(part).ok());
    match claims.map(|claims| serde_json::from_slice::<Claims>(&claims)) {
        Some(Ok(Claims { cnf })) => cnf.is_some_and(|cnf| cnf.kid == key.thumbprint()),
        Some(Err(_)) | None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_that_is_away_is_no_reason_to_sign_in_anew() {
        for words in [
            "HTTPSConnectionPool(host='login.example', port=443): Max retries exceeded with url: /x",
            "it did not answer within 30 seconds",
        ] {
            let error = refusal("az gave no token", words);
            assert_eq!(error.code(), Code::SignInUnreachable, "{words}");
            assert!(!error.hint().contains("az login"), "{}", error.hint());
        }
        let error = refusal("az gave no token", "AADSTS50173: revoked");
        assert_eq!(error.code(), Code::SignInRefused);
    }

    #[test]
    fn a_token_is_bound_to_its_own_key() {
        let key = PopKey::generate().expect("a key");
        let token = |claims: &str| {
            let claims = BASE64_URL_SAFE_NO_PAD.encode(claims);
            Secret::from(format!("e30.{claims}.x"))
        };
        let own = format!(r#"{{"cnf": {{"kid": "{}"}}}}"#, key.thumbprint());
        assert!(may_be_bound(&token(&own), &key));
        assert!(!may_be_bound(&token(r#"{"cnf": {"kid": "other"}}"#), &key));
        assert!(!may_be_bound(&token("{}"), &key));
        assert!(may_be_bound(&"opaque".into(), &key));
    }
}
