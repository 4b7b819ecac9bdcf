//! Asking again while a fault passes.
//!
//! Only for requests that may be sent twice. Pauses grow and are drawn from their whole range
//! (full jitter), so that many clients do not come back together; a pause that the service names
//! is kept to. All tries share one limit of time, and no try is silent: each is in the log, and
//! as a warning once a person has begun to wait.

use std::fmt;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode, header};
use tokio::time::{Instant, sleep};

/// How often is asked at most.
const TRIES: u32 = 5;
/// The longest first pause; each one after it may be twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// No pause reaches beyond this time since the first try.
const LIMIT: Duration = Duration::from_secs(30);
/// A wait of this length is noticed.
const NOTICED: Duration = Duration::from_secs(2);

/// How often was asked, and for how long. Reads as an addition to a sentence: nothing for a
/// single try, else ` (tried 5 times in 4 s)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tried {
    /// How often.
    pub times: u32,
    /// From the first try's beginning to the last one's end.
    pub took: Duration,
}

/// What to make of an outcome.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Asking again would not change it.
    Final,
    /// It may pass.
    Passing {
        /// What went wrong, for the log.
        why: String,
        /// The pause that the service asks for.
        after: Option<Duration>,
    },
}

/// Calls `once` until `judge` takes an outcome for final or there have been enough tries.
///
/// Cancel safe: dropping the future ends the try or the pause that it is in.
pub(super) async fn patiently<O, F: Future<Output = O>>(
    mut once: impl FnMut() -> F,
    judge: impl Fn(&O) -> Verdict,
) -> (O, Tried) {
    let started = Instant::now();
    let mut times = 0;
    loop {
        let outcome = once().await;
        times += 1;
        let took = started.elapsed();
        let Verdict::Passing { why, after } = judge(&outcome) else {
            return (outcome, Tried { times, took });
        };
        let pause = after.unwrap_or_else(|| longest_pause(times).mul_f64(fastrand::f64()));
        let resumed = took.saturating_add(pause);
        if times == TRIES || resumed > LIMIT {
            return (outcome, Tried { times, took });
        }
        let seconds = pause.as_secs_f32();
        if resumed < NOTICED {
            tracing::info!(seconds, "{why}; trying again");
        } else {
            tracing::warn!(seconds, "{why}; trying again");
        }
        sleep(pause).await;
    }
}

/// The longest pause after `times` tries.
fn longest_pause(times: u32) -> Duration {
    FIRST_PAUSE * 2_u32.pow(times - 1)
}

/// Whether a status tells of a fault that may pass.
pub(crate) fn may_pass(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::INTERNAL_SERVER_ERROR
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}

/// The pause that a `Retry-After` header asks for, in seconds or until a date. A date is held
/// against the answer's own `Date`, since this machine's clock may be wrong.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok().map(str::trim);
    let asked = text(header::RETRY_AFTER)?;
    if let Ok(seconds) = asked.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = httpdate::parse_http_date(asked).ok()?;
    let now = text(header::DATE)
        .and_then(|date| httpdate::parse_http_date(date).ok())
        .unwrap_or_else(SystemTime::now);
    Some(until.duration_since(now).unwrap_or_default())
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { times, took } = self;
        if *times < 2 {
            return Ok(());
        }
        write!(f, " (tried {times} times in {:.1} s)", took.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use http::HeaderValue;

    use super::*;

    /// Fails `failures` times, each after `each`, asking to wait `after`.
    async fn ask(failures: u32, each: Duration, after: Option<Duration>) -> (bool, Tried) {
        let asked = Cell::new(0);
        let once = || async {
            sleep(each).await;
            asked.set(asked.get() + 1);
            asked.get() > failures
        };
        patiently(once, |good| {
            if *good {
                return Verdict::Final;
            }
            let why = "it failed".to_owned();
            Verdict::Passing { why, after }
        })
        .await
    }

    #[tokio::test(start_paused = true)]
    async fn what_passes_is_waited_for_in_growing_pauses() {
        let (good, tried) = ask(3, Duration::ZERO, None).await;
        assert!(good);
        assert_eq!(tried.times, 4);
        let longest = FIRST_PAUSE * (1 + 2 + 4);
        // Timers are whole milliseconds, rounded up.
        assert!(tried.took <= longest + Duration::from_millis(3), "{tried}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_stays_is_told_with_the_tries() {
        let (good, tried) = ask(u32::MAX, Duration::from_millis(10), None).await;
        assert!(!good);
        assert_eq!(tried.times, TRIES);
        assert!(tried.to_string().starts_with(" (tried 5 times in "));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_final_is_asked_once() {
        let (good, tried) = ask(0, Duration::ZERO, None).await;
        assert!(good);
        assert_eq!((tried.times, tried.to_string()), (1, String::new()));
    }

    #[tokio::test(start_paused = true)]
    async fn the_services_own_pause_is_kept_to() {
        let (good, tried) = ask(2, Duration::ZERO, Some(Duration::from_secs(7))).await;
        assert!(good);
        assert_eq!(tried.took.as_secs(), 14);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_waited_for_beyond_the_limit() {
        let (_, tried) = ask(1, Duration::ZERO, Some(Duration::from_mins(10))).await;
        assert_eq!((tried.times, tried.took), (1, Duration::ZERO));
        let (_, tried) = ask(u32::MAX, Duration::ZERO, Some(Duration::from_secs(12))).await;
        assert_eq!((tried.times, tried.took.as_secs()), (3, 24));
        let (_, tried) = ask(u32::MAX, Duration::from_secs(20), None).await;
        assert_eq!(tried.times, 2);
    }

    #[test]
    fn pauses_come_in_seconds_or_as_a_date_by_the_services_clock() {
        let asked = |after: &'static str, date: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(after));
            if let Some(date) = date {
                headers.insert(header::DATE, HeaderValue::from_static(date));
            }
            retry_after(&headers)
        };
        let date = Some("Wed, 21 Oct 2015 07:28:00 GMT");
        let (later, earlier) = (
            "Wed, 21 Oct 2015 07:28:07 GMT",
            "Wed, 21 Oct 2015 07:27:00 GMT",
        );
        assert_eq!(asked(" 7 ", None), Some(Duration::from_secs(7)));
        assert_eq!(asked(later, date), Some(Duration::from_secs(7)));
        assert_eq!(asked(earlier, date), Some(Duration::ZERO));
        assert_eq!(asked(later, None), Some(Duration::ZERO));
        assert_eq!(asked("soon", date), None);
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }

    #[test]
    fn refusals_do_not_pass() {
        for status in [429, 500, 502, 503, 504] {
            assert!(may_pass(StatusCode::from_u16(status).expect("a status")));
        }
        for status in [200, 400, 401, 403, 404, 409, 501] {
            assert!(!may_pass(StatusCode::from_u16(status).expect("a status")));
        }
    }
}
