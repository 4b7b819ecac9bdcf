//! How the relay says no: a status line whose reason phrase carries the text and what support
//! would need to find the request again.

use http::{Response, StatusCode};
use hyper::ext::ReasonPhrase;
use uuid::Uuid;

use super::address::Malformed;
use super::sas::Denial;
use crate::http::{Body, empty};

/// A refusal and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) text: String,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self {
            status,
            text: text.into(),
        }
    }

    pub(super) fn no_endpoint() -> Self {
        Self::new(StatusCode::NOT_FOUND, "Endpoint does not exist.")
    }

    pub(super) fn no_listener() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "There are no listeners connected for the endpoint.",
        )
    }

    pub(super) fn timeout() -> Self {
        Self::new(
            StatusCode::GATEWAY_TIMEOUT,
            "None of the connected listeners accepted the connection within the allowed timeout.",
        )
    }

    /// A listener refused the sender with a status and a description of its own.
    pub(super) fn by_listener(status: &str, description: &str) -> Self {
        let status = status
            .parse::<StatusCode>()
            .ok()
            .filter(|status| status.is_client_error() || status.is_server_error())
            .unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        Self::new(status, description)
    }

    /// A sender's dial is refused because the faults say so.
    pub(super) fn by_fault(status: u16) -> Self {
        match StatusCode::from_u16(status) {
            Ok(StatusCode::UNAUTHORIZED) => Self::from_denial(&Denial::Signature, ""),
            Ok(StatusCode::FORBIDDEN) => Self::from_denial(&Denial::Audience, ""),
            Ok(StatusCode::NOT_FOUND) => Self::no_listener(),
            Ok(StatusCode::GATEWAY_TIMEOUT) => Self::timeout(),
            Ok(status @ StatusCode::TOO_MANY_REQUESTS) => {
                Self::new(status, "The request rate is too high. Please retry later.")
            }
            Ok(status) => Self::new(status, "The service is unavailable."),
            Err(_) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "The service is unavailable.",
            ),
        }
    }

    pub(super) fn from_denial(denial: &Denial, resource: &str) -> Self {
        let unauthorized = |text: &str| Self::new(StatusCode::UNAUTHORIZED, text);
        match denial {
            Denial::Missing => unauthorized("MissingToken: Relay security token is required."),
            Denial::Malformed => unauthorized("MalformedToken: The token is malformed."),
            Denial::Signature => {
                unauthorized("InvalidSignature: The token has an invalid signature.")
            }
            Denial::Expired(end) => unauthorized(&format!(
                "ExpiredToken: The token is expired. Expiration time: '{}'.",
                utc(*end)
            )),
            Denial::Audience => Self::new(
                StatusCode::FORBIDDEN,
                "InvalidAudience: The authorization header contains a token with a wrong audience.",
            ),
            Denial::Claim(claim) => Self::new(
                StatusCode::FORBIDDEN,
                format!(
                    "Unauthorized access. '{claim}' claim(s) are required to perform this \
                     operation. Resource: '{resource}'."
                ),
            ),
        }
    }

    pub(super) fn from_malformed(malformed: Malformed) -> Self {
        match malformed {
            Malformed::NotAnEndpoint => Self::no_endpoint(),
            Malformed::BadRequest(text) => Self::new(StatusCode::BAD_REQUEST, text),
        }
    }

    /// The answer to the request that `tracking` describes.
    pub(super) fn response(&self, tracking: &Tracking) -> Response<Body> {
        let mut response = Response::new(empty());
        *response.status_mut() = self.status;
        let reason: String = format!("{} {tracking}", self.text)
            .chars()
            .map(|c| if c.is_ascii_graphic() { c } else { ' ' })
            .collect();
        if let Ok(reason) = ReasonPhrase::try_from(reason) {
            response.extensions_mut().insert(reason);
        }
        response
    }
}

/// What names a request in the relay's messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tracking {
    /// The client's own id, if it gave a sane one, and the gateway that served it.
    pub(super) id: String,
    pub(super) resource: String,
    pub(super) time: u64,
}

impl Tracking {
    pub(super) fn new(id: Option<&str>, host: &str, path: &str, time: u64) -> Self {
        let fresh = Uuid::new_v4();
        let gateway = fresh.as_bytes()[0] % 16;
        let id = match id {
            Some(id) if is_sane(id) => id.to_owned(),
            _ => fresh.to_string(),
        };
        let host = host.split(':').next().unwrap_or(host);
        Self {
            id: format!("{id}_G{gateway}"),
            resource: format!("sb://{host}/{path}"),
            time,
        }
    }
}

fn is_sane(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= 64
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

impl std::fmt::Display for Tracking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "TrackingId:{}, SystemTracker:{}, Timestamp:{}",
            self.id,
            self.resource,
            utc(self.time)
        )
    }
}

/// A time as the relay writes it.
fn utc(seconds: u64) -> String {
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
        .unwrap_or(jiff::Timestamp::MAX)
        .strftime("%Y-%m-%dT%H:%M:%S")
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tracking_reads_as_the_relays_own() {
        let tracking = Tracking::new(
            Some("118dae85-3c1e-40ac-823d-8c28cf8f0afe"),
            "contoso.localhost:8443",
            "microsoft.kubernetes/connectedclusters/1/2",
            1_745_492_884,
        );
        let text = tracking.to_string();
        let (id, rest) = text.split_once(", ").unwrap_or_default();
        assert!(id.starts_with("TrackingId:118dae85-3c1e-40ac-823d-8c28cf8f0afe_G"));
        assert_eq!(
            rest,
            "SystemTracker:sb://contoso.localhost/microsoft.kubernetes/connectedclusters/1/2, \
             Timestamp:2025-04-24T11:08:04"
        );
    }

    #[test]
    fn an_insane_id_is_replaced() {
        let tracking = Tracking::new(Some("a b\r\n"), "h", "p", 0);
        assert!(!tracking.id.contains(['\r', '\n', ' ']));
        assert!(tracking.id.len() > 36);
    }

    #[test]
    fn a_reason_never_breaks_the_status_line() {
        let refusal = Refusal::by_listener("503", "no\r\nInjected: yes \u{e9}");
        let response = refusal.response(&Tracking::new(None, "h", "p", 0));
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        let reason = response.extensions().get::<ReasonPhrase>();
        let reason = reason.map(|reason| String::from_utf8_lossy(reason.as_bytes()).into_owned());
        assert!(reason.is_some_and(|reason| reason.starts_with("no  Injected: yes   TrackingId:")));
    }

    #[test]
    fn a_listener_cannot_answer_for_success() {
        assert_eq!(
            Refusal::by_listener("200", "fine").status,
            StatusCode::SERVICE_UNAVAILABLE
        );
        assert_eq!(Refusal::by_listener("410", "gone").status, StatusCode::GONE);
    }
}
