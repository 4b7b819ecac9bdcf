//! Header blocks: names and values, compressed with one zlib stream per direction.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

use super::dictionary::DICTIONARY;
use super::frame::FrameError;

/// What a block may be once it is inflated, bytes.
const BLOCK: usize = 64 * 1024;

/// The headers of a stream, names in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Headers(pub(super) Vec<(String, String)>);

impl Headers {
    /// The value of the header that is called `name`, lower case.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(other, _)| other == name)
            .map(|(_, value)| value.as_str())
    }
}

/// Inflates the blocks of one direction, in the order of their frames.
#[derive(Debug)]
pub(super) struct Inflater(Decompress);

impl Inflater {
    pub(super) fn new() -> Self {
        Self(Decompress::new(true))
    }

    /// The headers in a block.
    pub(super) fn headers(&mut self, block: &[u8]) -> Result<Headers, FrameError> {
        let text = self.inflate(block)?;
        let mut rest = text.as_slice();
        let count = number(&mut rest)?;
        let mut headers = Vec::new();
        for _ in 0..count {
            let name = string(&mut rest)?.to_ascii_lowercase();
            let value = string(&mut rest)?;
            headers.push((name, value));
        }
        Ok(Headers(headers))
    }

    fn inflate(&mut self, block: &[u8]) -> Result<Vec<u8>, FrameError> {
        let mut text = Vec::with_capacity(1024);
        let mut rest = block;
        loop {
            let (taken, made) = (self.0.total_in(), text.len());
            let inflated = self
                .0
                .decompress_vec(rest, &mut text, FlushDecompress::Sync);
            let taken = usize::try_from(self.0.total_in() - taken)
                .unwrap_or(rest.len())
                .min(rest.len());
            rest = &rest[taken..];
            match inflated {
                Err(error) if error.needs_dictionary().is_some() => {
                    self.0
                        .set_dictionary(DICTIONARY)
                        .map_err(|_| FrameError::Compression)?;
                    continue;
                }
                Err(_) => return Err(FrameError::Compression),
                Ok(_) => {}
            }
            if text.len() > BLOCK {
                return Err(FrameError::TooLong);
            }
            // Room that is left means that nothing more is waiting.
            if rest.is_empty() && text.len() < text.capacity() {
                return Ok(text);
            }
            if taken == 0 && text.len() == made && text.len() < text.capacity() {
                return Err(FrameError::Compression);
            }
            text.reserve(1024);
        }
    }
}

/// Deflates the blocks of one direction, in the order of their frames.
#[derive(Debug)]
pub(super) struct Deflater(Compress);

impl Deflater {
    pub(super) fn new() -> Self {
        let mut deflate = Compress::new(Compression::fast(), true);
        deflate
            .set_dictionary(DICTIONARY)
            .expect("a new zlib stream takes a dictionary");
        Self(deflate)
    }

    /// The block of `headers`.
    pub(super) fn block(&mut self, headers: &[(&str, &str)]) -> Result<Vec<u8>, FrameError> {
        let mut text = Vec::new();
        put(&mut text, headers.len())?;
        for (name, value) in headers {
            for string in [name, value] {
                put(&mut text, string.len())?;
                text.extend_from_slice(string.as_bytes());
            }
        }
        let mut block = Vec::with_capacity(text.len() + 64);
        let mut rest = text.as_slice();
        loop {
            let taken = self.0.total_in();
            self.0
                .compress_vec(rest, &mut block, FlushCompress::Sync)
                .map_err(|_| FrameError::Compression)?;
            let taken = usize::try_from(self.0.total_in() - taken).unwrap_or(rest.len());
            rest = &rest[taken.min(rest.len())..];
            if rest.is_empty() && block.len() < block.capacity() {
                return Ok(block);
            }
            block.reserve(256);
        }
    }
}

fn put(text: &mut Vec<u8>, number: usize) -> Result<(), FrameError> {
    let number = u32::try_from(number).map_err(|_| FrameError::TooLong)?;
    text.extend_from_slice(&number.to_be_bytes());
    Ok(())
}

fn number(rest: &mut &[u8]) -> Result<u32, FrameError> {
    let (bytes, after) = rest.split_first_chunk().ok_or(FrameError::Truncated)?;
    *rest = after;
    Ok(u32::from_be_bytes(*bytes))
}

fn string(rest: &mut &[u8]) -> Result<String, FrameError> {
    let length = usize::try_from(number(rest)?).map_err(|_| FrameError::TooLong)?;
    let (bytes, after) = rest.split_at_checked(length).ok_or(FrameError::Truncated)?;
    *rest = after;
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn blocks_of_one_stream_inflate_in_order() {
        let (mut deflater, mut inflater) = (Deflater::new(), Inflater::new());
        let long = "x".repeat(3000);
        for headers in [
            &[("streamtype", "error"), ("port", "80"), ("requestid", "0")][..],
            &[("streamtype", "data"), ("port", "80"), ("requestid", "0")],
            &[],
            &[("long", long.as_str())],
        ] {
            let block = deflater.block(headers).unwrap();
            let found = inflater.headers(&block).unwrap();
            let wanted: Vec<_> = headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            assert_eq!(found, Headers(wanted));
        }
    }

    #[test]
    fn a_block_starts_with_the_mark_of_the_dictionary() {
        let block = Deflater::new().block(&[]).unwrap();
        // RFC 1950: CMF 0x78, FLG with FDICT set, then the dictionary's checksum.
        assert_eq!(block[0], 0x78);
        assert_eq!(block[1] & 0x20, 0x20);
        assert_eq!(block[2..6], [0xe3, 0xc6, 0xa7, 0xc2]);
    }

    #[test]
    fn damaged_blocks_are_errors() {
        let mut block = Deflater::new().block(&[("a", "b")]).unwrap();
        assert_eq!(
            Inflater::new().headers(b"not zlib"),
            Err(FrameError::Compression)
        );
        assert!(Inflater::new().headers(&block[..8]).is_err());
        block[2] = 0;
        assert_eq!(
            Inflater::new().headers(&block),
            Err(FrameError::Compression)
        );
        let bomb = "a".repeat(BLOCK * 2);
        let block = Deflater::new().block(&[("a", &bomb)]).unwrap();
        assert_eq!(Inflater::new().headers(&block), Err(FrameError::TooLong));
    }
}
