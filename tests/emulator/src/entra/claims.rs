//! The claims of Entra's tokens: access tokens as version 1 writes them, ID tokens as version 2.

use serde_json::{Value, json};

use super::assertion::Proof;
use super::directory::{App, Membership, User};
use super::scope::Asked;
use crate::names::random_hex;

/// The directory role that every user's token lists, as most tenants' do.
const DEFAULT_ROLE: &str = "b79fbf4d-3ef9-4689-8143-76b194e85509";

/// For whom and when a token is made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Issue<'a> {
    pub(super) tenant: &'a str,
    pub(super) authority: &'a str,
    pub(super) app: &'a App,
    pub(super) user: Option<&'a User>,
    pub(super) proof: Proof,
    pub(super) now: u64,
    pub(super) lifetime: u64,
}

impl Issue<'_> {
    /// The claims of an access token.
    pub(super) fn access_token(&self, asked: &Asked) -> Value {
        let mut claims = json!({
            "aud": asked.resource,
            "iss": issuer(self.tenant),
            "iat": self.now,
            "nbf": self.now,
            "exp": self.now.saturating_add(self.lifetime),
            "aio": random_hex::<12>(),
            "appid": self.app.client_id,
            "appidacr": match self.proof {
                Proof::None => "0",
                Proof::Secret => "1",
                Proof::Assertion => "2",
            },
            "idp": issuer(self.tenant),
            "tid": self.tenant,
            "uti": random_hex::<11>(),
            "ver": "1.0",
        });
        let (object_id, membership) = match self.user {
            Some(user) => (&user.object_id, &user.membership),
            None => (&self.app.object_id, &self.app.membership),
        };
        claims["oid"] = object_id.as_str().into();
        if let Some(user) = self.user {
            claims["acr"] = "1".into();
            claims["amr"] = json!(["pwd"]);
            claims["idtyp"] = "user".into();
            claims["name"] = user.name.into();
            claims["scp"] = asked.granted_permission().into();
            claims["sub"] = subject(object_id, &asked.resource).into();
            claims["unique_name"] = user.upn.as_str().into();
            claims["upn"] = user.upn.as_str().into();
            claims["wids"] = json!([DEFAULT_ROLE]);
        } else {
            claims["idtyp"] = "app".into();
            claims["sub"] = object_id.as_str().into();
        }
        add_groups(&mut claims, membership, self.tenant, object_id);
        if let Some(confirmation) = &asked.confirmation {
            claims["cnf"] = confirmation.clone();
        }
        claims
    }

    /// The claims of an ID token for `user`.
    pub(super) fn id_token(&self, user: &User, nonce: Option<&str>) -> Value {
        let mut claims = json!({
            "aud": self.app.client_id,
            "iss": format!("{}/{}/v2.0", self.authority, self.tenant),
            "iat": self.now,
            "nbf": self.now,
            "exp": self.now.saturating_add(self.lifetime),
            "name": user.name,
            "oid": user.object_id,
            "preferred_username": user.upn,
            "sub": subject(&user.object_id, &self.app.client_id),
            "tid": self.tenant,
            "uti": random_hex::<11>(),
            "ver": "2.0",
        });
        if let Some(nonce) = nonce {
            claims["nonce"] = nonce.into();
        }
        claims
    }
}

/// The issuer of access tokens of version 1.
pub(super) fn issuer(tenant: &str) -> String {
    format!("https://sts.windows.net/{tenant}/")
}

/// A user has another subject towards every resource.
fn subject(object_id: &str, resource: &str) -> String {
    let input = format!("{object_id} {resource}");
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, input.as_bytes());
    base64::Engine::encode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, hash)
}

fn add_groups(claims: &mut Value, membership: &Membership, tenant: &str, object_id: &str) {
    match membership {
        Membership::Listed(groups) if groups.is_empty() => {}
        Membership::Listed(groups) => claims["groups"] = json!(groups),
        Membership::Overage => {
            claims["_claim_names"] = json!({ "groups": "src1" });
            claims["_claim_sources"] = json!({ "src1": { "endpoint": format!(
                "https://graph.windows.net/{tenant}/users/{object_id}/getMemberObjects"
            )}});
        }
    }
}
