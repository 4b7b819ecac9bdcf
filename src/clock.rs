//! The time as the cloud sees it.
//!
//! Tokens are judged by the server's clock, not by the laptop's. The offset between the two is
//! read from the `Date` header of Entra's and ARM's answers; it counts only beyond the second or
//! two that the header's resolution and the answer's way account for.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, header};

/// Offsets up to this many seconds are taken for the header's own inexactness.
const INEXACT_SECONDS: i64 = 2;

/// How far the time of day may be from where it should be by the time that timers go by.
const JUMP: Duration = Duration::from_secs(5);

/// A clock that follows the server's time.
#[derive(Debug, Clone)]
pub struct Clock {
    fixed: Option<u64>,
    offset: Arc<AtomicI64>,
    /// When the offset was learnt.
    learnt: Arc<Mutex<Walls>>,
}

impl Clock {
    /// The machine's clock, offset by what [`Clock::learn`] finds.
    pub fn system() -> Self {
        Self {
            fixed: None,
            offset: Arc::default(),
            learnt: Arc::new(Mutex::new(Walls::now())),
        }
    }

    /// A clock that stands still at `unix` seconds, for tests.
    pub fn fixed(unix: u64) -> Self {
        Self {
            fixed: Some(unix),
            offset: Arc::default(),
            learnt: Arc::new(Mutex::new(Walls::now())),
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
        *lock(&self.learnt) = Walls::now();
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

    /// Whether the machine's clock has jumped since the offset was learnt, which may be wrong now.
    pub fn has_jumped(&self) -> bool {
        Walls::now().have_jumped_since(*lock(&self.learnt))
    }

    fn machine(&self) -> u64 {
        self.fixed.unwrap_or_else(|| unix(SystemTime::now()))
    }
}

/// How far the time of day is ahead of the time that timers go by, which stands still while the
/// machine sleeps. It stays the same but for a sleep, or when somebody sets the clock.
#[derive(Debug, Clone, Copy)]
pub struct Walls {
    steady: Instant,
    wall: SystemTime,
}

impl Walls {
    /// As it is now.
    pub fn now() -> Self {
        Self {
            steady: Instant::now(),
            wall: SystemTime::now(),
        }
    }

    /// Whether the time of day went on by more or less than time did since `before`.
    pub fn have_jumped_since(&self, before: Self) -> bool {
        let expected = before.wall + (self.steady - before.steady);
        let apart = match expected.duration_since(self.wall) {
            Ok(behind) => behind,
            Err(ahead) => ahead.duration(),
        };
        apart > JUMP
    }

    /// With a time of day that is so far behind.
    #[cfg(test)]
    #[must_use]
    pub fn behind(self, time: Duration) -> Self {
        Self {
            wall: self.wall - time,
            ..self
        }
    }
}

fn lock(walls: &Mutex<Walls>) -> MutexGuard<'_, Walls> {
    walls.lock().unwrap_or_else(PoisonError::into_inner)
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
        let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(unix));
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
    #[test]
    fn a_time_of_day_that_goes_its_own_way_is_noticed() {
        let before = Walls::now();
        let later = |steady: u64, wall: u64| Walls {
            steady: before.steady + Duration::from_secs(steady),
            wall: before.wall + Duration::from_secs(wall),
        };
        assert!(!later(0, 0).have_jumped_since(before));
        assert!(!later(60, 60).have_jumped_since(before));
        assert!(later(0, 8 * 3600).have_jumped_since(before));
        assert!(later(60, 0).have_jumped_since(before));
        assert!(before.have_jumped_since(later(0, 3600)));
    }
}
