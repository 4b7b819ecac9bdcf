//! Signing in with the system's browser: an authorization code with PKCE, sent back to this machine.
//!
//! Follows RFC 6749, RFC 7636, RFC 8252 and `OpenID` Connect Core 1.0 as Entra has them for public
//! clients. The answer counts only with the state that was sent, the ID token only with the nonce.

mod open;
mod page;
mod redirect;

use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;
use url::Url;

use super::token_endpoint::{self, Granted, Sending};
use super::user::{self, Ask, Desk, Wish};
use super::{Auth, Gear, Made, Prompt, Teller, presence};
use crate::error::{Code, Error};
use crate::secret::{Secret, random_hex};

use open::Browsers;
use page::Page;
use redirect::{Redirect, Refusal, Returned};

/// How long somebody may take to finish.
const DEADLINE: Duration = Duration::from_mins(5);

/// The system's browser.
#[derive(Debug)]
struct Browser {
    desk: Desk,
    authorize: Url,
    browsers: Browsers,
    teller: Teller,
}

pub(super) async fn make(gear: &Gear<'_>) -> Made {
    let desk = Desk::new(gear)?;
    let path = ["oauth2", "v2.0", "authorize"];
    let environment = &gear.settings.environment;
    let browser = Browser {
        authorize: token_endpoint::endpoint(gear.cloud, &desk.tenant, &path)?,
        browsers: Browsers::of(environment),
        teller: gear.teller.clone(),
        desk: desk.clone(),
    };
    let unfit = presence::no_desktop(environment);
    user::make(gear, Auth::Browser, desk, Box::new(browser), unfit).await
}

/// What one sign-in is known by.
struct Attempt {
    state: String,
    nonce: String,
    verifier: Secret,
}

impl Attempt {
    fn new() -> Self {
        Self {
            state: random_hex::<32>(),
            nonce: random_hex::<32>(),
            verifier: Secret::from(random_hex::<32>()),
        }
    }

    /// The S256 challenge of RFC 7636.
    fn challenge(&self) -> String {
        let hash = digest(&SHA256, self.verifier.expose().as_bytes());
        BASE64_URL_SAFE_NO_PAD.encode(hash)
    }
}

#[async_trait]
impl Ask for Browser {
    async fn ask(&self, wish: &Wish<'_>) -> Result<Granted, Error> {
        let redirect = Redirect::bind().await.map_err(|error| {
            Error::new(Code::Port, "cannot listen for the browser's answer")
                .caused_by(&error)
                .hinted("sign in with --auth device-code")
        })?;
        let attempt = Attempt::new();
        let redirect_uri = redirect.uri();
        let url = self.page(wish, &attempt, &redirect_uri);
        self.teller.tell(&Prompt::Browser { url: url.as_str() });
        let browsers = self.browsers.clone();
        let opening = async move { browsers.open(url.as_str()).await };
        let _opening = AbortOnDropHandle::new(tokio::spawn(opening));
        let returned = timeout(DEADLINE, redirect.returned(&attempt.state)).await;
        let returned = returned.map_err(|_| unfinished())?;
        let granted = self.redeem(wish, &attempt, &redirect_uri, &returned).await;
        let page = match &granted {
            Ok(granted) => Page::success(self.desk.name(granted).as_deref()),
            Err(error) => Page::failure(error),
        };
        returned.show(page).await;
        granted
    }
}

impl Browser {
    /// The page to sign in on.
    fn page(&self, wish: &Wish<'_>, attempt: &Attempt, redirect_uri: &str) -> Url {
        let mut url = self.authorize.clone();
        let mut query = url.query_pairs_mut();
        query
            .append_pair("client_id", &self.desk.client_id)
            .append_pair("response_type", "code")
            .append_pair("response_mode", "query")
            .append_pair("redirect_uri", redirect_uri)
            .append_pair("scope", wish.scope)
            .append_pair("state", &attempt.state)
            .append_pair("nonce", &attempt.nonce)
            .append_pair("code_challenge", &attempt.challenge())
            .append_pair("code_challenge_method", "S256");
        match wish.name {
            Some(name) => query.append_pair("login_hint", name),
            None => query.append_pair("prompt", "select_account"),
        };
        if let Some(claims) = wish.claims {
            query.append_pair("claims", claims);
        }
        drop(query);
        url
    }

    /// Makes tokens of what came back.
    async fn redeem(
        &self,
        wish: &Wish<'_>,
        attempt: &Attempt,
        redirect_uri: &str,
        returned: &Returned,
    ) -> Result<Granted, Error> {
        let endpoint = &self.desk.endpoint;
        let code = returned
            .code()
            .map_err(|refusal| refused(&self.desk, refusal))?;
        let grant = [
            ("grant_type", "authorization_code"),
            ("client_id", &self.desk.client_id),
            ("code", code.expose()),
            ("redirect_uri", redirect_uri),
            ("code_verifier", attempt.verifier.expose()),
        ];
        let granted = endpoint
            .ask(&grant, wish.scope, wish.key, Sending::Once)
            .await
            .map_err(|error| self.desk.told(error, ""))?;
        let identity = granted.identity.as_ref();
        let claims = identity.and_then(|identity| user::claims(identity, &self.desk.client_id));
        let nonce = claims.as_ref().and_then(|claims| claims["nonce"].as_str());
        if nonce != Some(&attempt.nonce) {
            let what = format!("{} answered for another sign-in", endpoint.host());
            return Err(Error::new(Code::SignInRefused, what)
                .because("the ID token is for another client, or has not the nonce that was sent")
                .hinted("try again; if it stays, somebody stands between this machine and Entra"));
        }
        Ok(granted)
    }
}

/// The browser came back without a code.
fn refused(desk: &Desk, refusal: &Refusal) -> Error {
    let words = match refusal.description.as_str() {
        "" => &refusal.error,
        description => description,
    };
    if user::has_declined(&refusal.error, &refusal.description) || refusal.subcode == "cancel" {
        let what = "the sign-in was cancelled in the browser";
        return token_endpoint::refusal(Code::SignInRefused, what, words)
            .hinted("run it again to sign in after all");
    }
    desk.refusal("", words)
}

fn unfinished() -> Error {
    let minutes = DEADLINE.as_secs() / 60;
    let what = format!("nobody finished the sign-in in the browser within {minutes} minutes");
    Error::new(Code::NotSignedIn, what)
        .hinted("try again, or sign in from another device with --auth device-code")
}

#[cfg(test)]
mod tests;
