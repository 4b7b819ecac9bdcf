//! The token endpoint.

use aws_lc_rs::digest;
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use serde_json::{Value, json};

use super::State;
use super::assertion::{Proof, authenticate};
use super::claims::Issue;
use super::directory::{App, Directory, Policy, SERVER_APP, User};
use super::error::Aadsts;
use super::grants::Grant;
use super::refusals;
use super::scope::Asked;
use crate::request::Fields;

/// Without a fault that says otherwise, access tokens live this many seconds.
const ACCESS_TOKEN_SECONDS: u64 = 3_599;

/// The grants that the endpoint knows.
const CLIENT_CREDENTIALS: &str = "client_credentials";
const AUTHORIZATION_CODE: &str = "authorization_code";
const REFRESH_TOKEN: &str = "refresh_token";
const DEVICE_CODE: [&str; 2] = [
    "urn:ietf:params:oauth:grant-type:device_code",
    "device_code",
];

/// Answers one request of the token endpoint of `tenant`.
pub(super) fn answer(state: &State, tenant: &str, form: &Fields) -> Result<Value, Aadsts> {
    let grant_type = form
        .get("grant_type")
        .ok_or_else(|| refusals::missing("grant_type"))?;
    let directory = state.directory();
    let any_tenant = is_any_tenant(tenant);
    if !any_tenant && !directory.is_tenant(tenant) {
        return Err(refusals::unknown_tenant(tenant));
    }
    let client_id = form
        .get("client_id")
        .ok_or_else(|| refusals::missing("client_id"))?;
    let app = directory
        .app(client_id)
        .ok_or_else(|| refusals::unknown_app(client_id, &directory.tenant))?;
    let now = state.faults.cloud_time();
    let audiences = state.assertion_audiences(tenant, &directory.tenant);
    let proof = authenticate(app, form, &audiences, now)?;
    let desk = Desk {
        state,
        directory: &directory,
        app,
        proof,
        form,
        any_tenant,
        now,
    };
    let answer = match grant_type {
        CLIENT_CREDENTIALS if any_tenant => Err(refusals::no_tenant()),
        CLIENT_CREDENTIALS => desk.for_app(),
        AUTHORIZATION_CODE => desk.for_code(),
        REFRESH_TOKEN => desk.for_refresh_token(),
        grant if DEVICE_CODE.contains(&grant) => desk.for_device(),
        other => Err(refusals::unsupported_grant(other)),
    }?;
    state.count(|seen| {
        *seen.grants.entry(grant_type.to_owned()).or_default() += 1;
        if answer["token_type"] == "pop" {
            seen.pop_tokens += 1;
        }
    });
    Ok(answer)
}

/// Whether `tenant` stands for whichever tenant the user is of.
pub(super) fn is_any_tenant(tenant: &str) -> bool {
    tenant.eq_ignore_ascii_case("common") || tenant.eq_ignore_ascii_case("organizations")
}

/// One authenticated request.
struct Desk<'a> {
    state: &'a State,
    directory: &'a Directory,
    app: &'a App,
    proof: Proof,
    form: &'a Fields,
    /// Whether the user's own tenant answers, whichever that is.
    any_tenant: bool,
    now: u64,
}

