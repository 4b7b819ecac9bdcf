//! The one type that holds secrets.
//!
//! A [`Secret`] never prints: its `Debug` and `Display` say `[redacted]`, and its memory is
//! overwritten when it is dropped. [`Secret::expose`] is called only where the value is written
//! to the wire, to a child's environment or to a kubeconfig.

use std::fmt;

use http::HeaderValue;
use zeroize::Zeroizing;

/// A password, token or key, as text.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// The value itself.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of an `Authorization` header of the `Bearer` scheme, marked as sensitive.
    ///
    /// # Errors
    /// The secret holds bytes that cannot stand in a header.
    pub fn bearer(&self) -> Result<HeaderValue, http::header::InvalidHeaderValue> {
        let text = Zeroizing::new(format!("Bearer {}", self.expose()));
        sensitive(&text)
    }

    /// The secret as a header's whole value, marked as sensitive.
    ///
    /// # Errors
    /// The secret holds bytes that cannot stand in a header.
    pub fn header(&self) -> Result<HeaderValue, http::header::InvalidHeaderValue> {
        sensitive(self.expose())
    }
}

fn sensitive(text: &str) -> Result<HeaderValue, http::header::InvalidHeaderValue> {
    let mut value = HeaderValue::from_str(text)?;
    value.set_sensitive(true);
    Ok(value)
}

impl From<String> for Secret {
    fn from(value: String) -> Self {
        Self(Zeroizing::new(value))
    }
}

impl From<&str> for Secret {
    fn from(value: &str) -> Self {
        Self::from(value.to_owned())
    }
}

impl<'de> serde::Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

impl std::str::FromStr for Secret {
    type Err = std::convert::Infallible;

    fn from_str(value: &str) -> Result<Self, Self::Err> {
        Ok(Self::from(value))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Keeps the memory of this process out of core dumps and out of reach of the user's other
/// processes, where the system can. Programs that it starts are as they would be anyway.
///
/// The limit on the size of core files would not do: programs that a kernel pipes dumps to are not
/// bound by it, and children inherit it.
pub fn hide_memory() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        // The log is not there yet, and nobody could do anything about it.
        let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    }
}

/// `bytes` random bytes from the operating system, as lower-case hex.
pub fn random_hex<const BYTES: usize>() -> String {
    let mut bytes = [0_u8; BYTES];
    aws_lc_rs::rand::fill(&mut bytes).expect("the operating system gives random bytes");
    hex(&bytes)
}

/// `bytes` as lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            write!(text, "{byte:02x}").expect("writing to a string cannot fail");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_prints_itself() {
        let secret = Secret::from("hunter2");
        assert_eq!(format!("{secret} {secret:?}"), "[redacted] [redacted]");
        let header = secret.bearer().expect("plain text is a header value");
        assert!(header.is_sensitive());
        assert!(!format!("{header:?}").contains("hunter2"));
    }

    /// Looks at this process's memory where a secret was.
    #[cfg(target_os = "linux")]
    #[test]
    fn what_is_dropped_is_overwritten() {
        use std::os::unix::fs::FileExt as _;
        let memory = std::fs::File::open("/proc/self/mem").expect("our own memory");
        let text = random_hex::<1024>();
        let secret = Secret::from(text.as_str());
        let place = u64::try_from(secret.expose().as_ptr().addr()).expect("an address");
        let mut found = vec![0; text.len()];
        memory.read_exact_at(&mut found, place).expect("is there");
        assert_eq!(found, text.as_bytes());
        drop(secret);
        found.fill(0);
        // What was freed may be gone altogether.
        let _ = memory.read_exact_at(&mut found, place);
        // An allocator notes something of its own in what it gets back.
        assert!(
            !found
                .windows(16)
                .any(|part| text.as_bytes().windows(16).any(|known| known == part))
        );
    }

    #[test]
    fn a_panic_does_not_print_it_either() {
        let panicked = std::panic::catch_unwind(|| {
            "".parse::<u8>()
                .map_err(|_| Secret::from("hunter2"))
                .expect("the test panics");
        });
        let payload = panicked.expect_err("a panic");
        let text = payload.downcast_ref::<String>().expect("a text");
        assert!(
            text.contains("[redacted]") && !text.contains("hunter2"),
            "{text}"
        );
    }

    #[test]
    fn refuses_what_would_break_out_of_a_header() {
        assert!(
            Secret::from("a\r\nImpersonate-User: root")
                .bearer()
                .is_err()
        );
    }

    #[test]
    fn random_hex_has_the_length_asked_for_and_differs() {
        let (one, two) = (random_hex::<32>(), random_hex::<32>());
        assert_eq!(one.len(), 64);
        assert_ne!(one, two);
    }
}
