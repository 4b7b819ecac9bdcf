//! The catalogue of Entra's refusals, worded as Entra words them.

use super::error::Aadsts;
use crate::request::timestamp;

pub(super) fn missing(parameter: &str) -> Aadsts {
    Aadsts::new(
        900_144,
        "invalid_request",
        format!("The request body must contain the following parameter: '{parameter}'."),
    )
}

pub(super) fn malformed() -> Aadsts {
    Aadsts::new(
        9_002_313,
        "invalid_request",
        "Invalid request. Request is malformed or invalid.",
    )
}

pub(super) fn malformed_grant() -> Aadsts {
    Aadsts::new(
        9_002_313,
        "invalid_grant",
        "Invalid request. Request is malformed or invalid.",
    )
}

pub(super) fn only_post(method: &http::Method) -> Aadsts {
    Aadsts::new(
        900_561,
        "invalid_request",
        format!("The endpoint only accepts POST requests. Received a {method} request."),
    )
}

pub(super) fn unknown_tenant(tenant: &str) -> Aadsts {
    Aadsts::new(
        90_002,
        "invalid_request",
        format!(
            "Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID and are \
             signing into the correct cloud. Check with your subscription administrator, this may \
             happen if there are no active subscriptions for the tenant."
        ),
    )
}

pub(super) fn no_tenant() -> Aadsts {
    Aadsts::new(
        50_059,
        "invalid_request",
        "No tenant-identifying information found in either the request or implied by any provided \
         credentials.",
    )
}

pub(super) fn unknown_app(client_id: &str, tenant: &str) -> Aadsts {
    Aadsts::new(
        700_016,
        "unauthorized_client",
        format!(
            "Application with identifier '{client_id}' was not found in the directory '{tenant}'. \
             This can happen if the application has not been installed by the administrator of the \
             tenant or consented to by any user in the tenant. You may have sent your \
             authentication request to the wrong tenant."
        ),
    )
}

pub(super) fn unknown_resource(resource: &str, tenant: &str) -> Aadsts {
    Aadsts::new(
        500_011,
        "invalid_resource",
        format!(
            "The resource principal named {resource} was not found in the tenant named {tenant}. \
             This can happen if the application has not been installed by the administrator of the \
             tenant or consented to by any user in the tenant. You might have sent your \
             authentication request to the wrong tenant."
        ),
    )
}

pub(super) fn several_resources(scope: &str) -> Aadsts {
    Aadsts::new(
        28_000,
        "invalid_scope",
        format!(
            "Provided value for the input parameter scope is not valid because it contains more \
             than one resource. Scope {scope} is not valid."
        ),
    )
}

pub(super) fn not_default_scope(scope: &str) -> Aadsts {
    Aadsts::new(
        1_002_012,
        "invalid_scope",
        format!(
            "The provided value for scope {scope} is not valid. Client credential flows must have \
             a scope value with /.default suffixed to the resource identifier (application ID URI)."
        ),
    )
}

pub(super) fn unsupported_grant(grant: &str) -> Aadsts {
    Aadsts::new(
        70_003,
        "unsupported_grant_type",
        format!("The app requested an unsupported grant type '{grant}'."),
    )
}

pub(super) fn wrong_secret(client_id: &str) -> Aadsts {
    Aadsts::new(
        7_000_215,
        "invalid_client",
        format!(
            "Invalid client secret provided. Ensure the secret being sent in the request is the \
             client secret value, not the client secret ID, for a secret added to app \
             '{client_id}'."
        ),
    )
}

pub(super) fn expired_secret(client_id: &str) -> Aadsts {
    Aadsts::new(
        7_000_222,
        "invalid_client",
        format!(
            "The provided client secret keys for app '{client_id}' are expired. Visit the Azure \
             portal to create new keys for your app: https://aka.ms/NewClientSecret, or consider \
             using certificate credentials for added security: https://aka.ms/certCreds."
        ),
    )
}

pub(super) fn no_client_credential() -> Aadsts {
    Aadsts::new(
        7_000_218,
        "invalid_client",
        "The request body must contain the following parameter: 'client_assertion' or \
         'client_secret'.",
    )
}

