//! What is renewed, redialled and ended while kubectl goes on.

use std::time::Duration;

use arc_emulator::agent::Dialect;
use arc_emulator::emulator::Emulator;
use arc_emulator::faults::FaultSet;
use arc_emulator::relay::Cut;
use arc_emulator::serve::Break;
use http::{Method, StatusCode};
use tokio::time::{Instant, sleep, timeout};

use crate::faults::local::{Local, Outcome, Version, read};
use crate::harness::{DEADLINE, Proxy, Ran, World};

/// Asks until `done`, for no longer than anything may take.
async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !done().await {
        assert!(started.elapsed() < DEADLINE, "{what} did not come about");
        tokio::task::yield_now().await;
    }
}

async fn version(world: &World) -> Ran {
    Ran::of(&mut world.kubectl(&["get", "--raw", "/version"])).await
}

#[tokio::test(flavor = "multi_thread")]
async fn short_lives_are_renewed_while_requests_go_on() {
    let faults = FaultSet {
        relay_token_seconds: Some(10),
        access_token_seconds: Some(10),
        ..FaultSet::default()
    };
    let world = World::with(Emulator::builder().faults(faults)).await;
    let proxy = world.proxy(&[]).await;
    let credentials = || {
        world
            .emulator
            .arm()
            .seen()
            .operations
            .get("connectedClusters.listClusterUserCredential")
            .copied()
            .unwrap_or(0)
    };
    let before = credentials();
    // Two renewals of each: longer than any of the first tokens lives.
    until("two renewals", async || {
        version(&world).await.ok();
        credentials() >= before + 2
    })
    .await;
    proxy.signal("TERM");
    let (code, stderr) = proxy.ended().await;
    assert_eq!(code, Some(0));
    assert!(!stderr.contains("WARN"), "{stderr}");
}

