//! HTTP/2: when requests share a tunnel, and when they do not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use http::Request;
use http_body_util::{BodyExt as _, Either};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::far::Endless;
use super::{BOTH, World, get, until, world};
use crate::tunnel::PooledBody;

impl World {
    /// A request whose answer is read beyond the size that counts as bulk, and no further.
    async fn bulk(&self) -> PooledBody {
        let request = get("/endless");
        let mut body = self.pool.request(request).await.expect("bulk").into_body();
        let mut read = 0;
        while read <= 1 << 20 {
            let frame = body.frame().await.expect("more").expect("whole");
            read += frame.into_data().expect("data").len();
        }
        body
    }
}

#[tokio::test]
async fn all_requests_share_one_http2_tunnel() {
    let world = world(&BOTH, |_| {});
    world.pool.warm().await.expect("warms");
    let requests = (0..50).map(|_| world.get("/"));
    for answer in futures_util::future::join_all(requests).await {
        assert_eq!(answer.expect("an answer"), "HTTP/2.0 kube-aad-proxy");
    }
    assert_eq!((world.dials(), world.pool.lanes()), (1, 1));
}

#[tokio::test]
async fn requests_that_wait_for_the_first_tunnel_share_its_dial() {
    let world = world(&BOTH, |_| {});
    futures_util::future::try_join_all((0..20).map(|_| world.get("/")))
        .await
        .expect("answers");
    assert_eq!(world.dials(), 1);
}

#[tokio::test]
async fn requests_that_waited_for_a_tunnel_go_out_at_once() {
    const WAITING: usize = 90;
    let world = world(&BOTH, |_| {});
    let rounds = Arc::new(AtomicUsize::new(0));
    let counted = rounds.clone();
    // Takes a turn whenever all the others have had theirs.
    let counting = tokio::spawn(std::future::poll_fn(move |cx| {
        counted.fetch_add(1, Ordering::Relaxed);
        cx.waker().wake_by_ref();
        Poll::<()>::Pending
    }));
    let mut waiting = JoinSet::new();
    for _ in 0..WAITING {
        let pool = world.pool.clone();
        waiting.spawn(async move { pool.request(get("/")).await.map(drop) });
    }
    until(|| world.pool.lanes() == 1).await;
    let opened = rounds.load(Ordering::Relaxed);
    while let Some(answered) = waiting.join_next().await {
        answered.expect("joins").expect("an answer");
    }
    let took = rounds.load(Ordering::Relaxed) - opened;
    counting.abort();
    assert!(took < WAITING, "one after the other: {took}");
    assert_eq!(world.dials(), 1);
}

#[tokio::test]
async fn requests_that_come_together_go_out_in_groups() {
    let world = world(&BOTH, |_| {});
    world.pool.warm().await.expect("warms");
    let mut most = Vec::new();
    for count in [16, 48] {
        world.far.most.store(0, Ordering::Relaxed);
        let mut requests = JoinSet::new();
        for number in 0..count {
            let pool = world.pool.clone();
            let path = format!("/?{number:0>150}");
            requests.spawn(async move { pool.request(get(&path)).await.map(drop) });
        }
        while let Some(answered) = requests.join_next().await {
            answered.expect("joins").expect("an answer");
        }
        most.push(world.far.most.load(Ordering::Relaxed));
    }
    assert!(most[1] < 2 * most[0], "{most:?}");
    assert_eq!(world.dials(), 1);
}

#[tokio::test]
async fn beyond_the_peers_stream_limit_another_tunnel_opens() {
    let world = world(&BOTH, |far| far.streams = 2);
    world.get("/").await.expect("the peer's settings are known");
    let held = futures_util::future::try_join_all((0..2).map(|_| world.get("/held")));
    let free = async {
        until(|| world.far.holding.load(Ordering::Relaxed) == 2).await;
        // The held streams fill the first tunnel; this one must not queue behind them.
        let answer = world.get("/").await;
        world.far.release.notify_waiters();
        answer
    };
    let (held, free) = tokio::join!(held, free);
    assert_eq!(free.expect("an answer"), "HTTP/2.0 kube-aad-proxy");
    assert_eq!(held.expect("answers").len(), 2);
    assert_eq!((world.dials(), world.pool.lanes()), (2, 2));
}

