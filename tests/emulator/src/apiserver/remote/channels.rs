//! exec and attach over WebSocket: one byte of every message says which stream it belongs to.

use std::sync::{Arc, Weak};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::{Sink, SinkExt as _, Stream, StreamExt as _};
use http::{Request, Response};
use hyper::body::Incoming;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::sync::CancellationToken;

use super::session::{Sizes, Wanted};
use super::status::Status;
use super::upgrade::{Socket, subprotocol, websocket};
use crate::apiserver::runtime::pipe::{Reader, Writer};
use crate::apiserver::runtime::terminal::Size;
use crate::apiserver::runtime::{Process, Runtime};
use crate::http::Body;

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
/// From version 5 on: the channel in the next byte is closed.
const CLOSE: u8 = 255;

const V5: &str = "v5.channel.k8s.io";
const V4: &str = "v4.channel.k8s.io";
const V4_BASE64: &str = "v4.base64.channel.k8s.io";
const V1: &str = "channel.k8s.io";
const V1_BASE64: &str = "base64.channel.k8s.io";

/// How long a process takes to start, as one of a real runtime does. Clients need it: those on
/// client-go listen before they have made their channels, and drop what comes too early.
const START: Duration = Duration::from_millis(30);

/// How long a client has to read the rest and close, once everything is sent.
const FAREWELL: Duration = Duration::from_mins(1);

/// The same, once the pod is gone.
const LAST: Duration = Duration::from_secs(1);

/// What a subprotocol can do.
#[derive(Debug, Clone, Copy)]
struct Dialect {
    base64: bool,
    closes: bool,
    json: bool,
}

impl Dialect {
    fn of(protocol: &str) -> Self {
        Self {
            base64: matches!(protocol, V4_BASE64 | V1_BASE64),
            closes: protocol == V5,
            json: matches!(protocol, V5 | V4 | V4_BASE64),
        }
    }

    fn message(self, channel: u8, data: &[u8]) -> Message {
        if self.base64 {
            let text = format!("{channel}{}", STANDARD.encode(data));
            return Message::text(text);
        }
        let mut message = BytesMut::with_capacity(data.len() + 1);
        message.put_u8(channel);
        message.put_slice(data);
        Message::Binary(message.freeze())
    }

    fn status(self, status: &Status) -> Message {
        let bytes = if self.json {
            status.json()
        } else {
            status.text()
        };
        self.message(ERROR, &bytes)
    }

    /// The channel and data of a client's message, if it has any.
    fn parse(self, message: Message) -> Option<(u8, Bytes)> {
        if self.base64 {
            let text = message.into_text().ok()?;
            let channel = u8::try_from(text.chars().next()?.to_digit(10)?).ok()?;
            let data = STANDARD.decode(&text.as_str()[1..]).ok()?;
            return Some((channel, data.into()));
        }
        let mut data = message.into_data();
        if data.is_empty() {
            return None;
        }
        let channel = data.split_to(1)[0];
        Some((channel, data))
    }
}

/// Answers an exec or attach request that wants a WebSocket.
pub(super) fn serve(
    request: Request<Incoming>,
    wanted: Wanted,
    runtime: &Arc<Runtime>,
) -> Response<Body> {
    let protocol = match subprotocol(&request, &[V5, V4, V4_BASE64, V1, V1_BASE64, ""]) {
        Ok(protocol) => protocol,
        Err(refusal) => return *refusal,
    };
    let runtime = Arc::downgrade(runtime);
    websocket(request, protocol, move |socket| async move {
        if let Err(error) = session(socket, Dialect::of(protocol), &wanted, &runtime).await {
            tracing::debug!(%error, "a client left its session");
        }
    })
}

