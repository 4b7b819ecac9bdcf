//! Reading BER: what certificates and files with keys are written in.
//!
//! Follows ITU-T X.690 as far as it is met there: tags of one byte; lengths that are given or, as
//! some tools write, marked by an end; strings in one piece or in several. The bytes come from
//! strangers: whatever they are, nothing here panics, loops or nests further than [`DEPTH`].

use std::borrow::Cow;

pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const OCTETS: u8 = 0x04;
pub(crate) const OID: u8 = 0x06;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;
/// `[0]` around something whole.
pub(crate) const EXPLICIT_0: u8 = 0xa0;
/// `[0]` in place of a string's own tag.
pub(crate) const IMPLICIT_0: u8 = 0x80;

/// Set in the tag of what has elements in it.
const CONSTRUCTED: u8 = 0x20;
/// What stands for a length if an end marks it, and that end.
const INDEFINITE: u8 = 0x80;
const END: [u8; 2] = [0, 0];

/// Elements inside one another, at most.
const DEPTH: u8 = 32;

/// What is left to read. Reading takes the next element; where that is not what was asked for, or
/// is broken, it gives `None` and takes nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The next element, whatever it is: its tag, and what is in it.
    pub(crate) fn any(&mut self) -> Option<(u8, &'a [u8])> {
        let (tag, content, rest) = element(self.0, DEPTH)?;
        self.0 = rest;
        Some((tag, content))
    }

    /// What is in the next element, which has this tag.
    pub(crate) fn content(&mut self, tag: u8) -> Option<&'a [u8]> {
        if *self.0.first()? != tag {
            return None;
        }
        self.any().map(|(_, content)| content)
    }

    /// What is in the next element, which has this tag and elements in it.
    pub(crate) fn inside(&mut self, tag: u8) -> Option<Self> {
        self.content(tag).map(Self)
    }

    /// The next element, which is a string of this tag.
    pub(crate) fn string(&mut self, tag: u8) -> Option<Cow<'a, [u8]>> {
        if let Some(whole) = self.content(tag) {
            return Some(whole.into());
        }
        let mut ahead = *self;
        let mut parts = ahead.inside(tag | CONSTRUCTED)?;
        // It may be secret: growing would leave copies behind.
        let mut whole = Vec::with_capacity(parts.0.len());
        while !parts.is_empty() {
            // Parts in parts are allowed, and not met.
            whole.extend_from_slice(parts.content(OCTETS)?);
        }
        *self = ahead;
        Some(whole.into())
    }

    /// The next element, which is a number that is not negative.
    pub(crate) fn number(&mut self) -> Option<u32> {
        let mut ahead = *self;
        let bytes = ahead.content(INTEGER)?;
        if bytes.first()? & 0x80 != 0 {
            return None;
        }
        let number = bytes.iter().try_fold(0_u32, |number, byte| {
            Some(number.checked_mul(0x100)? + u32::from(*byte))
        })?;
        *self = ahead;
        Some(number)
    }
}

