//! One request and the judging of its answer.

use std::time::Instant;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::Value;

use super::super::board::{Board, Verdict};
use super::super::endpoint::{Body, Line, whole};
use super::Load;
use super::alive::Alive;

/// A whole answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

impl Answer {
    /// The body as JSON.
    pub(super) fn json(&self) -> Result<Value, Verdict> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let why = format!("an answer with {} is no JSON: {error}", self.status);
            Verdict::Truncated(why)
        })
    }

    /// Judges a status that is not the one that should have come.
    pub(super) fn unexpected(&self) -> Verdict {
        judge_refusal(self.status, &self.body)
    }
}

/// Judges an answer that refuses: only a `Status` that tells of trouble on the way is clean.
pub(super) fn judge_refusal(status: StatusCode, body: &[u8]) -> Verdict {
    let Ok(object) = serde_json::from_slice::<Value>(body) else {
        let body = String::from_utf8_lossy(body);
        return Verdict::Wrong(format!("{status} without a Status: {body:.200}"));
    };
    let message = object["message"].as_str().unwrap_or_default();
    if object["kind"] != "Status" || object["code"] != status.as_u16() {
        return Verdict::Wrong(format!("{status} with another object than its Status"));
    }
    let is_clean = status.is_server_error()
        || status == StatusCode::TOO_MANY_REQUESTS
        // Credentials that have ended are told from missing ones by nobody; the recovery shows
        // whether the client gets others.
        || status == StatusCode::UNAUTHORIZED;
    if is_clean {
        return Verdict::Failed(format!("{status}: {}", shortened(message)));
    }
    Verdict::Wrong(format!("{status}: {message}"))
}

/// As much of a message as tells its kind from others.
fn shortened(message: &str) -> String {
    let mut words = String::new();
    for letter in message.chars().take(160) {
        // Numbers and ids would make every message one of its own.
        words.push(if letter.is_ascii_digit() { '#' } else { letter });
    }
    while words.contains("##") {
        words = words.replace("##", "#");
    }
    words
}

/// The failure of a connection, with all that is behind it.
pub(super) fn failed(error: &(dyn std::error::Error + 'static)) -> Verdict {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    Verdict::Failed(shortened(&text))
}

/// Sends `request` as far as the answer's head, and tells `alive`.
pub(super) async fn open(
    line: &Line,
    mut request: Request<Body>,
    alive: &Alive,
) -> Result<Response<Incoming>, Verdict> {
    alive.name(request.headers_mut());
    let mut connection = line
        .connection()
        .await
        .map_err(|error| failed(error.as_ref()))?;
    connection
        .sender
        .ready()
        .await
        .map_err(|error| failed(&error))?;
    let response = connection.sender.send_request(request).await;
    let response = response.map_err(|error| failed(&error))?;
    alive.answered();
    Ok(response)
}

/// Sends a request and reads its answer to the end.
pub(super) async fn send(
    line: &Line,
    request: Request<Body>,
    alive: &Alive,
) -> Result<Answer, Verdict> {
    let response = open(line, request, alive).await?;
    let status = response.status();
    let body = response.into_body().collect().await;
    let body = body.map_err(|error| failed(&error))?.to_bytes();
    Ok(Answer { status, body })
}

/// A request to make, and what it is for.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) load: Load,
    pub(super) method: Method,
    pub(super) path: String,
    /// The body and its media type.
    pub(super) body: Option<(Value, &'static str)>,
}

impl Ask {
    pub(super) fn get(load: Load, path: impl Into<String>) -> Self {
        Self {
            load,
            method: Method::GET,
            path: path.into(),
            body: None,
        }
    }

    pub(super) fn request(&self, line: &Line) -> Request<Body> {
        let body = match &self.body {
            Some((value, _)) => whole(value.to_string()),
            None => whole(Bytes::new()),
        };
        let mut request = line
            .endpoint()
            .request(self.method.clone(), &self.path, body);
        if let Some((_, media_type)) = &self.body {
            request
                .headers_mut()
                .insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
        }
        request
    }
}

/// Asks, judges the answer by `check`, and notes the verdict. Gives what `check` gave.
pub(super) async fn ask<T>(
    board: &Board,
    line: &Line,
    ask: &Ask,
    check: impl FnOnce(&Answer) -> Result<T, Verdict>,
) -> Option<T> {
    let (began, alive) = (Instant::now(), Alive::new());
    let asking = async { check(&send(line, ask.request(line), &alive).await?) };
    let result = tokio::select! {
        result = asking => result,
        hung = alive.stalled(board, "whole answer") => Err(hung),
    };
    let words = || format!("{} {}", ask.method, ask.path);
    match result {
        Ok(value) => {
            board.note(ask.load, words, began, &Verdict::Ok);
            Some(value)
        }
        Err(verdict) => {
            board.note(ask.load, words, began, &verdict);
            None
        }
    }
}
