//! The documents that tell clients where everything is.

use serde_json::{Value, json};

/// The OIDC configuration of `tenant` (an id, a domain, `common` or `organizations`), of which
/// the tokens of `version` are spoken of.
pub(super) fn openid_configuration(authority: &str, tenant: &str, version: &str) -> Value {
    let at = |path: &str| format!("{authority}/{tenant}/{path}");
    let issuer = match (version, tenant) {
        ("v2.0", tenant) => format!("{authority}/{tenant}/v2.0"),
        (_, tenant) => super::claims::issuer(tenant),
    };
    json!({
        "issuer": issuer,
        "authorization_endpoint": at("oauth2/v2.0/authorize"),
        "token_endpoint": at("oauth2/v2.0/token"),
        "device_authorization_endpoint": at("oauth2/v2.0/devicecode"),
        "jwks_uri": at("discovery/v2.0/keys"),
        "end_session_endpoint": at("oauth2/v2.0/logout"),
        "token_endpoint_auth_methods_supported":
            ["client_secret_post", "private_key_jwt"],
        "response_modes_supported": ["query", "fragment", "form_post"],
        "response_types_supported": ["code"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "scopes_supported": ["openid", "profile", "email", "offline_access"],
        "claims_supported": [
            "sub", "iss", "aud", "exp", "iat", "nonce", "preferred_username", "name", "tid", "ver",
        ],
        "request_uri_parameter_supported": false,
        "http_logout_supported": false,
        "tenant_region_scope": "EU",
        "cloud_instance_name": host(authority),
    })
}

/// The answer of instance discovery: that this authority is its own cloud.
pub(super) fn instance(authority: &str, tenant: &str) -> Value {
    let host = host(authority);
    json!({
        "tenant_discovery_endpoint":
            format!("{authority}/{tenant}/v2.0/.well-known/openid-configuration"),
        "api-version": "1.1",
        "metadata": [{
            "preferred_network": host,
            "preferred_cache": host,
            "aliases": [host],
        }],
    })
}

fn host(authority: &str) -> &str {
    authority
        .split_once("://")
        .map_or(authority, |(_, host)| host)
}
