//! What a set of faults may say.

use std::fmt;
use std::ops::RangeInclusive;

use super::FaultSet;

/// The HTTP statuses that a service may refuse with.
pub const STATUSES: RangeInclusive<u16> = 400..=599;

/// Why a set of faults is of no use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Invalid {
    /// The field of that name has a status that is no refusal.
    Status(&'static str, u16),
    /// No version of HTTP would be left to offer.
    NoHttp,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(field, status) => write!(
                f,
                "{field} is {status}, expected an HTTP status from {} to {}",
                STATUSES.start(),
                STATUSES.end()
            ),
            Self::NoHttp => f.write_str(
                "no_h2 and no_http1 are both true, expected at most one: \
                 kube-aad-proxy has to offer HTTP/2, HTTP/1.1 or both",
            ),
        }
    }
}

impl std::error::Error for Invalid {}

impl FaultSet {
    /// Says whether the emulator can play these faults.
    ///
    /// # Errors
    ///
    /// The first thing that it cannot do, and what is allowed in its place.
    pub fn check(&self) -> Result<(), Invalid> {
        let statuses = [
            ("entra.status", self.entra.status),
            ("arm.status", self.arm.status),
            ("refuse_dials", self.refuse_dials),
        ];
        for (field, status) in statuses {
            if let Some(status) = status.filter(|status| !STATUSES.contains(status)) {
                return Err(Invalid::Status(field, status));
            }
        }
        if self.no_h2 && self.no_http1 {
            return Err(Invalid::NoHttp);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::ServiceFault;

    #[test]
    fn one_version_of_http_may_be_left_out_and_not_both() {
        for (no_h2, no_http1, expected) in [
            (false, false, Ok(())),
            (true, false, Ok(())),
            (false, true, Ok(())),
            (true, true, Err(Invalid::NoHttp)),
        ] {
            let set = FaultSet {
                no_h2,
                no_http1,
                ..FaultSet::default()
            };
            assert_eq!(set.check(), expected, "{no_h2} {no_http1}");
        }
    }

    #[test]
    fn a_status_that_is_no_refusal_is_named_with_those_that_are() {
        let service = |status| ServiceFault {
            status: Some(status),
            ..ServiceFault::default()
        };
        let none = FaultSet::default;
        let entra = |status| FaultSet {
            entra: service(status),
            ..none()
        };
        let arm = |status| FaultSet {
            arm: service(status),
            ..none()
        };
        let dials = |status| FaultSet {
            refuse_dials: Some(status),
            ..none()
        };
        for (set, field) in [
            (entra(200), "entra.status is 200"),
            (arm(600), "arm.status is 600"),
            (dials(0), "refuse_dials is 0"),
        ] {
            let message = set.check().expect_err("no refusal").to_string();
            assert!(message.starts_with(field), "{message}");
            assert!(message.ends_with("from 400 to 599"), "{message}");
        }
        for set in [entra(400), arm(429), dials(599)] {
            assert_eq!(set.check(), Ok(()));
        }
    }
}
