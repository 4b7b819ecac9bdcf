//! A far side that says what no well-behaved server can be made to say, frame by frame.

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// What it does with the first request, once it has all of it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Script {
    /// Refuses the stream, and takes no more of them.
    Refuse,
    /// Goes away, having acted upon no request.
    GoAway,
    /// Goes away, having perhaps acted upon this one, and ends.
    GoAwayBehind,
    /// Goes away, and is yet to answer this one.
    GoAwayBefore,
    /// Begins to answer and resets the stream with that code.
    Cut(u8),
    /// Begins to answer and goes away as if that answer had never been.
    GoAwayWithin,
    /// Answers, and then resets the stream as a server does that wants no more of the request.
    Answer,
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const INITIAL_WINDOW_SIZE: u8 = 4;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
/// `:status: 200` (RFC 7541, appendix A).
const OK: [u8; 1] = [0x88];
const REFUSED_STREAM: u8 = 7;
const STREAM: u8 = 1;

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("short");
    let head = [0, 0, length, kind, flags, 0, 0, 0, stream];
    [&head[..], payload].concat()
}

impl Script {
    fn frames(self) -> Vec<Vec<u8>> {
        let answer = frame(HEADERS, END_HEADERS, STREAM, &OK);
        let part = frame(DATA, 0, STREAM, b"a part");
        let reset = |code| frame(RST_STREAM, 0, STREAM, &[0, 0, 0, code]);
        let go_away = |last| frame(GOAWAY, 0, 0, &[0, 0, 0, last, 0, 0, 0, 0]);
        match self {
            Self::Refuse => vec![reset(REFUSED_STREAM), go_away(STREAM)],
            Self::GoAway => vec![go_away(0)],
            Self::GoAwayBehind | Self::GoAwayBefore => vec![go_away(STREAM)],
            Self::Cut(code) => vec![answer, part, reset(code)],
            Self::GoAwayWithin => vec![answer, part, go_away(0)],
            Self::Answer => vec![
                answer,
                frame(DATA, END_STREAM, STREAM, b"all of it"),
                reset(0),
            ],
        }
    }
}

/// Plays `script` and goes on listening, until the other side leaves.
pub(super) async fn play(script: Script, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await.expect("a preface");
    let settings = frame(SETTINGS, 0, 0, &[0, INITIAL_WINDOW_SIZE, 0, 1 << 4, 0, 0]);
    let window = frame(WINDOW_UPDATE, 0, 0, &[0, 1 << 4, 0, 0]);
    let start = [settings, window].concat();
    stream.write_all(&start).await.expect("settings");
    let mut header = [0; 9];
    while stream.read_exact(&mut header).await.is_ok() {
        let [a, b, c, kind, flags, ..] = header;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        if stream.read_exact(&mut payload).await.is_err() {
            return;
        }
        let answers = match kind {
            SETTINGS if flags & ACK == 0 => vec![frame(SETTINGS, ACK, 0, &[])],
            PING if flags & ACK == 0 => vec![frame(PING, ACK, 0, &payload)],
            HEADERS | DATA if flags & END_STREAM != 0 => script.frames(),
            _ => vec![],
        };
        let is_last = matches!(script, Script::GoAwayBehind) && kind <= HEADERS;
        let sending = async {
            stream.write_all(&answers.concat()).await?;
            stream.flush().await
        };
        if sending.await.is_err() || is_last {
            return;
        }
    }
}
