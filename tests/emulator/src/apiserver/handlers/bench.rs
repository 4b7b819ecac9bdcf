//! Bodies of any size, for measurements. Not part of Kubernetes.

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use serde_json::json;

use super::super::status::{Result, Status};
use crate::http::{Body, BodyError, json as json_answer};

const CHUNK: usize = 64 * 1024;
static ZEROS: [u8; CHUNK] = [0; CHUNK];

/// Answers `bytes/{n}` and `sink`.
pub(super) async fn answer(path: &str, request: Request<Incoming>) -> Result<Response<Body>> {
    if let Some(length) = path.strip_prefix("bytes/") {
        let length: u64 = length
            .parse()
            .map_err(|_| Status::bad_request("the length is no number"))?;
        return Ok(source(length));
    }
    if path != "sink" {
        return Err(Status::no_route());
    }
    let mut body = request.into_body();
    let mut length: u64 = 0;
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|error| Status::bad_request(format!("the body broke off: {error}")))?;
        length += frame.data_ref().map_or(0, |data| data.len() as u64);
    }
    Ok(json_answer(StatusCode::OK, &json!({ "length": length })))
}

fn source(length: u64) -> Response<Body> {
    let chunks = stream::unfold(length, |left| async move {
        let next = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        let chunk = Bytes::from_static(&ZEROS[..next]);
        (next > 0).then(|| (Ok::<_, BodyError>(Frame::data(chunk)), left - next as u64))
    });
    let mut response = Response::new(StreamBody::new(chunks).boxed_unsync());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    response
}
