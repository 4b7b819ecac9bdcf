//! `exec` and `port-forward` sessions whose other end sends back what it gets.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderValue, header};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::super::board::Verdict;
use super::super::random::Random;
use super::alive::Alive;
use super::request::{failed, judge_refusal};
use super::setup::POD;
use super::{Load, NAMESPACE, Shared};
use arc_emulator::pattern::Pattern;

type Socket = WebSocketStream<TlsStream<TcpStream>>;

/// How much may be under way.
const UNDER_WAY: u64 = 128 << 10;

/// Channels of a command.
const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const ERROR: u8 = 3;
const CLOSE: u8 = 255;

/// The first message on either channel of a forwarded port says which port it is.
const PORT: u16 = 7;

/// What tells the two kinds of session apart.
#[derive(Debug, Clone, Copy)]
struct Kind {
    load: Load,
    path: &'static str,
    protocol: &'static str,
    /// Where bytes go and where they come from.
    to: u8,
    from: u8,
}

const EXEC: Kind = Kind {
    load: Load::Exec,
    path: "exec?container=main&command=cat&stdin=true&stdout=true",
    protocol: "v5.channel.k8s.io",
    to: STDIN,
    from: STDOUT,
};
const FORWARD: Kind = Kind {
    load: Load::Forward,
    path: "portforward?ports=7",
    protocol: "v4.channel.k8s.io",
    to: 0,
    from: 0,
};

pub(super) async fn exec(shared: Arc<Shared>, random: Random) {
    session(&shared, random, EXEC).await;
}

pub(super) async fn forward(shared: Arc<Shared>, random: Random) {
    session(&shared, random, FORWARD).await;
}

async fn session(shared: &Shared, mut random: Random, kind: Kind) {
    let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{POD}/{}", kind.path);
    let lasts = random.time(300, 8_000);
    let alive = Alive::new();
    let talking = async {
        let socket = open(shared, &path, kind, &alive).await?;
        let mut talk = Talk {
            socket,
            kind,
            sent: Pattern::new(lasts.as_secs()),
            expected: Pattern::new(lasts.as_secs()),
            headers: 0,
            finished: false,
        };
        talk.run(&mut random, lasts, &alive).await
    };
    let verdict = tokio::select! {
        verdict = talking => verdict.err().unwrap_or(Verdict::Ok),
        hung = alive.stalled(&shared.board, "echo") => hung,
    };
    let words = || format!("GET {path}, for {:.1} s", lasts.as_secs_f64());
    shared.board.note(kind.load, words, alive.since(), &verdict);
}

async fn open(shared: &Shared, path: &str, kind: Kind, alive: &Alive) -> Result<Socket, Verdict> {
    let (url, authorization) = shared.proxied.websocket(path);
    let request = url.into_client_request();
    let mut request = request.map_err(|error| failed(&error))?;
    let headers = request.headers_mut();
    alive.name(headers);
    headers.insert(header::AUTHORIZATION, authorization);
    headers.insert(
        header::SEC_WEBSOCKET_PROTOCOL,
        HeaderValue::from_static(kind.protocol),
    );
    let stream = shared.proxied.connect_http1().await;
    let stream = stream.map_err(|error| failed(&error))?;
    match tokio_tungstenite::client_async(request, stream).await {
        Ok((socket, _)) => {
            alive.answered();
            Ok(socket)
        }
        Err(Error::Http(answer)) => {
            let body = answer.body().as_deref().unwrap_or_default();
            // The body is there as far as it came with the head.
            if answer.status().is_server_error() && serde_json::from_slice::<Value>(body).is_err() {
                return Err(Verdict::Failed(answer.status().to_string()));
            }
            Err(judge_refusal(answer.status(), body))
        }
        Err(error) => Err(failed(&error)),
    }
}

/// A session that stands.
struct Talk {
    socket: Socket,
    kind: Kind,
    sent: Pattern,
    expected: Pattern,
    /// How many first messages of a port have come.
    headers: u8,
    /// Everything has been sent.
    finished: bool,
}

