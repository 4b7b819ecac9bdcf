//! What Azure and the agent do while the proxy runs: restarts, throttling, absence, refusals.

use std::time::Duration;

use arc_emulator::emulator::Emulator;
use arc_emulator::faults::{FaultSet, ServiceFault};
use arc_emulator::relay::Cut;
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use tokio::time::{Instant, sleep, timeout};

use super::RECOVERY;
use super::local::{Local, Outcome, Version};
use crate::harness::{DEADLINE, World};

/// Credentials that count as new for two seconds only.
fn short() -> FaultSet {
    FaultSet {
        relay_token_seconds: Some(20),
        ..FaultSet::default()
    }
}

impl World {
    fn set(&self, change: impl FnOnce(&mut FaultSet)) {
        self.emulator.faults().update(change);
    }

    fn credentials_asked_for(&self) -> u64 {
        let operations = self.emulator.arm().seen().operations;
        let name = "connectedClusters.listClusterUserCredential";
        operations.get(name).copied().unwrap_or(0)
    }
}

fn service(status: u16, retry_after_seconds: Option<u64>) -> ServiceFault {
    ServiceFault {
        status: Some(status),
        retry_after_seconds,
        ..ServiceFault::default()
    }
}

/// The `Status` that a request is answered with.
pub(super) async fn told(local: &Local) -> (StatusCode, String) {
    let sending = local.send(Version::Two, Method::GET, "/version", "");
    let response = timeout(DEADLINE, sending)
        .await
        .expect("it is told in time");
    let response = response.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

/// Waits until requests work again; they must soon.
async fn recovers(local: &Local) {
    let began = Instant::now();
    while !local.works().await {
        assert!(began.elapsed() < RECOVERY, "no request works");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_replaced_is_not_noticed_by_what_is_new() {
    let world = World::new().await;
    let _proxy = world.proxy(&[]).await;
    let local = Local::new(&world);
    for _ in 0..3 {
        assert!(local.works().await);
        world.emulator.agent().restart().await.unwrap();
        assert!(local.works().await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_that_throttles_is_waited_for() {
    for (status, after) in [(429, Some(1)), (503, None)] {
        let world = World::with(Emulator::builder().faults(short())).await;
        let _proxy = world.proxy(&[]).await;
        let local = Local::new(&world);
        world.set(|faults| {
            faults.refuse_dials = Some(401);
            faults.arm = service(status, after);
        });
        world.emulator.relay().drop_tunnels(Cut::Reset);
        let struck = || world.emulator.arm().seen().statuses.contains_key(&status);
        let asking = async {
            while !struck() {
                local.works().await;
            }
        };
        let lifting = async {
            while !struck() {
                sleep(Duration::from_millis(10)).await;
            }
            world.emulator.faults().reset();
        };
        let both = async { tokio::join!(asking, lifting) };
        timeout(DEADLINE, both).await.expect("Azure is asked");
        recovers(&local).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_that_is_down_for_long_ends_nothing() {
    let faults = FaultSet {
        access_token_seconds: Some(4),
        ..FaultSet::default()
    };
    let world = World::with(Emulator::builder().faults(faults)).await;
    let proxy = world.proxy(&[]).await;
    let local = Local::new(&world);
    assert!(local.works().await);
    world.set(|faults| faults.entra = service(503, None));
    // Longer than the token lives: then it is told.
    let began = Instant::now();
    let (status, text) = loop {
        assert!(began.elapsed() < DEADLINE, "the token lives for ever");
        let (status, text) = told(&local).await;
        if status != StatusCode::OK {
            break (status, text);
        }
        sleep(Duration::from_millis(100)).await;
    };
    assert!(status.is_server_error(), "{status} {text}");
    assert!(text.contains("hint: "), "{text}");
    world.set(|faults| faults.entra = ServiceFault::default());
    recovers(&local).await;
    proxy.signal("TERM");
    assert_eq!(proxy.ended().await.0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_for_good_is_told_and_not_asked_for_ever() {
    for (status, expected, word) in [
        (403, StatusCode::FORBIDDEN, "edge-demo"),
        (404, StatusCode::BAD_GATEWAY, "edge-demo"),
    ] {
        let world = World::with(Emulator::builder().faults(short())).await;
        let _proxy = world.proxy(&[]).await;
        let local = Local::new(&world);
        world.set(|faults| {
            faults.refuse_dials = Some(404);
            faults.arm = service(status, None);
        });
        world.emulator.relay().drop_tunnels(Cut::Reset);
        let began = Instant::now();
        while told(&local).await.0 != expected {
            assert!(began.elapsed() < DEADLINE, "Azure is not asked");
        }
        let asked = world.credentials_asked_for();
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(5) {
            let (status, text) = told(&local).await;
            assert_eq!(status, expected, "{text}");
            assert!(text.contains(word) && text.contains("hint: "), "{text}");
        }
        // However many requests come, Azure is asked every two seconds at most.
        let asked = world.credentials_asked_for() - asked;
        assert!(asked <= 4, "Azure was asked {asked} times");
        world.emulator.faults().reset();
        recovers(&local).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_the_cluster_breaks_off_is_never_whole() {
    let world = World::new().await;
    let _proxy = world.proxy(&[]).await;
    let local = Local::new(&world);
    world.set(|faults| faults.cut_body_after_bytes = Some(1000));
    // With its length announced and without, over both versions.
    for path in [
        "/arc-emulator/pattern/100000",
        "/arc-emulator/stream/100000",
    ] {
        for version in [Version::One, Version::Two] {
            let response = local.send(version, Method::GET, path, "").await;
            let outcome = match response {
                Ok(response) => super::local::read(response).await,
                Err(error) => Outcome::Error(error.to_string()),
            };
            assert!(matches!(outcome, Outcome::Error(_)), "{path} {outcome:?}");
        }
    }
    world.emulator.faults().reset();
    assert!(local.works().await);
}
