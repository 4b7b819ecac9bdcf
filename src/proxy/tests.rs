//! The listener, byte by byte: what well-behaved clients of ours do not say.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::time::timeout;

use super::listener::{Visitor, speak};
use super::{Gate, RequestBody, Route, Upstream};
use crate::error::{Code, Error};
use crate::secret::Secret;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const NO_ERROR: u8 = 0;
const CANCEL: u8 = 8;

/// Reads each request's body to its end, and notes how that was.
#[derive(Default)]
struct Far(Mutex<Vec<Option<Bytes>>>);

impl Upstream for Far {
    type Body = Full<Bytes>;

    async fn request(&self, request: Request<RequestBody>) -> Result<Response<Self::Body>, Error> {
        let body = request.into_body().collect().await;
        let body = body.ok().map(http_body_util::Collected::to_bytes);
        self.0.lock().expect("whole").push(body);
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
async fn connection(is_h2: bool) -> (DuplexStream, Arc<Far>) {
    let far = Arc::new(Far::default());
    let route = Route::new(&Secret::from("t"), "ab12".to_owned(), far.clone());
    let gate = Arc::new(Gate::new(vec![route]));
    let (client, near) = duplex(1 << 20);
    let visitor = Arc::new(Visitor::alone().await);
    tokio::spawn(speak(near, is_h2, gate, visitor));
    (client, far)
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
    let (mut client, _far) = connection(true).await;
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

#[tokio::test]
async fn an_upload_that_is_taken_back_is_not_whole_however_it_is_said() {
    for code in [NO_ERROR, CANCEL] {
        let (mut client, far) = connection(true).await;
        let said = [
            PREFACE,
            &frame(SETTINGS, 0, 0, &[]),
            &headers("POST", 0, 1),
            &frame(DATA, 0, 1, b"a part"),
            &headers("POST", 0, 3),
            &frame(DATA, END_STREAM, 3, b"all of it"),
        ];
        client.write_all(&said.concat()).await.expect("says it");
        answered(&mut client, 3).await;
        client.write_all(&reset(1, code)).await.expect("says it");
        let after = headers("GET", END_STREAM, 5);
        client.write_all(&after).await.expect("says it");
        answered(&mut client, 5).await;
        let bodies = far.0.lock().expect("whole");
        let part = Some(Bytes::from("a part"));
        assert!(bodies.contains(&Some(Bytes::from("all of it"))));
        assert!(!bodies.contains(&part), "reset with {code}");
    }
}

/// All that is answered to `said` over HTTP/1.
async fn told(said: &str) -> String {
    let (mut client, _far) = connection(false).await;
    client.write_all(said.as_bytes()).await.expect("says it");
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.expect("an answer");
    answer
}

#[tokio::test]
async fn a_client_of_http_1_0_is_turned_away() {
    let request = "GET /api HTTP/1.0\r\nHost: localhost\r\nAuthorization: Bearer t\r\n\r\n";
    let answer = told(request).await;
    assert!(answer.contains(" 505 "), "{answer}");
    assert!(answer.contains("\"kind\":\"Status\""), "{answer}");
    // One that only looks whether anybody is there may.
    let answer = told("GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n").await;
    assert!(
        answer.contains(" 200 ") && answer.ends_with("ok"),
        "{answer}"
    );
    let request = "GET /api HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer t\r\nConnection: close\r\n\r\n";
    let answer = told(request).await;
    assert!(answer.ends_with("answered"), "{answer}");
}
