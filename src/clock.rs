//! The time as the cloud sees it.
//!
//! Tokens are judged by the server's clock, not by the laptop's. The offset between the two is
//! read from the `Date` header of Entra's and ARM's answers; it counts only beyond the second or
//! two that the header's resolution and the answer's way account for.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use http::{HeaderMap, header};

/// Offsets up to this many seconds are taken for the header's own inexactness.
const INEXACT_SECONDS: i64 = 2;

/// A clock that follows the server's time.
#[derive(Debug, Clone)]
pub struct Clock {
    fixed: Option<u64>,
    offset: Arc<AtomicI64>,
}

impl Clock {
    /// The machine's clock, offset by what [`Clock::learn`] finds.
    pub fn system() -> Self {
        Self {
            fixed: None,
            offset: Arc::default(),
        }
    }

    /// A clock that stands still at `unix` seconds, for tests.
    pub fn fixed(unix: u64) -> Self {
        Self {
            fixed: Some(unix),
            offset: Arc::default(),
        }
    }

    /// The server's time, whole seconds since 1970.
    pub fn now(&self) -> u64 {
        self.machine().saturating_add_signed(self.offset())
    }

    /// How far the server's clock is ahead of the machine's, seconds.
    pub fn offset(&self) -> i64 {
        self.offset.load(Ordering::Relaxed)
    }

    /// Takes the offset from an answer's `Date`. Answers without one change nothing.
    pub fn learn(&self, headers: &HeaderMap) {
        let Some(date) = headers
            .get(header::DATE)
            .and_then(|value| value.to_str().ok())
            .and_then(|text| httpdate::parse_http_date(text).ok())
        else {
            return;
        };
        let offset = i64::try_from(unix(date))
            .unwrap_or(i64::MAX)
            .saturating_sub_unsigned(self.machine());
        let offset = if offset.abs() <= INEXACT_SECONDS {
            0
        } else {
            offset
        };
        if self.offset.swap(offset, Ordering::Relaxed) != offset {
            tracing::debug!(
                seconds = offset,
                "the server's clock differs from this machine's"
            );
        }
    }

    fn machine(&self) -> u64 {
        self.fixed.unwrap_or_else(|| unix(SystemTime::now()))
    }
}

fn unix(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn dated(unix: u64) -> HeaderMap {
        let date = httpdate::fmt_http_date(UNIX_EPOCH + std::time::Duration::from_secs(unix));
        let value = HeaderValue::from_str(&date).expect("a date is a header value");
        HeaderMap::from_iter([(header::DATE, value)])
    }

    #[test]
    fn follows_the_server_and_ignores_the_headers_inexactness() {
        let clock = Clock::fixed(1_790_000_000);
        clock.learn(&dated(1_790_000_001));
        assert_eq!(clock.now(), 1_790_000_000);
        clock.learn(&dated(1_790_003_600));
        assert_eq!((clock.now(), clock.offset()), (1_790_003_600, 3600));
        clock.learn(&dated(1_789_999_000));
        assert_eq!(clock.now(), 1_789_999_000);
    }

    #[test]
    fn an_answer_without_a_date_changes_nothing() {
        let clock = Clock::fixed(1_790_000_000);
        clock.learn(&HeaderMap::new());
        clock.learn(&HeaderMap::from_iter([(
            header::DATE,
            HeaderValue::from_static("soon"),
        )]));
        assert_eq!(clock.now(), 1_790_000_000);
    }
}
