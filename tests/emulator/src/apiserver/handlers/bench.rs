//! Bodies of any size, for measurements and for soaks. Not part of Kubernetes.
//!
//! `bytes/N` and `sink` are as fast as they can be; `pattern/N`, `stream/N` and `verify/N` carry a
//! [`Pattern`] of the seed N, so that both sides can tell a whole body from any other.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use serde_json::json;

use super::super::status::{Result, Status};
use crate::http::{Body, BodyError, json as json_answer};
use crate::pattern::Pattern;

const CHUNK: usize = 64 * 1024;
static ZEROS: [u8; CHUNK] = [0; CHUNK];

/// How the uploads to `verify/N` have ended.
#[derive(Debug, Default)]
pub(in super::super) struct Uploads {
    whole: AtomicU64,
    broken: AtomicU64,
    short: AtomicU64,
    wrong: AtomicU64,
}

/// Answers what is asked for below the prefix of this module.
pub(super) async fn answer(
    path: &str,
    request: Request<Incoming>,
    uploads: &Uploads,
) -> Result<Response<Body>> {
    match path.split_once('/') {
        Some(("bytes", length)) => Ok(download(zeros(number(length)?), Some(number(length)?))),
        Some(("pattern", length)) => Ok(download(pattern(number(length)?), Some(number(length)?))),
        Some(("stream", length)) => Ok(download(pattern(number(length)?), None)),
        Some(("verify", length)) => verify(number(length)?, request, uploads).await,
        None if path == "sink" => sink(request).await,
        None if path == "verified" => Ok(uploads.told()),
        _ => Err(Status::no_route()),
    }
}

fn number(text: &str) -> Result<u64> {
    text.parse()
        .map_err(|_| Status::bad_request("the length is no number"))
}

async fn sink(request: Request<Incoming>) -> Result<Response<Body>> {
    let mut body = request.into_body();
    let mut length: u64 = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| broke_off(&error))?;
        length += frame.data_ref().map_or(0, |data| data.len() as u64);
    }
    Ok(json_answer(StatusCode::OK, &json!({ "length": length })))
}

/// Compares the body with the pattern of `length`.
async fn verify(
    length: u64,
    request: Request<Incoming>,
    uploads: &Uploads,
) -> Result<Response<Body>> {
    let mut body = request.into_body();
    let mut expected = Pattern::new(length);
    let count = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
    while let Some(frame) = body.frame().await {
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => {
                count(&uploads.broken);
                return Err(broke_off(&error));
            }
        };
        if let Some(data) = frame.data_ref()
            && let Err(at) = expected.check(data)
        {
            count(&uploads.wrong);
            return Err(Status::bad_request(format!("byte {at} is not as sent")));
        }
    }
    let arrived = expected.position();
    count(match arrived.cmp(&length) {
        std::cmp::Ordering::Less => &uploads.short,
        std::cmp::Ordering::Equal => &uploads.whole,
        std::cmp::Ordering::Greater => &uploads.wrong,
    });
    Ok(json_answer(StatusCode::OK, &json!({ "length": arrived })))
}

fn broke_off(error: &hyper::Error) -> Status {
    Status::bad_request(format!("the body broke off: {error}"))
}

impl Uploads {
    fn told(&self) -> Response<Body> {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let told = json!({
            "whole": read(&self.whole),
            "broken": read(&self.broken),
            "short": read(&self.short),
            "wrong": read(&self.wrong),
        });
        json_answer(StatusCode::OK, &told)
    }
}

fn zeros(length: u64) -> Body {
    let chunks = stream::unfold(length, |left| async move {
        let next = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        let chunk = Bytes::from_static(&ZEROS[..next]);
        (next > 0).then(|| (Ok::<_, BodyError>(Frame::data(chunk)), left - next as u64))
    });
    StreamBody::new(chunks).boxed_unsync()
}

fn pattern(length: u64) -> Body {
    let chunks = stream::unfold(Pattern::new(length), move |mut pattern| async move {
        let left = length - pattern.position();
        let next = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        (next > 0).then(|| (Ok::<_, BodyError>(Frame::data(pattern.take(next))), pattern))
    });
    StreamBody::new(chunks).boxed_unsync()
}

/// An answer of `body`. Without a length, only the end of the stream says where it ends.
fn download(body: Body, length: Option<u64>) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    if let Some(length) = length {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    response
}
