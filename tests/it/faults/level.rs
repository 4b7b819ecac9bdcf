//! What two hundred lost tunnels leave behind: nothing.

use std::time::Duration;

use arc_emulator::relay::Cut;
use arc_emulator::serve::Break;
use http::Method;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::local::{Local, Outcome};
use super::{SILENCE, open_files, threads};
use crate::harness::{Proxy, World};

const LOSSES: usize = 200;
/// Losses before the first look: the allocator and the TLS sessions have what they will have.
const WARM: usize = 20;
/// What memory may be more, in bytes: far less than so many lost tunnels had.
const MEMORY: u64 = 6 << 20;

/// Resident memory, in bytes.
fn memory(proxy: &Proxy) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", proxy.pid())).unwrap();
    let mut words = status.split_whitespace();
    words.find(|word| *word == "VmRSS:").unwrap();
    words.next().unwrap().parse::<u64>().unwrap() << 10
}

/// The loss of that number.
fn lose(world: &World, number: usize) {
    let (relay, aad_proxy) = (world.emulator.relay(), world.emulator.aad_proxy());
    match number % 10 {
        0 => relay.drop_tunnels(Cut::InFrame),
        1 => relay.drop_tunnels(Cut::Close(1000)),
        2 => relay.drop_tunnels(Cut::InMessage),
        3 => aad_proxy.break_connections(Break::InFrame),
        4 => relay.drop_tunnels(Cut::Close(1011)),
        5 => aad_proxy.break_connections(Break::GoAway),
        6 => relay.drop_tunnels(Cut::Close(1008)),
        7 if number % 40 == 7 => relay.drop_tunnels(Cut::BlackHole),
        7 => relay.drop_tunnel(Cut::Reset),
        8 => relay.drop_tunnels(Cut::Close(1001)),
        _ => relay.drop_tunnels(Cut::Reset),
    }
}

/// Asks the same again and again, whatever becomes of it.
async fn again(local: Local, method: Method, path: &str, body: String, over: CancellationToken) {
    let asking = async {
        loop {
            let outcome = local.ask(method.clone(), path, body.clone()).await;
            if let Outcome::Whole(status, _) = outcome {
                let is_expected = status.is_success() || status.is_server_error();
                assert!(is_expected, "{method} {path}: {status}");
            }
            sleep(Duration::from_millis(150)).await;
        }
    };
    over.run_until_cancelled(asking).await;
}

/// Reads, writes, watches and downloads.
fn load(local: &Local, over: &CancellationToken) -> JoinSet<()> {
    let map = json!({"metadata": {"generateName": "level-"}, "data": {"x": "x".repeat(5000)}});
    let (get, nothing) = (Method::GET, String::new);
    let mut tasks = JoinSet::new();
    for (method, path, body) in [
        (get.clone(), "/api/v1/pods?watch=true", nothing()),
        (get.clone(), "/api/v1/pods?watch=true", nothing()),
        (get.clone(), "/api/v1/pods", nothing()),
        (get, "/arc-emulator/stream/1000000", nothing()),
        (
            Method::POST,
            "/api/v1/namespaces/demo/configmaps",
            map.to_string(),
        ),
    ] {
        tasks.spawn(again(local.clone(), method, path, body, over.clone()));
    }
    tasks
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_losses_leave_nothing_behind() {
    let world = World::new().await;
    let proxy = world.proxy(&[]).await;
    let local = Local::new(&world);
    let look = || (memory(&proxy), threads(&proxy), open_files(&proxy));
    let over = CancellationToken::new();
    let mut tasks = load(&local, &over);
    let lose = async |losses: std::ops::Range<usize>| {
        for number in losses {
            lose(&world, number);
            while !local.works().await {}
        }
    };
    lose(0..WARM).await;
    let before = look();
    lose(WARM..WARM + LOSSES).await;
    over.cancel();
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    let settled = async {
        loop {
            let (memory, threads, files) = look();
            let is_level = memory <= before.0 + MEMORY && threads <= before.1;
            if is_level && files <= before.2 {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    let settled = timeout(SILENCE, settled).await;
    let now = look();
    assert!(
        settled.is_ok(),
        "memory, threads and files: {before:?}, {now:?}"
    );
    proxy.signal("TERM");
    assert_eq!(proxy.ended().await.0, Some(0));
}
