//! Names and ids that are the same on every run with the same seed, and random ones that are not.
//!
//! Whatever guards something (keys, secrets, codes) is random; only what names something follows
//! the seed.

use std::fmt::Write as _;

use aws_lc_rs::digest;

/// A source of ids that follow a seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Names {
    seed: u64,
}

impl Names {
    /// Ids of `seed`.
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// The id, as a GUID, of what `of` names.
    pub fn guid(&self, of: &str) -> String {
        let bytes = self.hash("guid", of);
        let half: [u8; 16] = std::array::from_fn(|at| bytes[at]);
        uuid::Builder::from_random_bytes(half)
            .into_uuid()
            .to_string()
    }

    /// The id, as 64 hexadecimal digits, of what `of` names.
    pub fn hex(&self, of: &str) -> String {
        hex(&self.hash("hex", of))
    }

    fn hash(self, kind: &str, of: &str) -> [u8; 32] {
        let input = format!("arc-emulator/{}/{kind}/{of}", self.seed);
        let hash = digest::digest(&digest::SHA256, input.as_bytes());
        std::array::from_fn(|at| hash.as_ref()[at])
    }
}

/// `bytes` in lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string does not fail");
        text
    })
}

/// Fresh randomness of `N` bytes, as hexadecimal digits.
pub fn random_hex<const N: usize>() -> String {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system has randomness");
    hex(&bytes)
}

/// A fresh random GUID.
pub fn random_guid() -> String {
    uuid::Uuid::new_v4().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_fixes_names_and_only_its_own() {
        let one = Names::new(1);
        assert_eq!(one.guid("tenant"), Names::new(1).guid("tenant"));
        assert_ne!(one.guid("tenant"), Names::new(2).guid("tenant"));
        assert_ne!(one.guid("tenant"), one.guid("subscription"));
        assert_eq!(one.hex("edge-demo").len(), 64);
        assert_eq!(one.guid("tenant").len(), 36);
    }

    #[test]
    fn random_names_differ() {
        assert_ne!(random_hex::<16>(), random_hex::<16>());
    }
}
