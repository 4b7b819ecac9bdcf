//! Time as the API writes it.

use jiff::Timestamp;

/// `timestamp` as a `metav1.Time`.
pub(super) fn stamp(timestamp: Timestamp) -> String {
    timestamp.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `timestamp` as a `metav1.MicroTime`.
pub(super) fn micro_stamp(timestamp: Timestamp) -> String {
    timestamp.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// Reads a time; what cannot be read is no time.
pub(super) fn parse(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

/// The time from `earlier` to `now` the way kubectl's tables print it: two units at most.
pub(super) fn age(earlier: &str, now: Timestamp) -> String {
    let Some(then) = parse(earlier) else {
        return "<unknown>".to_owned();
    };
    span(now.as_second() - then.as_second())
}

/// `seconds` the way kubectl's tables print durations.
pub(super) fn span(seconds: i64) -> String {
    if seconds < -1 {
        return "<invalid>".to_owned();
    }
    let seconds = seconds.max(0);
    let with = |whole: i64, unit: char, rest: i64, small: char| {
        if rest == 0 {
            format!("{whole}{unit}")
        } else {
            format!("{whole}{unit}{rest}{small}")
        }
    };
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    if seconds < 120 {
        return format!("{seconds}s");
    }
    if minutes < 10 {
        return with(minutes, 'm', seconds % 60, 's');
    }
    if hours < 3 {
        return format!("{minutes}m");
    }
    if hours < 8 {
        return with(hours, 'h', minutes % 60, 'm');
    }
    if hours < 48 {
        return format!("{hours}h");
    }
    if hours < 192 {
        return with(hours / 24, 'd', hours % 24, 'h');
    }
    if hours < 24 * 365 * 2 {
        return format!("{}d", hours / 24);
    }
    if hours < 24 * 365 * 8 {
        return with(hours / 24 / 365, 'y', hours / 24 % 365, 'd');
    }
    format!("{}y", hours / 24 / 365)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_print_as_kubectl_prints_them() {
        for (seconds, printed) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (600, "10m"),
            (10_800, "3h"),
            (11_400, "3h10m"),
            (86_400, "24h"),
            (180_000, "2d2h"),
            (864_000, "10d"),
            (-5, "<invalid>"),
        ] {
            assert_eq!(span(seconds), printed, "{seconds} seconds");
        }
    }

    #[test]
    fn a_time_that_cannot_be_read_has_no_age() {
        assert_eq!(age("", Timestamp::UNIX_EPOCH), "<unknown>");
    }
}
