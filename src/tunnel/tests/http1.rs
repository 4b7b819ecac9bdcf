//! A far side without HTTP/2.

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
