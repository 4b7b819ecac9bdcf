//! A far side that falls silent, and those that are only slow.

use std::sync::atomic::Ordering;
use std::time::Duration;

use http::Request;
use http_body_util::{Either, Full};
use tokio::time::{Instant, sleep};

use super::far::{BYTES, Endless, LATER};
use super::raw::Script;
use super::{BOTH, World, get, world};

impl World {
    /// From now on nothing comes back through the tunnels that there are.
    fn fall_silent(&self) {
        self.far.silent.send_replace(self.dials());
    }

    fn speak_again(&self) {
        self.far.silent.send_replace(0);
    }
}

/// Time passes by itself until `done`.
async fn until(mut done: impl FnMut() -> bool) -> Duration {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < Duration::from_mins(10), "it does not");
        sleep(Duration::from_millis(10)).await;
    }
    started.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_silent_tunnel_without_requests_ends_in_time() {
    let world = world(&BOTH, |_| {});
    for pause in [0, 1, 3, 7, 9] {
        world.get("/").await.expect("an answer");
        sleep(Duration::from_secs(pause)).await;
        world.fall_silent();
        let took = until(|| world.pool.lanes() == 0).await;
        assert!(took < Duration::from_secs(15), "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_in_silence_is_answered_on_another_tunnel() {
    let world = world(&BOTH, |_| {});
    for (dials, pause) in [0, 1, 3, 7].into_iter().enumerate() {
        world.get("/").await.expect("an answer");
        sleep(Duration::from_secs(pause)).await;
        world.fall_silent();
        let started = Instant::now();
        world.get("/").await.expect("an answer");
        let took = started.elapsed();
        assert!(took < Duration::from_secs(2), "{took:?} after {pause} s");
        assert_eq!(world.dials(), dials + 2);
    }
}

#[tokio::test(start_paused = true)]
async fn what_may_have_happened_is_not_sent_again() {
    let world = world(&BOTH, |_| {});
    world.get("/").await.expect("an answer");
    world.fall_silent();
    let writing = Request::post("/").body(Either::Left(Full::default()));
    let started = Instant::now();
    let writing = world.pool.request(writing.expect("a request"));
    let beside = async {
        sleep(Duration::from_secs(3)).await;
        // Nothing new goes where that one waits.
        world.get("/").await.expect("an answer");
    };
    let (written, ()) = tokio::join!(writing, beside);
    let error = written.expect_err("nothing came back");
    assert!(started.elapsed() < Duration::from_secs(15), "{error}");
    assert!(format!("{error:?}").contains("silent"), "{error:?}");
    assert_eq!((world.requests(), world.dials()), (3, 2));
}

#[tokio::test(start_paused = true)]
async fn after_a_sleep_nothing_is_sent_into_silence() {
    let world = world(&BOTH, |_| {});
    world.get("/").await.expect("an answer");
    world.fall_silent();
    world.pool.sleep(Duration::from_hours(8));
    // Not even what could not be sent again.
    let writing = Request::post("/").body(Either::Left(Full::default()));
    let started = Instant::now();
    let written = world.pool.request(writing.expect("a request")).await;
    written.expect("an answer");
    assert!(started.elapsed() < Duration::from_secs(1));
    assert_eq!((world.requests(), world.dials()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn after_a_sleep_a_tunnel_that_lives_is_taken_again() {
    let world = world(&BOTH, |_| {});
    world.get("/").await.expect("an answer");
    world.pool.sleep(Duration::from_hours(8));
    for _ in 0..3 {
        world.get("/").await.expect("an answer");
        sleep(Duration::from_secs(7)).await;
    }
    // The one that was dialled, and the one that has answered a ping since.
    assert_eq!((world.pool.lanes(), world.dials()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn what_leaves_a_silent_tunnel_does_not_keep_it() {
    for pause in [0, 4] {
        let world = world(&BOTH, |_| {});
        let writing = Request::post("/held").body(Either::Left(Full::default()));
        let writing = world.pool.request(writing.expect("a request"));
        let beside = async {
            until(|| world.far.holding.load(Ordering::Relaxed) == 1).await;
            sleep(Duration::from_secs(10)).await;
            world.fall_silent();
            let silent = Instant::now();
            sleep(Duration::from_secs(pause)).await;
            // They move, one at the doubt and others later, and each resets its stream.
            let moving = (0..3).map(|_| world.get("/"));
            futures_util::future::try_join_all(moving)
                .await
                .expect("answers");
            silent
        };
        let (written, silent) = tokio::join!(writing, beside);
        written.expect_err("nothing came back");
        let took = silent.elapsed();
        assert!(took < Duration::from_secs(15), "{took:?} after {pause} s");
    }
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_is_still_taken_keeps_a_silent_tunnel() {
    let world = world(&BOTH, |far| far.uplink = 32 << 10);
    let upload = Request::post("/sink").body(Either::Right(Endless::default()));
    let upload = world.pool.request(upload.expect("a request"));
    let beside = async {
        sleep(Duration::from_secs(2)).await;
        world.fall_silent();
        // As long as the far side's window lasts.
        sleep(Duration::from_secs(25)).await;
        assert_eq!(world.pool.lanes(), 1, "it is given up");
    };
    let (uploaded, ()) = tokio::join!(upload, beside);
    uploaded.expect_err("nothing came back");
}

/// A silence that begins now is noticed as soon as it should be on a path that is quick.
async fn notices_silence_in_time(world: &World) {
    world.fall_silent();
    let started = Instant::now();
    world.get("/").await.expect("an answer");
    let took = started.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn bytes_that_come_long_after_a_ping_do_not_teach_patience() {
    let world = world(&BOTH, |far| far.lag = Duration::from_millis(50));
    let releasing = async {
        sleep(Duration::from_millis(1600)).await;
        world.far.release.notify_waiters();
    };
    let (held, ()) = tokio::join!(world.get("/held"), releasing);
    held.expect("an answer");
    sleep(Duration::from_secs(1)).await;
    notices_silence_in_time(&world).await;
}

#[tokio::test(start_paused = true)]
async fn one_late_answer_to_a_ping_is_forgotten() {
    let world = world(&BOTH, |_| {});
    let hiccup = async {
        sleep(Duration::from_millis(700)).await;
        world.fall_silent();
        sleep(Duration::from_secs(1)).await;
        world.speak_again();
        world.far.release.notify_waiters();
    };
    let (held, ()) = tokio::join!(world.get("/held"), hiccup);
    held.expect("an answer");
    assert_eq!(world.dials(), 1);
    sleep(Duration::from_secs(20)).await;
    notices_silence_in_time(&world).await;
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_that_takes_no_more_requests_is_watched_to_its_end() {
    for may_move in [true, false] {
        let world = world(&BOTH, |_| {});
        let script = Script::GoAwayBefore;
        world.far.scripts.lock().expect("whole").push_back(script);
        let mut request = get("/");
        if !may_move {
            *request.method_mut() = http::Method::POST;
        }
        let silencing = async {
            sleep(Duration::from_mins(1)).await;
            assert_eq!(world.pool.lanes(), 0, "it takes no more");
            world.fall_silent();
            Instant::now()
        };
        let answering = tokio::time::timeout(Duration::from_mins(5), world.pool.request(request));
        let (answer, silent) = tokio::join!(answering, silencing);
        let answer = answer.expect("it ends");
        assert_eq!(answer.is_ok(), may_move, "{answer:?}");
        assert!(silent.elapsed() < Duration::from_secs(20));
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_may_take_its_time() {
    for lag in [0, 50, 1000, 1500] {
        let world = world(&BOTH, |far| far.lag = Duration::from_millis(lag));
        let started = Instant::now();
        world.get("/later").await.expect("an answer");
        assert!(started.elapsed() >= LATER);
        assert_eq!((world.dials(), world.requests()), (1, 1), "{lag} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_link_is_alive() {
    let world = world(&BOTH, |far| {
        far.rate = 128 << 10;
        far.lag = Duration::from_millis(50);
    });
    let started = Instant::now();
    let bulk = world.get("/bytes").await.expect("all of it");
    assert_eq!(bulk.len(), BYTES);
    assert!(started.elapsed() > Duration::from_secs(90));
    assert_eq!((world.dials(), world.requests()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_path_that_was_only_slow_is_taken_again() {
    let world = world(&BOTH, |_| {});
    world.get("/").await.expect("an answer");
    world.fall_silent();
    world.far.lost.store(true, Ordering::Relaxed);
    let speaking = async {
        sleep(Duration::from_secs(4)).await;
        world.speak_again();
    };
    let started = Instant::now();
    let (answer, ()) = tokio::join!(world.pool.request(get("/")), speaking);
    answer.expect("an answer");
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(world.pool.lanes(), 1);
}

#[tokio::test(start_paused = true)]
async fn without_http2_an_idle_tunnel_that_is_silent_is_left() {
    let world = world(&["http/1.1"], |_| {});
    world.get("/").await.expect("an answer");
    sleep(Duration::from_secs(6)).await;
    world.fall_silent();
    let started = Instant::now();
    world.get("/").await.expect("an answer");
    assert!(started.elapsed() < Duration::from_secs(2));
    assert_eq!((world.dials(), world.requests()), (2, 3));
}

#[tokio::test(start_paused = true)]
async fn without_http2_a_server_may_take_its_time() {
    let world = world(&["http/1.1"], |_| {});
    futures_util::future::try_join_all((0..6).map(|_| world.get("/")))
        .await
        .expect("answers");
    sleep(Duration::from_secs(6)).await;
    let started = Instant::now();
    world.get("/later").await.expect("an answer");
    assert!(started.elapsed() >= LATER);
    assert!(world.requests() <= 8, "{}", world.requests());
}

#[tokio::test(start_paused = true)]
async fn who_has_moved_often_enough_stays_and_waits() {
    let world = world(&BOTH, |_| {});
    let silencing = async {
        for attempt in 1..=4 {
            until(|| world.far.holding.load(Ordering::Relaxed) == attempt).await;
            world.fall_silent();
        }
        sleep(Duration::from_secs(4)).await;
        world.speak_again();
        world.far.release.notify_waiters();
    };
    let (answer, ()) = tokio::join!(world.get("/held"), silencing);
    answer.expect("an answer");
    assert_eq!(world.dials(), 4);
}
