//! WebSocket frames (RFC 6455, section 5) of a client that sends and receives nothing but bytes.
//!
//! The library's own WebSocket collects whole messages, which copies every byte twice more than a
//! stream needs; here it reads and writes the heads of frames, and payloads pass by.

use std::io::{self, Cursor, IoSlice};

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// The longest head that is read: a server's frames have no mask.
const HEAD: usize = 10;
/// The longest that is written.
const MASKED_HEAD: usize = 14;
/// The start of every head.
const START: usize = 2;
/// What a control frame carries at most.
const CONTROL: usize = 125;
/// What one frame carries at most.
const FRAME: usize = 64 << 10;
/// How much is gathered before it is written: more than HTTP/2 puts off the flush of.
pub(super) const BATCH: usize = 144 << 10;
/// How many keys for masks are made at once.
const KEYS: usize = 64;

/// What a frame said that carries no data.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    Ping(Vec<u8>),
    Pong,
    /// With the code and the reason, if there are any.
    Close(Option<(u16, String)>),
}

/// What was received is no sequence of frames that a server may send here.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Violation(&'static str);

impl From<Violation> for io::Error {
    fn from(Violation(why): Violation) -> Self {
        let why = format!("the relay broke the WebSocket protocol: {why}");
        Self::new(io::ErrorKind::InvalidData, why)
    }
}

/// Where the bytes that come next belong.
pub(super) enum Room<'a> {
    /// To whoever reads the stream, and this many of them.
    Data(u64),
    /// Here, as many as there is room for.
    Own(&'a mut [u8]),
}

/// Follows the frames that come.
#[derive(Debug)]
pub(super) struct FrameReader {
    /// A head, then what a control frame carries.
    own: [u8; HEAD + CONTROL],
    have: usize,
    need: usize,
    /// The control frame whose head has been read, and where its head ends.
    control: Option<(Control, usize)>,
    /// What is to come of a data frame.
    left: u64,
    /// Whether a message has begun that other frames continue.
    is_open: bool,
}

impl FrameReader {
    pub(super) fn new() -> Self {
        Self {
            own: [0; HEAD + CONTROL],
            have: 0,
            need: START,
            control: None,
            left: 0,
            is_open: false,
        }
    }

    /// Where to read to. Never without room.
    pub(super) fn room(&mut self) -> Room<'_> {
        if self.left > 0 {
            return Room::Data(self.left);
        }
        Room::Own(&mut self.own[self.have..self.need])
    }

    /// Goes on by `count` bytes, which were read to where [`room`](Self::room) said, or fewer than
    /// there was room for.
    pub(super) fn took(&mut self, count: usize) -> Result<Option<Said>, Violation> {
        if self.left > 0 {
            self.left = self.left.saturating_sub(count as u64);
            return Ok(None);
        }
        self.have += count;
        if self.have < self.need {
            return Ok(None);
        }
        let Some((control, head)) = self.control else {
            return self.head();
        };
        let said = said(control, &self.own[head..self.have])?;
        self.next();
        Ok(Some(said))
    }

    fn next(&mut self) {
        (self.have, self.need, self.control) = (0, START, None);
    }

    fn head(&mut self) -> Result<Option<Said>, Violation> {
        let second = self.own[1];
        if second & 0x80 != 0 {
            return Err(Violation("a frame is masked"));
        }
        let whole = match second {
            127 => HEAD,
            126 => 4,
            _ => START,
        };
        if self.have < whole {
            self.need = whole;
            return Ok(None);
        }
        let parsed = FrameHeader::parse(&mut Cursor::new(&self.own[..whole]));
        let Ok(Some((head, length))) = parsed else {
            return Err(Violation("a frame of an unknown kind"));
        };
        if head.rsv1 || head.rsv2 || head.rsv3 {
            return Err(Violation("a frame with reserved bits"));
        }
        match head.opcode {
            OpCode::Data(kind) => {
                match (kind, self.is_open) {
                    (Data::Binary, false) | (Data::Continue, true) => {}
                    (Data::Text, _) => {
                        return Err(Violation("a frame of text where bytes were due"));
                    }
                    _ => return Err(Violation("a message within another, or the end of none")),
                }
                if length > i64::MAX as u64 {
                    return Err(Violation("a frame that is too long"));
                }
                self.is_open = !head.is_final;
                self.left = length;
                self.next();
                Ok(None)
            }
            OpCode::Control(control) => {
                let carried = usize::try_from(length).ok().filter(|it| *it <= CONTROL);
                let Some(carried) = carried.filter(|_| head.is_final) else {
                    return Err(Violation("a control frame that is too long or in parts"));
                };
                self.control = Some((control, whole));
                self.need = whole + carried;
                // One that carries nothing is there.
                if carried == 0 { self.took(0) } else { Ok(None) }
            }
        }
    }
}

