//! Frames of SPDY/3.1, after draft-mbelshe-httpbis-spdy-00, section 2.2 and 2.6.

use std::fmt;

use bytes::{BufMut as _, BytesMut};

use super::headers::{Deflater, Headers, Inflater};

/// The version in every control frame; 3.1 differs from 3 in flow control alone.
const VERSION: u16 = 3;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;

/// The sender sends no more on the stream.
const FIN: u8 = 0x01;

/// Stream identifiers and ping identifiers of 31 bits.
const LOW_31: u32 = 0x7fff_ffff;

/// What the eight bytes before every frame's payload say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Head {
    Control { kind: u16, flags: u8, length: u32 },
    Data { stream: u32, fin: bool, length: u32 },
}

/// A control frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Control {
    SynStream {
        stream: u32,
        headers: Headers,
        fin: bool,
    },
    /// A reply or further headers: nobody here waits for either.
    Headers {
        stream: u32,
        fin: bool,
    },
    Reset {
        stream: u32,
    },
    Ping {
        id: u32,
    },
    GoAway,
    /// SETTINGS, `WINDOW_UPDATE` and what later versions may add.
    Ignored,
}

/// Why a peer's bytes make no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FrameError {
    /// A control frame of another version.
    Version(u16),
    /// A payload shorter than its fields.
    Truncated,
    /// More than this side holds.
    TooLong,
    /// A header block that does not inflate.
    Compression,
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(f, "SPDY version {version} is not spoken here"),
            Self::Truncated => f.write_str("a SPDY frame ends within a field"),
            Self::TooLong => f.write_str("a SPDY frame is too long"),
            Self::Compression => f.write_str("a SPDY header block does not inflate"),
        }
    }
}

impl std::error::Error for FrameError {}

impl Head {
    /// How long it is, bytes.
    pub(super) const LENGTH: usize = 8;

    pub(super) fn parse(bytes: [u8; Self::LENGTH]) -> Result<Self, FrameError> {
        let [first @ .., flags, high, middle, low] = bytes;
        let length = u32::from_be_bytes([0, high, middle, low]);
        let word = u32::from_be_bytes(first);
        if word & !LOW_31 == 0 {
            return Ok(Self::Data {
                stream: word,
                fin: flags & FIN != 0,
                length,
            });
        }
        let [high, low, kind @ ..] = first;
        let version = u16::from_be_bytes([high & 0x7f, low]);
        if version != VERSION {
            return Err(FrameError::Version(version));
        }
        Ok(Self::Control {
            kind: u16::from_be_bytes(kind),
            flags,
            length,
        })
    }
}

impl Control {
    /// The frame of this kind with this payload.
    pub(super) fn parse(
        kind: u16,
        flags: u8,
        payload: &[u8],
        inflater: &mut Inflater,
    ) -> Result<Self, FrameError> {
        let fin = flags & FIN != 0;
        // Every header block goes through the inflater, whoever it is for: its state is shared.
        match kind {
            SYN_STREAM => Ok(Self::SynStream {
                stream: word(payload, 0)? & LOW_31,
                // Associated stream, priority and slot mean nothing here.
                headers: inflater.headers(payload.get(10..).ok_or(FrameError::Truncated)?)?,
                fin,
            }),
            SYN_REPLY | HEADERS => {
                let stream = word(payload, 0)? & LOW_31;
                inflater.headers(&payload[4..])?;
                Ok(Self::Headers { stream, fin })
            }
            RST_STREAM => Ok(Self::Reset {
                stream: word(payload, 0)? & LOW_31,
            }),
            PING => Ok(Self::Ping {
                id: word(payload, 0)?,
            }),
            GOAWAY => Ok(Self::GoAway),
            _ => Ok(Self::Ignored),
        }
    }
}

fn word(payload: &[u8], at: usize) -> Result<u32, FrameError> {
    payload
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .map(|bytes| u32::from_be_bytes(*bytes))
        .ok_or(FrameError::Truncated)
}

/// Why a stream is reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ResetReason {
    ProtocolError = 1,
    RefusedStream = 3,
    Cancel = 5,
}

/// The status of a GOAWAY without a fault.
const OK: u32 = 0;

/// Writes a `SYN_REPLY` without headers.
pub(super) fn put_reply(
    out: &mut BytesMut,
    stream: u32,
    deflater: &mut Deflater,
) -> Result<(), FrameError> {
    let block = deflater.block(&[])?;
    let length = u32::try_from(block.len() + 4).map_err(|_| FrameError::TooLong)?;
    put_control(out, SYN_REPLY, length);
    out.put_u32(stream);
    out.put_slice(&block);
    Ok(())
}

