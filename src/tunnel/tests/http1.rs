//! A far side without HTTP/2.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::sleep;

use super::{get, world};

#[tokio::test]
async fn without_http2_tunnels_are_kept_and_used_again() {
    let world = world(&["http/1.1"], |_| {});
    world.pool.warm().await.expect("warms");
    for _ in 0..10 {
        assert_eq!(
            world.get("/").await.expect("an answer"),
            "HTTP/1.1 kube-aad-proxy"
        );
    }
    assert!(
        world.dials() <= 3,
        "{} dials for sequential requests",
        world.dials()
    );
}

#[tokio::test(start_paused = true)]
async fn without_http2_a_late_answer_is_taken_and_costs_no_tunnel() {
    let world = world(&["http/1.1"], |_| {});
    let some = |count| futures_util::future::try_join_all((0..count).map(|_| world.get("/")));
    some(6).await.expect("answers");
    sleep(Duration::from_secs(6)).await;
    let before = world.dials();
    let releasing = async {
        while world.far.holding.load(Ordering::Relaxed) < 2 {
            sleep(Duration::from_millis(10)).await;
        }
        // It is asked a second time, and answers the first.
        world.far.release.notify_one();
    };
    let (held, ()) = tokio::join!(world.get("/held"), releasing);
    held.expect("an answer");
    some(3).await.expect("answers");
    assert_eq!(world.dials(), before + 1, "those that wait are still there");
}

#[tokio::test(start_paused = true)]
async fn without_http2_a_late_answer_needs_no_other_tunnel() {
    let world = world(&["http/1.1"], |_| {});
    let some = |count| futures_util::future::try_join_all((0..count).map(|_| world.get("/")));
    some(6).await.expect("answers");
    sleep(Duration::from_secs(6)).await;
    let before = world.dials();
    // What is open goes on; nothing more can be opened.
    world.far.away.store(true, Ordering::Relaxed);
    let releasing = async {
        while world.dials() == before {
            sleep(Duration::from_millis(10)).await;
        }
        sleep(Duration::from_secs(3)).await;
        world.far.release.notify_one();
    };
    let (held, ()) = tokio::join!(world.get("/held"), releasing);
    held.expect("an answer");
    let asked = world.far.holding.load(Ordering::Relaxed);
    assert_eq!(asked, 1, "where it was asked first");
    some(3).await.expect("those that wait are still there");
}

#[tokio::test(start_paused = true)]
async fn without_http2_watches_leave_room_for_requests() {
    let world = world(&["http/1.1"], |_| {});
    world.pool.warm().await.expect("warms");
    // More bodies that do not end than there is room for at first.
    let mut watches = Vec::new();
    for _ in 0..80 {
        let request = get("/endless");
        watches.push(world.pool.request(request).await.expect("an answer"));
    }
    world.get("/").await.expect("an answer");
    assert_eq!(world.dials(), 81);
}