#[tokio::test]
async fn small_requests_leave_a_tunnel_that_a_bulk_body_fills() {
    let world = world(&BOTH, |_| {});
    let bulk = world.bulk().await;
    assert_eq!(world.pool.lanes(), 1);
    for _ in 0..3 {
        world.get("/").await.expect("an answer");
    }
    assert_eq!(world.dials(), 2, "one tunnel beside the bulk body's");
    drop(bulk);
    // The first tunnel is like any other again: two bulk bodies, and there is a third.
    let _bulk = (world.bulk().await, world.bulk().await);
    world.get("/").await.expect("an answer");
    assert_eq!(world.dials(), 3);
}

#[tokio::test]
async fn while_no_other_tunnel_opens_small_requests_share_the_bulk_bodys() {
    let world = world(&BOTH, |_| {});
    let _bulk = world.bulk().await;
    world.far.away.store(true, Ordering::Relaxed);
    for _ in 0..3 {
        world.get("/").await.expect("an answer");
    }
    assert_eq!(
        world.dials(),
        2,
        "what has just failed is not tried each time"
    );
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_that_is_not_needed_any_more_ends() {
    let world = world(&BOTH, |_| {});
    let bulk = world.bulk().await;
    world.get("/").await.expect("an answer");
    assert_eq!(world.pool.lanes(), 2);
    drop(bulk);
    let pool = world.pool.clone();
    let keeping = tokio::spawn(async move { pool.keep().await });
    let started = Instant::now();
    while world.pool.lanes() > 1 {
        assert!(started.elapsed() < Duration::from_mins(10), "it stays");
        tokio::time::advance(Duration::from_secs(1)).await;
        tokio::task::yield_now().await;
    }
    world.get("/").await.expect("an answer");
    keeping.abort();
}

#[tokio::test(start_paused = true)]
async fn a_body_that_moves_much_in_a_long_time_fills_nothing() {
    let world = world(&BOTH, |far| far.rate = 16 << 10);
    let _watch = world.bulk().await;
    world.get("/").await.expect("an answer");
    assert_eq!(world.dials(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_body_fills_its_tunnel_for_as_long_as_it_moves_much() {
    let world = world(&BOTH, |far| far.rate = 128 << 10);
    let mut body = world.bulk().await;
    let started = Instant::now();
    while started.elapsed() < Duration::from_mins(2) {
        body.frame().await.expect("more").expect("whole");
        assert!(world.pool.is_bulk(), "{:?}", started.elapsed());
    }
    sleep(Duration::from_secs(30)).await;
    assert!(!world.pool.is_bulk());
    world.get("/").await.expect("an answer");
    assert_eq!(world.dials(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_body_gives_its_stream_back() {
    let world = world(&BOTH, |far| far.streams = 1);
    for _ in 0..5 {
        let request = get("/");
        drop(world.pool.request(request).await.expect("an answer"));
        sleep(Duration::from_millis(1)).await;
    }
    assert!(
        world.dials() <= 2,
        "{} dials for streams that ended",
        world.dials()
    );
}

#[tokio::test]
async fn a_large_upload_fills_its_tunnel_too() {
    let world = world(&BOTH, |_| {});
    let upload = Request::post("/sink").body(Either::Right(Endless::default()));
    let pool = world.pool.clone();
    let uploading = tokio::spawn(async move { pool.request(upload.expect("a request")).await });
    until(|| world.pool.is_bulk()).await;
    world.get("/").await.expect("an answer");
    assert_eq!(world.dials(), 2);
    // Whoever gives up takes the load along.
    uploading.abort();
    until(|| !world.pool.is_bulk()).await;
}

#[tokio::test]
async fn bodies_that_nobody_reads_leave_room_for_others() {
    const UNREAD: usize = 36;
    let world = world(&BOTH, |_| {});
    let bodies = (0..UNREAD).map(|_| world.pool.request(get("/endless")));
    let unread = futures_util::future::try_join_all(bodies).await;
    // Every stream's whole window is used up.
    let full = UNREAD * (8 << 20);
    until(|| world.far.sent.load(Ordering::Relaxed) >= full).await;
    world.get("/").await.expect("an answer");
    assert_eq!(world.dials(), 1);
    drop(unread);
}
