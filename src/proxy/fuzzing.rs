//! Fuzz target: requests to the local listener.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, Request, Response, header};
use http_body_util::Full;
use hyper::body::Incoming;

use super::listener::{Visitor, speak};
use super::{Gate, RequestBody, Route, Upstream, local};
use crate::error::{Code, Error};
use crate::fuzzing::{Wire, block_on};
use crate::secret::Secret;

/// What the client must bear.
const TOKEN: &str = "t0k3n";
/// Stands for the cluster.
const HASH: &str = "ab12";
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Looks at what is let through.
struct Far;

impl Upstream for Far {
    type Body = Full<Bytes>;

    async fn request(&self, request: Request<RequestBody>) -> Result<Response<Self::Body>, Error> {
        is_let_through(&request);
        for name in [
            "connection",
            "keep-alive",
            "transfer-encoding",
            "upgrade",
            "proxy-authorization",
        ] {
            let name = HeaderName::from_static(name);
            assert!(!request.headers().contains_key(&name), "{name}");
        }
        Ok(Response::new(Full::from("ok")))
    }

    async fn upgrade(&self, request: Request<RequestBody>) -> Result<Response<Incoming>, Error> {
        is_let_through(&request);
        for name in [header::CONTENT_LENGTH, header::TRANSFER_ENCODING] {
            assert!(!request.headers().contains_key(&name), "{name}");
        }
        Err(Error::new(Code::Tunnel, "no tunnel"))
    }

    fn body(_: Incoming) -> Self::Body {
        Full::default()
    }
}

fn is_let_through(request: &Request<RequestBody>) {
    let mut given = request.headers().get_all(header::AUTHORIZATION).iter();
    let bearer = format!("Bearer {TOKEN}");
    assert!(given.next().is_some_and(|given| *given == bearer) && given.next().is_none());
    local::check(request).expect("it names this machine");
    if let Some(path) = request.uri().path_and_query() {
        assert!(!path.as_str().contains([' ', '\r', '\n', '\0']), "{path}");
    }
}

/// A connection's bytes behind TLS. The first byte says how they come, the second whether they are
/// HTTP/2, whose preface is put before them.
pub(crate) fn gate(data: &[u8]) {
    let [piece, is_h2, sent @ ..] = data else {
        return;
    };
    let is_h2 = is_h2 % 2 == 1;
    let route = Route::new(&Secret::from(TOKEN), HASH.to_owned(), Arc::new(Far));
    let gate = Arc::new(Gate::new(vec![route]));
    let preface = if is_h2 { PREFACE } else { b"" };
    let wire = Wire::new([preface, sent].concat(), *piece);
    let _ = block_on(async {
        let visitor = Arc::new(Visitor::alone().await);
        speak(wire, is_h2, gate, visitor).await
    });
}
