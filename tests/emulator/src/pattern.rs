//! Bytes that show where they belong: a body of them that lost, repeated or moved a piece is not
//! the body that was sent.

use bytes::{Bytes, BytesMut};

/// How many bytes follow from one number.
const WORD: usize = 8;

/// Writes the pattern of `seed` from any place on.
#[derive(Debug, Clone)]
pub struct Pattern {
    seed: u64,
    at: u64,
}

impl Pattern {
    /// The pattern of `seed`, from its beginning.
    pub fn new(seed: u64) -> Self {
        Self { seed, at: 0 }
    }

    /// How many bytes have been taken or compared.
    pub fn position(&self) -> u64 {
        self.at
    }

    /// The next `length` bytes.
    pub fn take(&mut self, length: usize) -> Bytes {
        let mut bytes = BytesMut::with_capacity(length + 2 * WORD);
        let skip = self.offset();
        let mut word = self.at / WORD as u64;
        while bytes.len() < skip + length {
            bytes.extend_from_slice(&mixed(self.seed, word));
            word += 1;
        }
        self.at += length as u64;
        let mut taken = bytes.split_off(skip);
        taken.truncate(length);
        taken.freeze()
    }

    /// Whether `bytes` are what comes next.
    ///
    /// # Errors
    ///
    /// The position of the first byte that is another.
    pub fn check(&mut self, bytes: &[u8]) -> Result<(), u64> {
        let expected = self.clone().take(bytes.len());
        let same = bytes.iter().zip(&expected).take_while(|(a, b)| a == b);
        let same = same.count();
        self.at += same as u64;
        if same == bytes.len() {
            Ok(())
        } else {
            Err(self.at)
        }
    }

    fn offset(&self) -> usize {
        usize::try_from(self.at % WORD as u64).unwrap_or_default()
    }
}

/// Eight bytes that follow from `seed` and the number of the word.
fn mixed(seed: u64, word: u64) -> [u8; WORD] {
    // SplitMix64, entered at any step.
    let mut mixed = seed.wrapping_add((word + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_make_the_whole() {
        let whole = Pattern::new(7).take(1000);
        let mut pieces = Pattern::new(7);
        let mut joined = Vec::new();
        for length in [0, 1, 7, 8, 9, 15, 16, 100, 844] {
            joined.extend_from_slice(&pieces.take(length));
        }
        assert_eq!(joined, whole);
        assert_eq!(pieces.position(), 1000);
        assert_ne!(Pattern::new(8).take(1000), whole);
    }

    #[test]
    fn a_lost_a_repeated_and_a_changed_byte_are_seen() {
        let whole = Pattern::new(7).take(100).to_vec();
        assert_eq!(Pattern::new(7).check(&whole), Ok(()));
        let mut lost = whole.clone();
        lost.remove(50);
        assert_eq!(Pattern::new(7).check(&lost), Err(50));
        let mut repeated = whole.clone();
        repeated.insert(50, whole[49]);
        assert_eq!(Pattern::new(7).check(&repeated), Err(50));
        let mut changed = whole;
        changed[99] ^= 1;
        assert_eq!(Pattern::new(7).check(&changed), Err(99));
    }
}