async fn session(
    socket: Socket,
    dialect: Dialect,
    wanted: &Wanted,
    runtime: &Weak<Runtime>,
) -> Result<(), Error> {
    let (mut output, mut input) = socket.split();
    tokio::time::sleep(START).await;
    // Clients learn from a first, empty message that the session stands.
    let first = match (wanted.options.stdout, wanted.options.stderr) {
        (true, _) => STDOUT,
        (false, true) => STDERR,
        (false, false) => ERROR,
    };
    output.send(dialect.message(first, &[])).await?;
    let started = match runtime.upgrade() {
        Some(runtime) => wanted.start(&runtime),
        None => return Ok(()),
    };
    let mut stopped = None;
    let status = match started {
        Err(status) => status,
        Ok(mut process) => {
            stopped = Some(process.stopped());
            let stdin = process.stdin.take();
            let size = process.size.clone();
            tokio::select! {
                code = show(&mut process, dialect, wanted, &mut output) => wanted.ended(code?),
                // Without a client the process is killed.
                gone = listen(&mut input, dialect, stdin, size) => return gone,
            }
        }
    };
    output.send(dialect.status(&status)).await?;
    let close = CloseFrame {
        code: CloseCode::Normal,
        reason: "".into(),
    };
    output.send(Message::Close(Some(close))).await?;
    farewell(&mut input, stopped).await;
    Ok(())
}

/// Sends what the process writes, and returns its exit code.
async fn show<S>(
    process: &mut Process,
    dialect: Dialect,
    wanted: &Wanted,
    output: &mut S,
) -> Result<u8, Error>
where
    S: Sink<Message, Error = Error> + Unpin,
{
    let (mut stdout, mut stderr) = (true, true);
    while stdout || stderr {
        let (channel, chunk) = tokio::select! {
            chunk = next(&mut process.stdout), if stdout => (STDOUT, chunk),
            chunk = next(&mut process.stderr), if stderr => (STDERR, chunk),
        };
        let (open, asked) = match channel {
            STDOUT => (&mut stdout, wanted.options.stdout),
            _ => (&mut stderr, wanted.options.stderr),
        };
        match chunk {
            None => *open = false,
            Some(chunk) if asked => output.send(dialect.message(channel, &chunk)).await?,
            Some(_) => {}
        }
    }
    Ok(process.wait().await)
}

async fn next(reader: &mut Reader) -> Option<Bytes> {
    reader.chunk(usize::MAX).await
}

/// Takes what the client sends until the client is gone. While the process does not read its
/// input, nothing else of the client's is heard either, as with the real servers.
async fn listen<S>(
    input: &mut S,
    dialect: Dialect,
    mut stdin: Option<Writer>,
    size: tokio::sync::watch::Sender<Size>,
) -> Result<(), Error>
where
    S: Stream<Item = Result<Message, Error>> + Unpin,
{
    let mut sizes = Sizes::default();
    while let Some(message) = input.next().await {
        let message = match message? {
            Message::Close(_) => break,
            message @ (Message::Binary(_) | Message::Text(_)) => message,
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => continue,
        };
        match dialect.parse(message) {
            Some((STDIN, data)) => {
                if let Some(writer) = &stdin
                    && writer.write(data).await.is_err()
                {
                    stdin = None;
                }
            }
            Some((RESIZE, data)) => {
                if let Some(told) = sizes.take(&data) {
                    size.send_replace(told);
                }
            }
            Some((CLOSE, channel)) if dialect.closes && channel[..] == [STDIN] => stdin = None,
            Some(_) | None => {}
        }
    }
    Ok(())
}

/// Waits for the client to close, so that it gets to read everything first.
async fn farewell<S>(input: &mut S, stopped: Option<CancellationToken>)
where
    S: Stream<Item = Result<Message, Error>> + Unpin,
{
    let stopped = async {
        match stopped {
            Some(stopped) => {
                stopped.cancelled().await;
                tokio::time::sleep(LAST).await;
            }
            None => std::future::pending().await,
        }
    };
    let closed = async { while let Some(Ok(_)) = input.next().await {} };
    tokio::select! {
        () = closed => {}
        () = tokio::time::sleep(FAREWELL) => {}
        () = stopped => {}
    }
}
