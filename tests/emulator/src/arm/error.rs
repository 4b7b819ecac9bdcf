//! ARM's refusals: a code, a message, and the status they come with.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use http::{Response, StatusCode, header};
use serde_json::json;

use crate::faults::Refusal;
use crate::http::Body;
use crate::request::{header_value, timestamp};

/// One refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ArmError {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    message: String,
    challenge: Option<&'static str>,
    /// What the next token has to show, JSON.
    claims: Option<String>,
    retry_after: Option<u64>,
}

impl ArmError {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            challenge: None,
            claims: None,
            retry_after: None,
        }
    }

    /// The answer; `authority` and `tenant` are where a caller without a good token gets one.
    pub(super) fn response(&self, authority: &str, tenant: &str) -> Response<Body> {
        let body = json!({ "error": { "code": self.code, "message": self.message } });
        let mut response = crate::http::json(self.status, &body);
        let headers = response.headers_mut();
        if let Some(reason) = self.challenge {
            let kind = match self.claims {
                Some(_) => "insufficient_claims",
                None => "invalid_token",
            };
            let mut challenge = format!(
                "Bearer authorization_uri=\"{authority}/{tenant}\", error=\"{kind}\", \
                 error_description=\"{reason}\""
            );
            if let Some(claims) = &self.claims {
                let encoded = BASE64_STANDARD.encode(claims);
                challenge.extend([", claims=\"", &encoded, "\""]);
            }
            headers.insert(header::WWW_AUTHENTICATE, header_value(&challenge));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        headers.insert("x-ms-failure-cause", header_value("gateway"));
        response
    }
}

fn unauthorized(code: &'static str, reason: &'static str, message: impl Into<String>) -> ArmError {
    ArmError {
        challenge: Some(reason),
        ..ArmError::new(StatusCode::UNAUTHORIZED, code, message)
    }
}

pub(super) fn no_token() -> ArmError {
    unauthorized(
        "AuthenticationFailed",
        "The authentication failed because of missing 'Authorization' header.",
        "Authentication failed. The 'Authorization' header is missing.",
    )
}

pub(super) fn not_bearer() -> ArmError {
    unauthorized(
        "AuthenticationFailedInvalidHeader",
        "The authentication header is in an invalid format.",
        "Authentication failed. The 'Authorization' header is provided in an invalid format.",
    )
}

pub(super) fn invalid_token() -> ArmError {
    unauthorized(
        "InvalidAuthenticationToken",
        "Could not validate the access token.",
        "The access token is invalid.",
    )
}

pub(super) fn wrong_audience(audience: &str, known: &[String]) -> ArmError {
    unauthorized(
        "InvalidAuthenticationTokenAudience",
        "The access token has been obtained for wrong audience.",
        format!(
            "The access token has been obtained for wrong audience or resource '{audience}'. It \
             should exactly match with one of the allowed audiences '{}'.",
            known.join("','"),
        ),
    )
}

pub(super) fn wrong_issuer(issuer: &str, expected: &str) -> ArmError {
    unauthorized(
        "InvalidAuthenticationTokenTenant",
        "The access token is from the wrong issuer.",
        format!(
            "The access token is from the wrong issuer '{issuer}'. It must match one of the \
             tenants '{expected}' associated with this subscription."
        ),
    )
}

pub(super) fn expired_token(expiry: u64, now: u64) -> ArmError {
    unauthorized(
        "ExpiredAuthenticationToken",
        "The access token has expired.",
        format!(
            "The access token expiry UTC time '{}' is earlier than current UTC time '{}'.",
            timestamp(expiry),
            timestamp(now),
        ),
    )
}

pub(super) fn insufficient_claims(context: &str) -> ArmError {
    let claims = json!({ "access_token": { "acrs": { "essential": true, "value": context } } });
    ArmError {
        claims: Some(claims.to_string()),
        ..unauthorized(
            "InvalidAuthenticationToken",
            "The access token has insufficient claims.",
            format!(
                "The access token does not show the authentication context '{context}' that a \
                 conditional access policy requires."
            ),
        )
    }
}

