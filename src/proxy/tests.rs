//! The listener, byte by byte: what well-behaved clients of ours do not say.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::time::timeout;

use super::listener::{Visitor, speak};
use super::{Gate, RequestBody, Route, Upstream};
use crate::error::{Code, Error};
use crate::secret::Secret;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const CANCEL: u8 = 8;

/// Answers every request.
struct Far;

impl Upstream for Far {
    type Body = Full<Bytes>;

    async fn request(&self, _: Request<RequestBody>) -> Result<Response<Self::Body>, Error> {
        Ok(Response::new(Full::from("answered")))
    }

    async fn upgrade(&self, _: Request<RequestBody>) -> Result<Response<Incoming>, Error> {
        Err(Error::new(Code::Tunnel, "no tunnel"))
    }

    fn body(_: Incoming) -> Self::Body {
        Full::default()
    }
}

/// A client's end of a connection to the listener, before its first byte.
async fn connection(is_h2: bool) -> DuplexStream {
    let route = Route::new(&Secret::from("t"), "ab12".to_owned(), Arc::new(Far));
    let gate = Arc::new(Gate::new(vec![route]));
    let (client, near) = duplex(1 << 20);
    let visitor = Arc::new(Visitor::alone().await);
    tokio::spawn(speak(near, is_h2, gate, visitor));
    client
}

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("short");
    let head = [0, 0, length, kind, flags, 0, 0, 0, stream];
    [&head[..], payload].concat()
}

/// Literal fields, not indexed and not compressed (RFC 7541, section 6.2.2).
fn headers(method: &str, flags: u8, stream: u8) -> Vec<u8> {
    let fields = [
        (":method", method),
        (":scheme", "https"),
        (":path", "/api"),
        (":authority", "localhost"),
        ("authorization", "Bearer t"),
    ];
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).expect("short"));
            block.extend(text.as_bytes());
        }
    }
    frame(HEADERS, flags | END_HEADERS, stream, &block)
}

fn reset(stream: u8, code: u8) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &[0, 0, 0, code])
}

/// Reads frames until the answer on `stream` has begun.
///
/// # Panics
/// The connection ends before.
async fn answered(client: &mut DuplexStream, stream: u8) {
    let reading = async {
        loop {
            let mut head = [0; 9];
            client.read_exact(&mut head).await.expect("a frame");
            let [a, b, c, kind, _, .., on] = head;
            assert_ne!(kind, GOAWAY, "the connection is ended");
            let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
            client.read_exact(&mut payload).await.expect("its payload");
            if (kind, on) == (HEADERS, stream) {
                return;
            }
        }
    };
    let answered = timeout(Duration::from_secs(20), reading).await;
    answered.expect("an answer in time");
}

#[tokio::test]
async fn a_client_may_take_back_many_requests_at_once() {
    let mut client = connection(true).await;
    let taken_back = (0..100).map(|number| {
        let stream = 2 * number + 1;
        [headers("GET", END_STREAM, stream), reset(stream, CANCEL)].concat()
    });
    let mut said = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    said.extend(taken_back.flatten());
    said.extend(headers("GET", END_STREAM, 201));
    client.write_all(&said).await.expect("says it");
    answered(&mut client, 201).await;
}