impl Desk<'_> {
    fn for_app(&self) -> Result<Value, Aadsts> {
        if self.app.public {
            return Err(refusals::no_client_credential());
        }
        let asked = Asked::read(self.form, None, self.directory)?;
        if asked.permission != ".default" {
            let scope = self.form.get("scope").unwrap_or_default();
            return Err(refusals::not_default_scope(scope));
        }
        Ok(self.answer(None, &asked))
    }

    fn for_code(&self) -> Result<Value, Aadsts> {
        let presented = self.required("code")?;
        let code = self.state.grants().redeem_code(presented, self.now)?;
        if !code
            .grant
            .client_id
            .eq_ignore_ascii_case(&self.app.client_id)
        {
            return Err(refusals::code_of_another("client_id"));
        }
        if self.form.get("redirect_uri") != Some(code.redirect_uri.as_str()) {
            return Err(refusals::code_of_another("redirect_uri"));
        }
        match (&code.challenge, self.form.get("code_verifier")) {
            (None, None) => {}
            (Some(_), None) => return Err(refusals::missing("code_verifier")),
            (challenge, Some(verifier)) => {
                let hash = digest::digest(&digest::SHA256, verifier.as_bytes());
                let expected = BASE64_URL_SAFE_NO_PAD.encode(hash);
                if challenge.as_ref() != Some(&expected) {
                    return Err(refusals::wrong_verifier());
                }
            }
        }
        self.for_user(&code.grant, true)
    }

    fn for_device(&self) -> Result<Value, Aadsts> {
        let code = self.required("device_code")?;
        let redeemed = self
            .state
            .grants()
            .redeem_device(code, &self.app.client_id, self.now);
        self.for_user(&redeemed?, true)
    }

    fn for_refresh_token(&self) -> Result<Value, Aadsts> {
        let token = self.required("refresh_token")?;
        let grant = self.state.grants().refresh(token)?.clone();
        if !grant.client_id.eq_ignore_ascii_case(&self.app.client_id) {
            return Err(refusals::code_of_another("client_id"));
        }
        self.for_user(&grant, false)
    }

    /// Answers for the user of `grant`, who has just signed in or whose client is on its own.
    fn for_user(&self, grant: &Grant, interactive: bool) -> Result<Value, Aadsts> {
        let user = self
            .directory
            .user(&grant.upn)
            .ok_or_else(refusals::malformed_grant)?;
        let mut asked = Asked::read(self.form, Some(&grant.scope), self.directory)?;
        asked.offline |= !interactive;
        if user.policy == Policy::Foreign && !self.any_tenant {
            let (id, name) = (&self.app.client_id, &self.app.name);
            return Err(refusals::foreign(id, name, &self.directory.tenant));
        }
        self.check_policy(user, &asked, interactive)?;
        let mut answer = self.answer(Some((user, grant)), &asked);
        answer["scope"] = asked.granted().into();
        if asked.offline {
            let refresh = self.state.grants().add_refresh(grant.clone(), self.now);
            answer["refresh_token"] = refresh.into();
            if self.app.public {
                answer["foci"] = "1".into();
            }
        }
        if asked.openid {
            let claims = self
                .issue(Some(user))
                .id_token(user, grant.nonce.as_deref());
            answer["id_token"] = self.state.keys.sign(&claims).into();
        }
        if asked.client_info {
            let account = json!({ "uid": user.object_id, "utid": self.directory.tenant });
            answer["client_info"] = BASE64_URL_SAFE_NO_PAD.encode(account.to_string()).into();
        }
        Ok(answer)
    }

    /// The policies of the tenant hold for kube-aad-proxy's tokens alone, so that every user can
    /// sign in and then meets them where a real tenant would put them.
    fn check_policy(&self, user: &User, asked: &Asked, interactive: bool) -> Result<(), Aadsts> {
        if !asked.resource.eq_ignore_ascii_case(SERVER_APP) {
            return Ok(());
        }
        match user.policy {
            Policy::Blocked => Err(refusals::blocked()),
            Policy::StepUp if !interactive => {
                let policies = [self.directory.tenant.as_str()];
                let claims = json!({ "access_token": {
                    "capolids": { "essential": true, "values": policies },
                }});
                Err(refusals::step_up(&asked.resource).claims(claims.to_string()))
            }
            Policy::Consent if !interactive => {
                Err(refusals::no_consent(&self.app.client_id, &self.app.name))
            }
            Policy::Open | Policy::StepUp | Policy::Consent | Policy::Foreign => Ok(()),
        }
    }

    fn answer(&self, user: Option<(&User, &Grant)>, asked: &Asked) -> Value {
        let issue = self.issue(user.map(|(user, _)| user));
        let mut claims = issue.access_token(asked);
        if let Some((_, grant)) = user
            && !grant.contexts.is_empty()
        {
            claims["acrs"] = json!(grant.contexts);
        }
        json!({
            "token_type": if asked.confirmation.is_some() { "pop" } else { "Bearer" },
            "expires_in": issue.lifetime,
            "ext_expires_in": issue.lifetime,
            "access_token": self.state.keys.sign(&claims),
        })
    }

    fn issue<'a>(&'a self, user: Option<&'a User>) -> Issue<'a> {
        Issue {
            tenant: &self.directory.tenant,
            authority: self.state.url(),
            app: self.app,
            user,
            proof: self.proof,
            now: self.now,
            lifetime: self
                .state
                .faults
                .now()
                .access_token_seconds
                .unwrap_or(ACCESS_TOKEN_SECONDS),
        }
    }

    fn required(&self, name: &str) -> Result<&str, Aadsts> {
        self.form.get(name).ok_or_else(|| refusals::missing(name))
    }
}
