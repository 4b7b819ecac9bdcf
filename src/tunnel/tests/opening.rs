//! Opening a stream: the dialect, credentials that are of yesterday, and whom to trust.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::far::{FakeConnect, FakeCredentials};
use super::{BOTH, get, world};
use crate::error::Code;
use crate::proxy::LocalCertificate;
use crate::tunnel::{FarSide, Opener, Pool};

#[tokio::test]
async fn a_bridge_is_recognised_and_remembered() {
    let world = world(&BOTH, |far| far.bridge = true);
    assert_eq!(
        world.get("/").await.expect("an answer"),
        "HTTP/2.0 kube-aad-proxy"
    );
    assert_eq!(world.dials(), 2, "one to find out, one to talk");
    let request = get("/");
    world.pool.upgrade(request).await.expect("an answer");
    assert_eq!(world.dials(), 3, "the dialect is remembered");
}

#[tokio::test]
async fn stale_credentials_are_renewed_once() {
    let world = world(&BOTH, |far| far.valid_from = 1);
    world.get("/").await.expect("an answer");
    assert_eq!(
        (
            world.dials(),
            world.credentials.renewals.load(Ordering::Relaxed)
        ),
        (2, 1)
    );
}

#[tokio::test]
async fn a_refusal_that_renewal_does_not_mend_is_told() {
    let world = world(&BOTH, |far| far.valid_from = 9);
    let error = world.get("/").await.expect_err("refused");
    assert_eq!(error.explain("edge").code(), Code::RelayRefused);
    assert_eq!(world.dials(), 2);
}

#[tokio::test]
async fn another_authority_is_not_trusted() {
    let mut world = world(&BOTH, |_| {});
    let other = LocalCertificate::generate()
        .expect("a certificate")
        .authority_pem;
    let far_side = FarSide::new(
        "https://kube-aad-proxy",
        Some("localhost"),
        Some(other.as_bytes()),
    );
    let credentials = Arc::new(FakeCredentials {
        far_side: Arc::new(far_side.expect("a far side")),
        generation: AtomicU64::new(0),
        renewals: AtomicUsize::new(0),
    });
    world.pool = Arc::new(Pool::new(Opener::new(
        Arc::new(FakeConnect(world.far.clone())),
        credentials,
    )));
    // The far side's own handshake fails too; its panic stays in its task.
    let error = world.pool.warm().await.expect_err("untrusted");
    assert_eq!(error.explain("edge").code(), Code::ProxyCertificate);
}

#[tokio::test(start_paused = true)]
async fn dials_that_are_stuck_hold_nobody_up() {
    for lost in [1, 8, 29, 40] {
        let world = world(&BOTH, |far| *far.lost.get_mut() = true);
        let recovering = async {
            sleep(Duration::from_secs(lost)).await;
            world.far.lost.store(false, Ordering::Relaxed);
            Instant::now()
        };
        let (answer, back) = tokio::join!(world.get("/"), recovering);
        answer.expect("an answer");
        let took = back.elapsed();
        assert!(took <= Duration::from_secs(3), "{took:?} after {lost} s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_path_that_is_slow_has_its_time() {
    let world = world(&BOTH, |far| *far.late.get_mut() = 20);
    let started = Instant::now();
    world.get("/").await.expect("an answer");
    assert!(started.elapsed() < Duration::from_secs(21));
}

#[tokio::test(start_paused = true)]
async fn a_dial_that_comes_too_late_ends_no_younger_one() {
    let world = world(&BOTH, |far| {
        (*far.late.get_mut(), *far.away.get_mut()) = (20, true);
    });
    let playing = async {
        // The one that begins at 18 s takes four.
        sleep(Duration::from_secs(17)).await;
        world.far.late.store(4, Ordering::Relaxed);
        sleep(Duration::from_secs(4)).await;
        world.far.away.store(false, Ordering::Relaxed);
    };
    let (warmed, ()) = tokio::join!(world.pool.warm(), playing);
    warmed.expect("a tunnel");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_loses_its_tunnel_has_no_more_patience_than_before() {
    let world = world(&BOTH, |far| *far.away.get_mut() = true);
    let away = |is| world.far.away.store(is, Ordering::Relaxed);
    let playing = async {
        sleep(Duration::from_secs(10)).await;
        away(false);
        while world.far.holding.load(Ordering::Relaxed) == 0 {
            sleep(Duration::from_millis(10)).await;
        }
        away(true);
        world.far.cut.cancel();
        Instant::now()
    };
    let (answer, lost) = tokio::join!(world.get("/held"), playing);
    answer.expect_err("there is no tunnel");
    let took = lost.elapsed();
    assert!(took < Duration::from_secs(6), "{took:?}");
}