/// The first element's tag, what is in it, and what comes after it.
fn element(bytes: &[u8], depth: u8) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, bytes) = bytes.split_first()?;
    // Tags of several bytes.
    if tag & 0x1f == 0x1f {
        return None;
    }
    let (&length, mut bytes) = bytes.split_first()?;
    if length == INDEFINITE {
        let content = (tag & CONSTRUCTED != 0).then_some(bytes)?;
        while !bytes.starts_with(&END) {
            (_, _, bytes) = element(bytes, depth.checked_sub(1)?)?;
        }
        let content = &content[..content.len() - bytes.len()];
        return Some((tag, content, &bytes[END.len()..]));
    }
    let length = if length < INDEFINITE {
        usize::from(length)
    } else {
        let digits;
        (digits, bytes) = bytes.split_at_checked(usize::from(length & !INDEFINITE))?;
        digits.iter().try_fold(0_usize, |length, digit| {
            Some(length.checked_mul(0x100)? + usize::from(*digit))
        })?
    };
    let (content, rest) = bytes.split_at_checked(length)?;
    Some((tag, content, rest))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An element whose length is given.
    pub(crate) fn definite(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u32::try_from(content.len()).expect("short");
        [&[tag, 0x84], &length.to_be_bytes()[..], content].concat()
    }

    /// `bytes` with an end in place of every length that can have one, down to `depth`, and every
    /// string of octets in pieces.
    pub(crate) fn indefinite(bytes: &[u8], depth: u8) -> Vec<u8> {
        let (mut reader, mut out) = (Reader::new(bytes), Vec::new());
        while let Some((tag, content)) = reader.any() {
            let is_string = tag == OCTETS || tag == IMPLICIT_0;
            if depth == 0 || !is_string && tag & CONSTRUCTED == 0 {
                out.extend(definite(tag, content));
                continue;
            }
            out.extend([tag | CONSTRUCTED, INDEFINITE]);
            if is_string {
                for piece in content.chunks(100) {
                    out.extend([OCTETS, u8::try_from(piece.len()).expect("short")]);
                    out.extend(piece);
                }
            } else {
                out.extend(indefinite(content, depth - 1));
            }
            out.extend(END);
        }
        assert!(reader.is_empty(), "{reader:?}");
        out
    }

    #[test]
    fn lengths_are_read_in_every_form() {
        for bytes in [
            &[0x30, 3, 2, 1, 5, 9][..],
            &[0x30, 0x81, 3, 2, 1, 5, 9],
            &[0x30, 0x89, 0, 0, 0, 0, 0, 0, 0, 0, 3, 2, 1, 5, 9],
            &[0x30, 0x80, 2, 1, 5, 0, 0, 9],
        ] {
            let mut reader = Reader::new(bytes);
            let mut inside = reader.inside(SEQUENCE).expect("a sequence");
            assert_eq!(inside.number(), Some(5), "{bytes:?}");
            assert!(inside.is_empty(), "{bytes:?}");
            assert_eq!(reader.0, [9], "{bytes:?}");
        }
    }

    #[test]
    fn strings_are_read_whole_and_in_pieces() {
        for (bytes, tag) in [
            (&[4, 3, 1, 2, 3][..], OCTETS),
            (&[0x24, 7, 4, 2, 1, 2, 4, 1, 3], OCTETS),
            (&[0x24, 0x80, 4, 2, 1, 2, 4, 1, 3, 0, 0], OCTETS),
            (&[0x80, 3, 1, 2, 3], IMPLICIT_0),
            (&[0xa0, 0x80, 4, 2, 1, 2, 4, 1, 3, 0, 0], IMPLICIT_0),
        ] {
            let mut reader = Reader::new(bytes);
            assert_eq!(reader.string(tag).as_deref(), Some(&[1, 2, 3][..]));
            assert!(reader.is_empty());
        }
    }

    #[test]
    fn numbers_are_whole_and_not_negative() {
        let number = |bytes| Reader::new(bytes).number();
        assert_eq!(number(&[2, 3, 1, 0, 2]), Some(0x1_00_02));
        assert_eq!(number(&[2, 5, 0, 0xff, 0xff, 0xff, 0xff]), Some(u32::MAX));
        assert_eq!(number(&[2, 5, 1, 0, 0, 0, 0]), None);
        assert_eq!(number(&[2, 1, 0xff]), None);
        assert_eq!(number(&[2, 0]), None);
    }

    #[test]
    fn what_is_broken_or_something_else_is_not_taken() {
        for bytes in [
            &[][..],
            &[0x30],
            &[0x30, 4, 2, 1, 5],
            &[0x30, 0x82, 1],
            &[0x30, 0x80, 2, 1, 5],
            &[0x30, 0x80, 2, 1, 5, 0],
            // The end of an element can do without its second byte nowhere else.
            &[0x10, 0x80, 0, 0],
            &[0x1f, 0x81, 1, 0],
            &[0x30, 0x88, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            &[0x30, 0x89, 1, 0, 0, 0, 0, 0, 0, 0, 0],
            &[0x30, 0xff],
        ] {
            let mut reader = Reader::new(bytes);
            assert_eq!(reader.any(), None, "{bytes:x?}");
            assert_eq!(reader.0, bytes);
        }
        let mut reader = Reader::new(&[2, 1, 5]);
        assert!(reader.content(OID).is_none() && reader.string(OCTETS).is_none());
        assert_eq!(reader.number(), Some(5));
    }

    #[test]
    fn nesting_has_an_end() {
        let deep = |depth: usize| [[0x30, 0x80].repeat(depth), [0, 0].repeat(depth)].concat();
        let depth = usize::from(DEPTH);
        assert!(Reader::new(&deep(depth + 1)).any().is_some());
        assert!(Reader::new(&deep(depth + 2)).any().is_none());
        assert!(Reader::new(&deep(1_000_000)).any().is_none());
    }
}