/// Time is compressed: many proxies at once, whose credentials live for seconds.
#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_renewals_under_load_fail_no_request() {
    const PROXIES: usize = 20;
    const RENEWALS: u64 = 500;
    let faults = FaultSet {
        relay_token_seconds: Some(10),
        access_token_seconds: Some(20),
        ..FaultSet::default()
    };
    let world = World::with(Emulator::builder().faults(faults)).await;
    let renewals = || {
        let operations = world.emulator.arm().seen().operations;
        let name = "connectedClusters.listClusterUserCredential";
        let credentials = operations.get(name).copied().unwrap_or(0);
        let tokens = world.emulator.aad_proxy().seen().pop_tokens;
        // The first ones of each proxy renew nothing.
        (credentials + tokens).saturating_sub(2 * PROXIES as u64)
    };
    let starting = (0..PROXIES).map(async |number| {
        let file = world.path(&format!("config-{number}"));
        let proxy = world.proxy(&["-f", file.to_str().unwrap()]).await;
        (proxy, Local::of(&file))
    });
    let proxies = futures_util::future::join_all(starting).await;
    let faults = world.emulator.faults();
    faults.update(|faults| faults.relay_token_seconds = Some(2));
    let over = || renewals() >= RENEWALS;
    let asking = proxies
        .iter()
        .enumerate()
        .map(async |(number, (_, local))| {
            let watch = "/api/v1/namespaces/demo/configmaps?watch=true";
            let watching = local.send(Version::Two, Method::GET, watch, "");
            let watching = tokio::spawn(read(watching.await.unwrap()));
            let mut asked = 0;
            while !over() {
                let read = local.ask(Method::GET, "/version", "").await;
                assert!(
                    matches!(read, Outcome::Whole(StatusCode::OK, _)),
                    "{read:?}"
                );
                let name = format!("of-{number}-{asked}");
                let map = serde_json::json!({"metadata": {"name": name}}).to_string();
                let maps = "/api/v1/namespaces/demo/configmaps";
                let written = local.ask(Method::POST, maps, map).await;
                let is_created = matches!(written, Outcome::Whole(StatusCode::CREATED, _));
                assert!(is_created, "{written:?}");
                asked += 1;
                // Each of a renewal's seconds has some requests; their handshakes are what costs.
                sleep(Duration::from_secs(1)).await;
            }
            assert!(!watching.is_finished(), "the watch has lived on");
            watching.abort();
        });
    // New tunnels are wanted all the time, while what runs on the old ones goes on.
    let replacing = async {
        while !over() {
            world.emulator.aad_proxy().break_connections(Break::GoAway);
            sleep(Duration::from_secs(1)).await;
        }
    };
    let asking = futures_util::future::join_all(asking);
    timeout(DEADLINE, async { tokio::join!(asking, replacing) })
        .await
        .expect("renewals go on");
    for (proxy, _) in proxies {
        proxy.signal("TERM");
        let (code, stderr) = proxy.ended().await;
        assert_eq!(code, Some(0));
        assert!(!stderr.contains("WARN"), "{stderr}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_tunnel_is_dialled_again() {
    let world = World::new().await;
    let _proxy = world.proxy(&[]).await;
    for cut in [Cut::Reset, Cut::Close(1000), Cut::Close(1011)] {
        version(&world).await.ok();
        world.emulator.relay().drop_tunnels(cut);
        // kubectl's own connection to the listener is new each time; so the tunnel must be.
        version(&world).await.ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_comes_back_is_found_again() {
    let world = World::new().await;
    let _proxy = world.proxy(&[]).await;
    world
        .emulator
        .faults()
        .update(|faults| faults.agent_away = true);
    world.emulator.relay().drop_tunnels(Cut::Reset);
    until("the agent's absence", async || {
        world.emulator.relay().seen().listeners == 0
    })
    .await;
    let away = version(&world).await;
    assert_eq!(away.code, Some(1));
    for word in ["no agent of edge-demo listens at the relay", "hint: "] {
        assert!(away.stderr.contains(word), "{}", away.stderr);
    }
    world
        .emulator
        .faults()
        .update(|faults| faults.agent_away = false);
    until("the agent's return", async || {
        version(&world).await.code == Some(0)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_dialects_and_both_protocols_work() {
    for (dialect, h2) in [
        (Dialect::Bridge, true),
        (Dialect::Raw, false),
        (Dialect::Bridge, false),
    ] {
        let world = World::with(Emulator::builder().dialect(dialect).h2(h2)).await;
        let _proxy = world.proxy(&[]).await;
        let pods = Ran::of(&mut world.kubectl(&["get", "pods", "-n", "demo", "-o", "name"]))
            .await
            .ok();
        assert!(pods.contains("pod/shell"), "{pods}");
        let said =
            Ran::of(&mut world.kubectl(&["exec", "-n", "demo", "shell", "--", "echo", "hello"]))
                .await
                .ok();
        assert_eq!(said, "hello\n");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_requests_share_one_tunnel_and_one_signature() {
    let world = World::new().await;
    let _proxy = world.proxy(&[]).await;
    for _ in 0..5 {
        Ran::of(&mut world.kubectl(&["get", "pods", "-A"]))
            .await
            .ok();
    }
    let seen = world.emulator.aad_proxy().seen();
    assert_eq!((seen.h2_connections, seen.pop_tokens), (1, 1));
    // Theirs, and the one that waits for an upgrade.
    assert!(world.emulator.relay().seen().tunnels_total <= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_wrong_is_made_up_for() {
    for offset in [-7200, 7200] {
        let faults = FaultSet {
            clock_offset_seconds: offset,
            ..FaultSet::default()
        };
        let world = World::with(Emulator::builder().faults(faults)).await;
        let proxy = world.proxy(&[]).await;
        version(&world).await.ok();
        proxy.signal("TERM");
        let (_, stderr) = proxy.ended().await;
        assert!(
            stderr.contains("warning: this machine's clock is"),
            "{stderr}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_lets_running_requests_finish() {
    let world = World::new().await;
    let proxy = world.proxy(&[]).await;
    let mut logs = world.kubectl(&["logs", "-f", "-n", "demo", "deployment/web"]);
    let mut watching = logs
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    until("the stream", async || {
        world.emulator.aad_proxy().seen().requests > 3
    })
    .await;
    let started = Instant::now();
    proxy.signal("INT");
    let (code, _) = proxy.ended().await;
    assert_eq!(code, Some(0));
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "the grace has an end"
    );
    timeout(DEADLINE, watching.wait())
        .await
        .expect("kubectl sees the end")
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once() {
    let world = World::new().await;
    let proxy = world.proxy(&[]).await;
    proxy.signal("INT");
    proxy.signal("INT");
    assert_eq!(proxy.ended().await.0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn under_nohup_it_outlives_the_terminal() {
    let world = World::new().await;
    let command = world.arcproxy_with("--ignore-signal=HUP", &["-n", "edge-demo", "-g", "demo"]);
    let proxy = Proxy::start(command).await;
    proxy.signal("HUP");
    version(&world).await.ok();
    proxy.signal("TERM");
    let (code, stderr) = proxy.ended().await;
    assert_eq!(code, Some(0), "{stderr}");
}
