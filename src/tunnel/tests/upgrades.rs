//! Upgrades have a tunnel of their own, and the next one waits.

use http::{Request, Response, StatusCode, header};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{BOTH, World, until, world};

impl World {
    async fn upgrade(&self) -> Response<Incoming> {
        let request = Request::get("/upgrade")
            .header(header::CONNECTION, "upgrade")
            .header(header::UPGRADE, "test")
            .body(Either::Left(Full::default()))
            .expect("a request");
        self.pool.upgrade(request).await.expect("an answer")
    }
}

#[tokio::test]
async fn an_upgrade_keeps_its_half_close() {
    let world = world(&BOTH, |_| {});
    let response = world.upgrade().await;
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    let mut stream = TokioIo::new(hyper::upgrade::on(response).await.expect("a stream"));
    stream.write_all(b"half").await.expect("writes");
    stream.shutdown().await.expect("shuts down");
    let mut text = String::new();
    stream.read_to_string(&mut text).await.expect("reads");
    assert_eq!(text, "HALF");
}

#[tokio::test]
async fn a_tunnel_waits_for_the_next_upgrade() {
    let world = world(&BOTH, |_| {});
    world.pool.warm().await.expect("warms");
    let pool = world.pool.clone();
    let keeping = tokio::spawn(async move { pool.keep().await });
    until(|| world.dials() == 2).await;
    until(|| world.pool.has_spare()).await;
    let mut upgraded = Vec::new();
    for taken in 1..4 {
        assert_eq!(world.dials(), 1 + taken);
        let response = world.upgrade().await;
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        upgraded.push(response);
        // The one that was taken is replaced.
        until(|| world.dials() == 2 + taken && world.pool.has_spare()).await;
    }
    keeping.abort();
    assert_eq!(world.pool.lanes(), 1);
}

#[tokio::test]
async fn what_cuts_the_requests_tunnel_makes_the_waiting_one_doubtful() {
    let world = world(&BOTH, |_| {});
    world.pool.warm().await.expect("warms");
    let pool = world.pool.clone();
    let keeping = tokio::spawn(async move { pool.keep().await });
    until(|| world.pool.has_spare()).await;
    assert_eq!(world.dials(), 2);
    world.far.cut.cancel();
    // It may be cut unseen, so that another one takes its place.
    until(|| world.dials() == 3 && world.pool.has_spare()).await;
    keeping.abort();
}

#[tokio::test]
async fn after_a_sleep_the_waiting_one_is_not_taken() {
    let world = world(&BOTH, |_| {});
    world.pool.warm().await.expect("warms");
    let pool = world.pool.clone();
    let keeping = tokio::spawn(async move { pool.keep().await });
    until(|| world.pool.has_spare()).await;
    keeping.abort();
    world.far.silent.send_replace(world.dials());
    world.pool.sleep(std::time::Duration::from_hours(8));
    let response = world.upgrade().await;
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(world.dials(), 3);
}