pub(super) fn authorization_failed(
    client: &str,
    object_id: &str,
    action: &str,
    scope: &str,
) -> ArmError {
    ArmError::new(
        StatusCode::FORBIDDEN,
        "AuthorizationFailed",
        format!(
            "The client '{client}' with object id '{object_id}' does not have authorization to \
             perform action '{action}' over scope '{scope}' or the scope is invalid. If access was \
             recently granted, please refresh your credentials."
        ),
    )
}

pub(super) fn missing_api_version() -> ArmError {
    ArmError::new(
        StatusCode::BAD_REQUEST,
        "MissingApiVersionParameter",
        "The api-version query parameter (?api-version=) is required for all requests.",
    )
}

pub(super) fn invalid_api_version(version: &str, known: &[&str]) -> ArmError {
    ArmError::new(
        StatusCode::BAD_REQUEST,
        "InvalidApiVersionParameter",
        format!(
            "The api-version '{version}' is invalid. The supported versions are '{}'.",
            known.join(","),
        ),
    )
}

pub(super) fn unsupported_api_version(version: &str, known: &[&str]) -> ArmError {
    ArmError::new(
        StatusCode::BAD_REQUEST,
        "NoRegisteredProviderFound",
        format!(
            "No registered resource provider found for location '' and API version '{version}' for \
             type 'connectedClusters'. The supported api-versions are '{}'.",
            known.join(", "),
        ),
    )
}

pub(super) fn subscription_not_found(subscription: &str) -> ArmError {
    ArmError::new(
        StatusCode::NOT_FOUND,
        "SubscriptionNotFound",
        format!("The subscription '{subscription}' could not be found."),
    )
}

pub(super) fn invalid_subscription(subscription: &str) -> ArmError {
    ArmError::new(
        StatusCode::BAD_REQUEST,
        "InvalidSubscriptionId",
        format!("The provided subscription identifier '{subscription}' is malformed or invalid."),
    )
}

pub(super) fn group_not_found(group: &str) -> ArmError {
    ArmError::new(
        StatusCode::NOT_FOUND,
        "ResourceGroupNotFound",
        format!("Resource group '{group}' could not be found."),
    )
}

pub(super) fn resource_not_found(name: &str, group: &str) -> ArmError {
    ArmError::new(
        StatusCode::NOT_FOUND,
        "ResourceNotFound",
        format!(
            "The Resource 'Microsoft.Kubernetes/connectedClusters/{name}' under resource group \
             '{group}' was not found. For more details please go to \
             https://aka.ms/ARMResourceNotFoundFix"
        ),
    )
}

pub(super) fn no_such_path(path: &str) -> ArmError {
    ArmError::new(
        StatusCode::NOT_FOUND,
        "InvalidResourceType",
        format!("The resource type could not be found for the request path '{path}'."),
    )
}

pub(super) fn method_not_allowed(method: &http::Method) -> ArmError {
    ArmError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "MethodNotAllowed",
        format!("The HTTP method '{method}' is not supported for this resource."),
    )
}

pub(super) fn invalid_content(what: &str) -> ArmError {
    ArmError::new(
        StatusCode::BAD_REQUEST,
        "InvalidRequestContent",
        format!("The request content was invalid and could not be deserialized: '{what}'."),
    )
}

pub(super) fn invalid_skip_token() -> ArmError {
    ArmError::new(
        StatusCode::BAD_REQUEST,
        "InvalidSkipToken",
        "The provided skip token is invalid.",
    )
}

/// The refusal that a fault asks for.
pub(super) fn fault(refusal: Refusal) -> ArmError {
    let (code, message) = match refusal.status {
        StatusCode::TOO_MANY_REQUESTS => (
            "TooManyRequests",
            "The request is being throttled as the limit has been reached for operation type.",
        ),
        StatusCode::SERVICE_UNAVAILABLE => (
            "ServiceUnavailable",
            "The service is temporarily unavailable. Please retry after some time.",
        ),
        StatusCode::GATEWAY_TIMEOUT => (
            "GatewayTimeout",
            "The gateway did not receive a response from 'Microsoft.Kubernetes' within the \
             specified time period.",
        ),
        _ => (
            "InternalServerError",
            "Encountered internal server error. Please retry the request.",
        ),
    };
    ArmError {
        retry_after: refusal.retry_after_seconds,
        ..ArmError::new(refusal.status, code, message)
    }
}
