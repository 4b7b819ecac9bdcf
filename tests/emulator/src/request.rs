//! Reading requests: their fields, their bodies, and the ids that follow them.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;

/// No request to Entra, ARM or the control endpoint is larger than this.
const BODY_LIMIT: usize = 1 << 20;

/// The fields of a query or a form, in their order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fields(Vec<(String, String)>);

impl Fields {
    /// Reads form-encoded fields.
    pub(crate) fn parse(encoded: &[u8]) -> Self {
        Self(url::form_urlencoded::parse(encoded).into_owned().collect())
    }

    /// The first non-empty value of `name`, whose case does not matter.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, value)| key.eq_ignore_ascii_case(name) && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }

    /// Every field.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

/// A body whole, unless it is too long or breaks off.
pub(crate) async fn read_body(body: Incoming) -> Option<Bytes> {
    let whole = Limited::new(body, BODY_LIMIT).collect().await.ok()?;
    Some(whole.to_bytes())
}

/// A header's value as text.
pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Makes a header value of text that is known to fit.
pub(crate) fn header_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("invalid"))
}

/// The `Date` header of a cloud whose clock says `now`, seconds since 1970.
pub(crate) fn date(now: u64) -> HeaderValue {
    // HTTP's years have four digits.
    const LAST: u64 = 253_402_300_799;
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(now.min(LAST));
    header_value(&httpdate::fmt_http_date(time))
}

/// `now`, seconds since 1970, as Microsoft's services print it, such as `2026-01-31 08:15:00Z`.
pub(crate) fn timestamp(now: u64) -> String {
    formatted(now, "%Y-%m-%d %H:%M:%SZ")
}

/// `now`, seconds since 1970, in RFC 3339.
pub(crate) fn rfc3339(now: u64) -> String {
    formatted(now, "%Y-%m-%dT%H:%M:%SZ")
}

fn formatted(now: u64, format: &str) -> String {
    i64::try_from(now)
        .ok()
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
        .map(|time| time.strftime(format).to_string())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_whatever_their_case_and_empty_ones_count_as_missing() {
        let fields = Fields::parse(b"Api-Version=2024-01-01&scope=&a=b%20c+d");
        assert_eq!(fields.get("api-version"), Some("2024-01-01"));
        assert_eq!(fields.get("scope"), None);
        assert_eq!(fields.get("a"), Some("b c d"));
    }

    #[test]
    fn times_read_as_the_services_write_them() {
        assert_eq!(timestamp(1_790_000_000), "2026-09-21 14:13:20Z");
        assert_eq!(rfc3339(1_790_000_000), "2026-09-21T14:13:20Z");
        assert_eq!(date(1_790_000_000), "Mon, 21 Sep 2026 14:13:20 GMT");
    }
}