pub(super) fn public_client() -> Aadsts {
    Aadsts::new(
        700_025,
        "invalid_client",
        "Client is public so neither 'client_assertion' nor 'client_secret' should be presented.",
    )
}

pub(super) fn not_an_assertion() -> Aadsts {
    Aadsts::new(
        50_027,
        "invalid_request",
        "JWT token is invalid or malformed.",
    )
}

pub(super) fn unregistered_certificate(client_id: &str, thumbprint: &str) -> Aadsts {
    Aadsts::new(
        700_027,
        "invalid_client",
        format!(
            "The certificate with identifier used to sign the client assertion is not registered \
             on application. [Reason - The key was not found., Thumbprint of key used by client: \
             '{thumbprint}', Please visit the Azure Portal, Graph Explorer or directly use MS \
             Graph to see configured keys for app Id '{client_id}'.]"
        ),
    )
}

pub(super) fn bad_signature(thumbprint: &str) -> Aadsts {
    Aadsts::new(
        700_027,
        "invalid_client",
        format!(
            "Client assertion contains an invalid signature. [Reason - The provided signature \
             value did not match the expected signature value., Thumbprint of key used by client: \
             '{thumbprint}'.]"
        ),
    )
}

pub(super) fn assertion_not_in_time(now: u64, from: u64, until: u64) -> Aadsts {
    Aadsts::new(
        700_024,
        "invalid_client",
        format!(
            "Client assertion is not within its valid time range. Current time: {}, assertion \
             valid from {}, expiry time of assertion {}. Review the documentation at \
             https://learn.microsoft.com/entra/identity-platform/certificate-credentials .",
            timestamp(now),
            timestamp(from),
            timestamp(until),
        ),
    )
}

pub(super) fn assertion_without_expiry() -> Aadsts {
    Aadsts::new(
        700_023,
        "invalid_client",
        "Client assertion is invalid: the required claim 'exp' is missing.",
    )
}

pub(super) fn wrong_assertion_audience(audience: &str, expected: &str) -> Aadsts {
    Aadsts::new(
        700_023,
        "invalid_client",
        format!(
            "Client assertion audience claim does not match Realm issuer. The audience is \
             '{audience}', expected '{expected}'. Review the documentation at \
             https://learn.microsoft.com/entra/identity-platform/certificate-credentials ."
        ),
    )
}

pub(super) fn wrong_assertion_issuer() -> Aadsts {
    Aadsts::new(
        700_021,
        "invalid_client",
        "Client assertion application identifier doesn't match 'client_id' parameter. Review the \
         documentation at \
         https://learn.microsoft.com/entra/identity-platform/certificate-credentials .",
    )
}

pub(super) fn no_federated_identity(what: &'static str, value: &str) -> Aadsts {
    let number = match what {
        "issuer" => 700_211,
        "audience" => 700_212,
        _ => 700_213,
    };
    Aadsts::new(
        number,
        "invalid_client",
        format!(
            "No matching federated identity record found for presented assertion {what} \
             '{value}'. Check your federated identity credential Subject, Audience and Issuer \
             against the presented assertion. \
             https://learn.microsoft.com/entra/workload-id/workload-identity-federation"
        ),
    )
}

pub(super) fn refresh_token_expired(issued: u64) -> Aadsts {
    Aadsts::new(
        70_043,
        "invalid_grant",
        format!(
            "The refresh token has expired or is invalid due to sign-in frequency checks by \
             conditional access. The token was issued on {} and the maximum allowed lifetime for \
             this request is 3600.",
            timestamp(issued),
        ),
    )
    .suberror("token_expired")
}

pub(super) fn grant_revoked(issued: u64, valid_from: u64) -> Aadsts {
    Aadsts::new(
        50_173,
        "invalid_grant",
        format!(
            "The provided grant has expired due to it being revoked, a fresh auth token is needed. \
             The user might have changed or reset their password. The grant was issued on '{}' and \
             the TokensValidFrom date (before which tokens are not valid) for this user is '{}'.",
            timestamp(issued),
            timestamp(valid_from),
        ),
    )
    .suberror("bad_token")
}