fn said(control: Control, carried: &[u8]) -> Result<Said, Violation> {
    match control {
        Control::Ping => Ok(Said::Ping(carried.to_vec())),
        Control::Pong => Ok(Said::Pong),
        Control::Close => match carried.split_first_chunk() {
            None if carried.is_empty() => Ok(Said::Close(None)),
            None => Err(Violation("a close frame with half a code")),
            Some((code, reason)) => {
                let reason = String::from_utf8_lossy(reason).into_owned();
                Ok(Said::Close(Some((u16::from_be_bytes(*code), reason))))
            }
        },
        Control::Reserved(_) => Err(Violation("a frame of an unknown kind")),
    }
}

/// Frames on their way out.
#[derive(Debug)]
pub(super) struct FrameWriter {
    out: Vec<u8>,
    /// How much of that has been written.
    written: usize,
    keys: [[u8; 4]; KEYS],
    /// How many of the keys have not been used.
    fresh: usize,
}

impl FrameWriter {
    pub(super) fn new() -> Self {
        Self {
            out: Vec::new(),
            written: 0,
            keys: [[0; 4]; KEYS],
            fresh: 0,
        }
    }

    /// What is to be written.
    pub(super) fn out(&self) -> &[u8] {
        &self.out[self.written..]
    }

    /// Goes on by `count` bytes, which have been written.
    pub(super) fn wrote(&mut self, count: usize) {
        self.written += count;
        if self.written >= self.out.len() {
            self.written = 0;
            self.out.clear();
        }
    }

    /// Gives room back that much has left behind.
    pub(super) fn relax(&mut self) {
        if self.out.is_empty() {
            self.out = Vec::new();
        }
    }

    /// Whether what is to be written should be, before there is more.
    pub(super) fn is_full(&self) -> bool {
        self.out.len() + MASKED_HEAD >= BATCH
    }