/// Writes a `RST_STREAM`.
pub(super) fn put_reset(out: &mut BytesMut, stream: u32, reason: ResetReason) {
    put_control(out, RST_STREAM, 8);
    out.put_u32(stream);
    out.put_u32(reason as u32);
}

/// Writes a PING.
pub(super) fn put_ping(out: &mut BytesMut, id: u32) {
    put_control(out, PING, 4);
    out.put_u32(id);
}

/// Writes a GOAWAY after `last`, the last stream that was accepted.
pub(super) fn put_go_away(out: &mut BytesMut, last: u32) {
    put_control(out, GOAWAY, 8);
    out.put_u32(last);
    out.put_u32(OK);
}

/// Writes a data frame; `data` is at most 16 MiB less one byte.
pub(super) fn put_data(out: &mut BytesMut, stream: u32, data: &[u8], fin: bool) {
    out.put_u32(stream & LOW_31);
    out.put_u8(if fin { FIN } else { 0 });
    out.put_uint(data.len() as u64, 3);
    out.put_slice(data);
}

fn put_control(out: &mut BytesMut, kind: u16, length: u32) {
    out.put_u16(0x8000 | VERSION);
    out.put_u16(kind);
    out.put_u8(0);
    out.put_uint(u64::from(length), 3);
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    /// The bytes here are spelled out from the draft's frame diagrams: 2.2.2 (data), 2.6.1
    /// (`SYN_STREAM`), 2.6.3 (`RST_STREAM`), 2.6.5 (PING) and 2.6.6 (GOAWAY).
    #[test]
    fn frames_are_written_as_the_draft_draws_them() {
        let mut out = BytesMut::new();
        put_data(&mut out, 5, b"hi", true);
        assert_eq!(out[..], [0, 0, 0, 5, 1, 0, 0, 2, b'h', b'i']);
        out.clear();
        put_reset(&mut out, 7, ResetReason::Cancel);
        assert_eq!(out[..], [0x80, 3, 0, 3, 0, 0, 0, 8, 0, 0, 0, 7, 0, 0, 0, 5]);
        out.clear();
        put_ping(&mut out, 1);
        assert_eq!(out[..], [0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 1]);
        out.clear();
        put_go_away(&mut out, 9);
        assert_eq!(out[..], [0x80, 3, 0, 7, 0, 0, 0, 8, 0, 0, 0, 9, 0, 0, 0, 0]);
    }

    #[test]
    fn heads_tell_control_from_data() {
        assert_eq!(
            Head::parse([0x80, 3, 0, 1, 1, 0, 1, 2]),
            Ok(Head::Control {
                kind: SYN_STREAM,
                flags: 1,
                length: 258
            })
        );
        assert_eq!(
            Head::parse([0, 0, 0, 3, 0, 0xff, 0xff, 0xff]),
            Ok(Head::Data {
                stream: 3,
                fin: false,
                length: 0x00ff_ffff
            })
        );
        assert_eq!(
            Head::parse([0x80, 2, 0, 1, 0, 0, 0, 0]),
            Err(FrameError::Version(2))
        );
    }

    #[test]
    fn streams_open_with_their_headers() {
        let block = Deflater::new().block(&[("streamtype", "stdin")]).unwrap();
        let mut payload = vec![0, 0, 0, 3, 0, 0, 0, 0, 0, 0];
        payload.extend_from_slice(&block);
        let frame = Control::parse(SYN_STREAM, FIN, &payload, &mut Inflater::new()).unwrap();
        let Control::SynStream {
            stream: 3,
            headers,
            fin: true,
        } = frame
        else {
            panic!("another frame: {frame:?}");
        };
        assert_eq!(headers.get("streamtype"), Some("stdin"));
    }

    #[test]
    fn short_and_unknown_frames_do_no_harm() {
        let mut inflater = Inflater::new();
        for kind in [SYN_STREAM, SYN_REPLY, RST_STREAM, PING, HEADERS] {
            assert_eq!(
                Control::parse(kind, 0, &[0, 0], &mut inflater),
                Err(FrameError::Truncated)
            );
        }
        // SETTINGS, NOOP and WINDOW_UPDATE among them.
        for kind in [4, 5, 9, 99] {
            assert_eq!(
                Control::parse(kind, 0, &[], &mut inflater),
                Ok(Control::Ignored)
            );
        }
    }
}