pub(super) fn code_redeemed() -> Aadsts {
    Aadsts::new(
        54_005,
        "invalid_grant",
        "OAuth2 Authorization code was already redeemed, please retry with a new valid code or use \
         an existing refresh token.",
    )
}

pub(super) fn code_expired() -> Aadsts {
    Aadsts::new(
        70_008,
        "invalid_grant",
        "The provided authorization code or refresh token has expired due to inactivity. Send a \
         new interactive authorization request for this user and resource.",
    )
}

pub(super) fn code_of_another(what: &str) -> Aadsts {
    Aadsts::new(
        70_000,
        "invalid_grant",
        format!(
            "Provided grant is invalid or malformed. The {what} of the request does not match the \
             one that the code was issued for."
        ),
    )
}

pub(super) fn wrong_verifier() -> Aadsts {
    Aadsts::new(
        501_481,
        "invalid_grant",
        "The Code_Verifier does not match the code_challenge supplied in the authorization request.",
    )
}

pub(super) fn unknown_redirect(redirect: &str, client_id: &str) -> Aadsts {
    Aadsts::new(
        50_011,
        "invalid_request",
        format!(
            "The redirect URI '{redirect}' specified in the request does not match the redirect \
             URIs configured for the application '{client_id}'. Make sure the redirect URI sent in \
             the request matches one added to your application in the Azure portal."
        ),
    )
}

pub(super) fn no_session() -> Aadsts {
    Aadsts::new(
        50_058,
        "login_required",
        "A silent sign-in request was sent but no user is signed in.",
    )
}

pub(super) fn declined() -> Aadsts {
    Aadsts::new(
        65_004,
        "access_denied",
        "User declined to consent to access the app.",
    )
}

pub(super) fn pending() -> Aadsts {
    Aadsts::new(
        70_016,
        "authorization_pending",
        "OAuth 2.0 device flow error. Authorization is pending. Continue polling.",
    )
}

pub(super) fn slow_down() -> Aadsts {
    Aadsts::new(
        70_016,
        "slow_down",
        "OAuth 2.0 device flow error. The client polls faster than the interval that it was given.",
    )
}

pub(super) fn device_declined() -> Aadsts {
    Aadsts::new(
        70_018,
        "authorization_declined",
        "The end user declined the authorization request.",
    )
}

pub(super) fn device_expired() -> Aadsts {
    Aadsts::new(
        70_020,
        "expired_token",
        "The provided value for the input parameter 'device_code' is not valid. This device code \
         has expired.",
    )
}

pub(super) fn unknown_device_code() -> Aadsts {
    Aadsts::new(
        70_019,
        "bad_verification_code",
        "The provided value for the input parameter 'device_code' is not valid.",
    )
}

pub(super) fn step_up(resource: &str) -> Aadsts {
    Aadsts::new(
        50_076,
        "interaction_required",
        format!(
            "Due to a configuration change made by your administrator, or because you moved to a \
             new location, you must use multi-factor authentication to access '{resource}'."
        ),
    )
    .suberror("basic_action")
}

pub(super) fn blocked() -> Aadsts {
    Aadsts::new(
        53_003,
        "interaction_required",
        "Access has been blocked by Conditional Access policies. The access policy does not allow \
         token issuance.",
    )
    .suberror("message_only")
}

pub(super) fn foreign(client_id: &str, name: &str, tenant: &str) -> Aadsts {
    Aadsts::new(
        50_020,
        "invalid_grant",
        format!(
            "User account '{{EmailHidden}}' from identity provider 'https://sts.windows.net/' does \
             not exist in tenant '{tenant}' and cannot access the application \
             '{client_id}'({name}) in that tenant. The account needs to be added as an external \
             user in the tenant first. Sign out and sign in again with a different Azure Active \
             Directory user account."
        ),
    )
}

pub(super) fn no_consent(client_id: &str, name: &str) -> Aadsts {
    Aadsts::new(
        65_001,
        "invalid_grant",
        format!(
            "The user or administrator has not consented to use the application with ID \
             '{client_id}' named '{name}'. Send an interactive authorization request for this user \
             and resource."
        ),
    )
    .suberror("consent_required")
}