    /// Puts what `parts` begin with into a frame, and says how much that is. Nothing if the writer
    /// [is full](Self::is_full).
    pub(super) fn data(&mut self, parts: &[IoSlice<'_>]) -> usize {
        let total: usize = parts.iter().map(|part| part.len()).sum();
        let room = BATCH.saturating_sub(self.out.len() + MASKED_HEAD);
        let length = total.min(room).min(FRAME);
        if length > 0 {
            self.frame(OpCode::Data(Data::Binary), parts, length);
        }
        length
    }

    /// Puts a control frame that carries `carried` behind what is there.
    pub(super) fn control(&mut self, control: Control, carried: &[u8]) {
        let carried = &carried[..carried.len().min(CONTROL)];
        self.frame(
            OpCode::Control(control),
            &[IoSlice::new(carried)],
            carried.len(),
        );
    }

    fn frame(&mut self, opcode: OpCode, parts: &[IoSlice<'_>], length: usize) {
        let key = self.key();
        let head = FrameHeader {
            opcode,
            mask: Some(key),
            ..FrameHeader::default()
        };
        self.out.reserve(MASKED_HEAD + length);
        head.format(length as u64, &mut self.out)
            .expect("memory takes it");
        let start = self.out.len();
        let mut left = length;
        for part in parts {
            let part = &part[..part.len().min(left)];
            self.out.extend_from_slice(part);
            left -= part.len();
        }
        mask(&mut self.out[start..], key);
    }

    /// One that nobody can foretell (section 5.3).
    fn key(&mut self) -> [u8; 4] {
        if self.fresh == 0 {
            aws_lc_rs::rand::fill(self.keys.as_flattened_mut())
                .expect("the system has random numbers");
            self.fresh = KEYS;
        }
        self.fresh -= 1;
        self.keys[self.fresh]
    }
}

fn mask(bytes: &mut [u8], key: [u8; 4]) {
    let [a, b, c, d] = key;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = bytes.as_chunks_mut();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key.into_iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tungstenite::protocol::frame::{CloseFrame, Frame, FrameSocket};

    use super::*;

    /// What a reader makes of `bytes`, handed to it in pieces of `piece` at most.
    fn read(bytes: &[u8], piece: usize) -> Result<(Vec<u8>, Vec<Said>), Violation> {
        let (mut reader, mut data, mut heard) = (FrameReader::new(), Vec::new(), Vec::new());
        let mut rest = bytes;
        while !rest.is_empty() {
            let count = match reader.room() {
                Room::Data(left) => {
                    let left = usize::try_from(left).unwrap_or(usize::MAX);
                    let count = left.min(piece).min(rest.len());
                    data.extend_from_slice(&rest[..count]);
                    count
                }
                Room::Own(room) => {
                    let count = room.len().min(piece).min(rest.len());
                    assert!(count > 0, "there is always room");
                    room[..count].copy_from_slice(&rest[..count]);
                    count
                }
            };
            rest = &rest[count..];
            heard.extend(reader.took(count)?);
        }
        Ok((data, heard))
    }

    /// The frames as the library writes them, without masks, as a server's are.
    fn written(frames: impl IntoIterator<Item = Frame>) -> Vec<u8> {
        let mut socket = FrameSocket::new(Cursor::new(Vec::new()));
        for frame in frames {
            socket.write(frame).expect("it is written");
        }
        socket.flush().expect("it is written");
        socket.into_inner().0.into_inner()
    }

    fn binary(data: &[u8]) -> Frame {
        Frame::message(data.to_vec(), OpCode::Data(Data::Binary), true)
    }

    /// A frame of a message, and what is said between it and the next.
    fn part() -> impl Strategy<Value = (Vec<u8>, Option<Vec<u8>>)> {
        let length = prop_oneof![0..200_usize, 65_000..66_000_usize];
        let data = (length, any::<u8>()).prop_map(|(length, byte)| vec![byte; length]);
        let ping = proptest::option::of(proptest::collection::vec(any::<u8>(), 0..=CONTROL));
        (data, ping)
    }

    proptest! {
        /// Whatever the library writes is read as it was meant, in whatever pieces it comes.
        #[test]
        fn what_a_server_writes_is_read(
            messages in proptest::collection::vec(proptest::collection::vec(part(), 1..4), 0..4),
            piece in prop_oneof![1..20_usize, Just(70_000)],
        ) {
            let (mut frames, mut data, mut said) = (Vec::new(), Vec::new(), Vec::new());
            for message in &messages {
                for (at, (carried, ping)) in message.iter().enumerate() {
                    let kind = if at == 0 { Data::Binary } else { Data::Continue };
                    let is_last = at + 1 == message.len();
                    frames.push(Frame::message(carried.clone(), OpCode::Data(kind), is_last));
                    data.extend_from_slice(carried);
                    if let Some(ping) = ping {
                        frames.push(Frame::ping(ping.clone()));
                        frames.push(Frame::pong(ping.clone()));
                        said.extend([Said::Ping(ping.clone()), Said::Pong]);
                    }
                }
            }
            let (came, heard) = read(&written(frames), piece).expect("it follows the protocol");
            prop_assert!(came == data, "{} of {} bytes", came.len(), data.len());
            prop_assert_eq!(heard, said);
        }

        /// Whatever is written is read by the library, and nothing is lost between frames.
        #[test]
        fn what_is_written_a_server_reads(
            parts in proptest::collection::vec(0..70_000_usize, 1..6),
        ) {
            let mut writer = FrameWriter::new();
            let (mut wire, mut sent) = (Vec::new(), Vec::new());
            for (at, length) in parts.into_iter().enumerate() {
                let byte = u8::try_from(at).expect("a few");
                let (first, mut second) = (vec![byte; length / 3], &vec![!byte; length][..]);
                let mut first = &first[..];
                while !(first.is_empty() && second.is_empty()) {
                    let count = writer.data(&[IoSlice::new(first), IoSlice::new(second)]);
                    let of_first = count.min(first.len());
                    sent.extend_from_slice(&first[..of_first]);
                    sent.extend_from_slice(&second[..count - of_first]);
                    first = &first[of_first..];
                    second = &second[count - of_first..];
                    prop_assert!(count > 0 || writer.is_full());
                    prop_assert!(writer.out().len() <= BATCH && count <= FRAME);
                    if writer.is_full() {
                        wire.extend_from_slice(writer.out());
                        writer.wrote(writer.out().len());
                    }
                }
                writer.control(Control::Ping, &[byte]);
            }
            wire.extend_from_slice(writer.out());
            let mut socket = FrameSocket::new(Cursor::new(wire));
            let mut came = Vec::new();
            while let Some(frame) = socket.read(None).expect("frames") {
                let key = frame.header().mask.expect("a client masks");
                if frame.header().opcode == OpCode::Data(Data::Binary) {
                    let mut carried = frame.payload().to_vec();
                    mask(&mut carried, key);
                    came.extend_from_slice(&carried);
                }
            }
            prop_assert!(came == sent, "{} of {} bytes", came.len(), sent.len());
        }
    }

    #[test]
    fn a_close_says_why() {
        let close = |frame| read(&written([Frame::close(frame)]), 3).expect("a close").1;
        assert_eq!(close(None), [Said::Close(None)]);
        let frame = CloseFrame {
            code: 1001.into(),
            reason: "away".into(),
        };
        let said = Said::Close(Some((1001, "away".to_owned())));
        assert_eq!(close(Some(frame)), [said]);
    }

    #[test]
    fn what_a_server_may_not_send_is_refused() {
        let long = [&[0x89, 126, 0, 126][..], &[0; 126]].concat();
        for (why, bytes) in [
            ("a mask", &[0x82, 0x81, 1, 2, 3, 4, 5][..]),
            ("reserved bits", &[0xc2, 1, 0]),
            ("text", &[0x81, 1, b'a']),
            ("an unknown kind", &[0x83, 1, 0]),
            ("an unknown control", &[0x8b, 0]),
            ("a control in parts", &[0x09, 0]),
            ("a long control", &long),
            ("a message within another", &[0x02, 1, 0, 0x82, 1, 0]),
            ("the end of none", &[0x80, 1, 0]),
            (
                "a length of 64 bits",
                &[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0],
            ),
            (
                "a long control that says so at length",
                &[0x89, 126, 0, 0x80],
            ),
            ("half a code", &[0x88, 1, 3]),
        ] {
            assert!(read(bytes, 2).is_err(), "{why}");
        }
        // The largest that there may be only begins.
        let largest = [&[0x82, 127, 0x7f][..], &[0xff; 7], &[1, 2]].concat();
        assert_eq!(read(&largest, 4), Ok((vec![1, 2], Vec::new())));
    }

    #[test]
    fn no_two_frames_share_a_key() {
        let mut writer = FrameWriter::new();
        let mut keys = std::collections::HashSet::new();
        for _ in 0..3 * KEYS {
            writer.control(Control::Ping, &[]);
            keys.insert(writer.out()[START..].to_vec());
            writer.wrote(writer.out().len());
        }
        // Four bytes each: that some are alike by chance does not happen in a lifetime of runs.
        assert!(keys.len() >= 3 * KEYS - 1, "{}", keys.len());
    }

    #[test]
    fn what_was_much_leaves_no_room_behind_for_ever() {
        let mut writer = FrameWriter::new();
        let much = vec![0; BATCH];
        while !writer.is_full() {
            writer.data(&[IoSlice::new(&much)]);
        }
        writer.wrote(1);
        assert_eq!(writer.out()[0], 0xff, "the second byte of a head");
        writer.wrote(writer.out().len());
        assert!(writer.out().is_empty());
        writer.relax();
        assert_eq!(writer.out.capacity(), 0);
        writer.data(&[IoSlice::new(b"more")]);
        writer.relax();
        assert_eq!(
            writer.out().len(),
            4 + START + 4,
            "what is to be written stays"
        );
    }

    #[test]
    fn what_is_small_is_whole() {
        let bytes = written([binary(b"hello"), Frame::ping(Vec::new()), binary(b"")]);
        let heard = vec![Said::Ping(Vec::new())];
        assert_eq!(read(&bytes, 1), Ok((b"hello".to_vec(), heard)));
    }
}