impl Talk {
    async fn run(
        &mut self,
        random: &mut Random,
        lasts: Duration,
        alive: &Alive,
    ) -> Result<(), Verdict> {
        let end = tokio::time::Instant::now() + lasts;
        let mut next = tokio::time::Instant::now();
        loop {
            if self.kind.load == Load::Forward && self.finished && self.is_even() {
                // There is no half-close: whoever has everything leaves.
                let _ = self.socket.close(None).await;
                return Ok(());
            }
            tokio::select! {
                message = self.socket.next() => {
                    if self.take(message)? {
                        return Ok(());
                    }
                    alive.moved();
                }
                () = tokio::time::sleep_until(next), if !self.finished => {
                    next = tokio::time::Instant::now() + random.time(10, 150);
                    if next > end {
                        self.finish().await?;
                    } else if self.sent.position() - self.expected.position() < UNDER_WAY {
                        let length = random.between(1, 16 << 10);
                        self.send(usize::try_from(length).unwrap_or(1)).await?;
                    }
                }
            }
        }
    }

    fn is_even(&self) -> bool {
        self.sent.position() == self.expected.position()
    }

    async fn send(&mut self, length: usize) -> Result<(), Verdict> {
        let mut message = BytesMut::with_capacity(length + 1);
        message.put_u8(self.kind.to);
        message.put(self.sent.take(length));
        let sent = self.socket.send(Message::Binary(message.freeze())).await;
        sent.map_err(|error| failed(&error))
    }

    /// Says that nothing more is sent.
    async fn finish(&mut self) -> Result<(), Verdict> {
        self.finished = true;
        if self.kind.load == Load::Exec {
            let close = Bytes::from_static(&[CLOSE, STDIN]);
            let sent = self.socket.send(Message::Binary(close)).await;
            sent.map_err(|error| failed(&error))?;
        }
        Ok(())
    }

    /// Takes a message; says whether it was the last.
    fn take(&mut self, message: Option<Result<Message, Error>>) -> Result<bool, Verdict> {
        let data = match message {
            Some(Ok(Message::Binary(data))) => data,
            Some(Ok(Message::Close(frame))) => {
                let normal = frame.is_some_and(|frame| frame.code == CloseCode::Normal);
                // kubectl takes a normal close for the end of the output.
                if normal && self.kind.load == Load::Exec {
                    let why = "a normal close before the command's status";
                    return Err(Verdict::Truncated(why.to_owned()));
                }
                return Err(Verdict::Failed("closed early".to_owned()));
            }
            Some(Ok(_)) => return Ok(false),
            Some(Err(error)) => return Err(failed(&error)),
            None => return Err(Verdict::Failed("the connection ended".to_owned())),
        };
        let Some((&channel, data)) = data.split_first() else {
            return Err(Verdict::Wrong("an empty message".to_owned()));
        };
        if self.kind.load == Load::Forward && self.headers < 2 {
            self.headers += 1;
            return if data == PORT.to_le_bytes() {
                Ok(false)
            } else {
                Err(Verdict::Wrong(format!("{data:?} is not port {PORT}")))
            };
        }
        if channel == self.kind.from {
            return match self.expected.check(data) {
                Ok(()) if self.expected.position() <= self.sent.position() => Ok(false),
                Ok(()) => Err(Verdict::Wrong("more than was sent".to_owned())),
                Err(at) => Err(Verdict::Wrong(format!("byte {at} is another"))),
            };
        }
        if channel == ERROR && self.kind.load == Load::Exec {
            return self.status(data);
        }
        let text = String::from_utf8_lossy(data);
        Err(Verdict::Failed(format!("channel {channel}: {text}")))
    }

    /// Judges the command's status, which comes last.
    fn status(&self, data: &[u8]) -> Result<bool, Verdict> {
        let status: Value = serde_json::from_slice(data)
            .map_err(|error| Verdict::Wrong(format!("the status is none: {error}")))?;
        if status["status"] != "Success" {
            return Err(Verdict::Failed(status["message"].to_string()));
        }
        if !self.finished || !self.is_even() {
            let (came, sent) = (self.expected.position(), self.sent.position());
            let why = format!("success after {came} of {sent} bytes");
            return Err(Verdict::Truncated(why));
        }
        Ok(true)
    }
}
