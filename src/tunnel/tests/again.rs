//! What is sent again, what is not, and what is no answer.

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Either, Full};

use super::raw::Script;
use super::{BOTH, RequestBody, World, world};

/// More than is kept of a body.
static LARGE: [u8; 70_000] = [7; 70_000];

fn request(method: &Method, body: Option<&'static [u8]>) -> Request<RequestBody> {
    let body = body.map_or_else(Bytes::new, Bytes::from_static);
    let request = Request::builder().method(method).uri("/echo");
    request
        .body(Either::Left(Full::new(body)))
        .expect("a request")
}

fn scripted(scripts: &[Script]) -> World {
    let world = world(&BOTH, |_| {});
    world.far.scripts.lock().expect("whole").extend(scripts);
    world
}

#[tokio::test]
async fn what_was_not_acted_upon_is_sent_again() {
    for script in [Script::Refuse, Script::GoAway] {
        for (method, body) in [
            (Method::GET, None),
            (Method::DELETE, None),
            (Method::POST, Some(&b"a body"[..])),
            (Method::PATCH, Some(&LARGE[..60_000])),
        ] {
            let world = scripted(&[script]);
            let sent = world.pool.request(request(&method, body)).await;
            let answer = sent.expect("an answer").into_body().collect().await;
            assert_eq!(
                answer.expect("all of it").to_bytes(),
                body.unwrap_or_default(),
                "{method} {script:?}"
            );
            assert_eq!(world.requests(), 1);
        }
    }
}

#[tokio::test]
async fn what_may_have_been_acted_upon_is_sent_again_only_if_it_is_safe() {
    let world = scripted(&[Script::GoAwayBehind]);
    let sent = world.pool.request(request(&Method::GET, None)).await;
    sent.expect("an answer");
    assert_eq!(world.requests(), 1);

    for (method, body) in [
        (Method::POST, None),
        (Method::PUT, Some(&b"a body"[..])),
        (Method::DELETE, None),
        (Method::GET, Some(&b"a body"[..])),
    ] {
        let world = scripted(&[Script::GoAwayBehind]);
        let sent = world.pool.request(request(&method, body)).await;
        sent.expect_err("it is not known whether it was done");
        assert_eq!(world.requests(), 0, "{method}");
    }
}

#[tokio::test]
async fn what_is_too_large_to_be_kept_is_not_sent_again() {
    let world = scripted(&[Script::Refuse]);
    let body = Some(&LARGE[..]);
    let sent = world.pool.request(request(&Method::POST, body)).await;
    sent.expect_err("nothing was kept");
    assert_eq!(world.requests(), 0);
}

#[tokio::test]
async fn who_is_refused_every_time_is_told_so() {
    let world = scripted(&[Script::Refuse; 10]);
    let sent = world.pool.request(request(&Method::GET, None)).await;
    let error = format!("{:?}", sent.expect_err("refused"));
    assert!(error.contains("REFUSED_STREAM"), "{error}");
    assert_eq!(world.requests(), 0);
}

#[tokio::test]
async fn an_answer_that_is_cut_is_an_error_however_it_is_said() {
    const NO_ERROR: u8 = 0;
    const INTERNAL: u8 = 2;
    const CANCEL: u8 = 8;
    for script in [
        Script::Cut(NO_ERROR),
        Script::Cut(INTERNAL),
        Script::Cut(CANCEL),
        Script::GoAwayWithin,
    ] {
        let world = scripted(&[script]);
        let sent = world.pool.request(request(&Method::GET, None)).await;
        let answer = sent.expect("it begins").into_body().collect().await;
        answer.expect_err("it is not whole");
    }
    let world = scripted(&[Script::Answer]);
    let sent = world.pool.request(request(&Method::GET, None)).await;
    let answer = sent.expect("it begins").into_body().collect().await;
    assert_eq!(answer.expect("it is whole").to_bytes(), "all of it");
}
