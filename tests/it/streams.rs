//! No stream stops another: watches that nobody reads, a download that stalls, and small requests
//! that go on beside them on the same cluster.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::AsyncReadExt as _;
use futures_util::io::AsyncBufReadExt as _;
use http::Request;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::PostParams;
use tokio::time::timeout;

use crate::harness::{DEADLINE, World};
use crate::kube_client::client;

const WATCHES: usize = 1000;
const MAPS: &str = "/api/v1/namespaces/demo/configmaps";

fn get(path: &str) -> Request<Vec<u8>> {
    Request::get(path).body(Vec::new()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn unread_watches_and_a_stalled_download_stop_nothing() {
    let world = World::new().await;
    let _proxy = world.proxy(&[]).await;
    let client = client(&world).await;
    let download = get(&format!("/arc-emulator/bytes/{}", 1 << 30));
    let mut stalled = client.request_stream(download).await.unwrap();
    // It has begun, and nothing more is read of it.
    let mut start = vec![0; 2 << 20];
    timeout(DEADLINE, stalled.read_exact(&mut start))
        .await
        .expect("a start")
        .unwrap();

    let path = format!("{MAPS}?watch=true");
    let opening = (0..WATCHES).map(|_| client.request_stream(get(&path)));
    let opening = futures_util::future::try_join_all(opening);
    let watches = timeout(DEADLINE, opening)
        .await
        .expect("they open")
        .unwrap();

    // What happens now goes to every watch.
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "demo");
    let changing = async {
        for number in 0..20 {
            let mut map = ConfigMap::default();
            map.metadata.name = Some(format!("change-{number}"));
            // Each of them comes a thousand times.
            map.data = Some([("some".to_owned(), "x".repeat(1_000))].into());
            maps.create(&PostParams::default(), &map).await.unwrap();
        }
    };
    timeout(DEADLINE, changing).await.expect("writes go on");

    // Every other watch is read, and has all of them; the rest stay as they are.
    let (read, unread): (Vec<_>, Vec<_>) = watches
        .into_iter()
        .enumerate()
        .partition(|(at, _)| at.is_multiple_of(2));
    let reading = read.into_iter().map(|(_, watch)| async move {
        let mut lines = watch.lines();
        loop {
            let line = futures_util::StreamExt::next(&mut lines).await;
            if line.unwrap().unwrap().contains("\"change-19\"") {
                return lines;
            }
        }
    });
    let reading = futures_util::future::join_all(reading);
    let read = timeout(DEADLINE, reading).await.expect("events arrive");
    assert_eq!((read.len(), unread.len()), (WATCHES / 2, WATCHES / 2));

    let small = async {
        for _ in 0..50 {
            client.request_text(get("/version")).await.unwrap();
        }
    };
    timeout(DEADLINE, small).await.expect("requests go on");
    let seen = world.emulator.aad_proxy().seen();
    assert!(seen.h2_connections > 1, "{seen:?}");
    // The download was not dead but waiting for its reader.
    let mut more = vec![0; 16 << 20];
    timeout(DEADLINE, stalled.read_exact(&mut more))
        .await
        .expect("it goes on")
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bulk_tunnel_that_dies_takes_its_own_body_and_nothing_else() {
    const CUT: u64 = 16 << 20;
    const ALL: u64 = 4 * CUT;
    let world = World::new().await;
    let _proxy = world.proxy(&[]).await;
    let client = client(&world).await;
    let download = |length: u64| get(&format!("/arc-emulator/bytes/{length}"));
    let mut body = client.request_stream(download(ALL)).await.unwrap();
    // It is bulk now: what comes after it goes another way.
    let mut start = vec![0; 2 << 20];
    timeout(DEADLINE, body.read_exact(&mut start))
        .await
        .expect("a start")
        .unwrap();
    client.request_text(get("/version")).await.unwrap();
    assert_eq!(world.emulator.aad_proxy().seen().h2_connections, 2);
    let faults = world.emulator.faults();
    faults.update(|faults| faults.cut_after_bytes = Some(CUT));

    let (ended, beside) = (AtomicBool::new(false), AtomicUsize::new(0));
    let reading = async {
        let mut rest = Vec::new();
        let outcome = body.read_to_end(&mut rest).await;
        ended.store(true, Ordering::Relaxed);
        (outcome.map_err(drop), rest.len())
    };
    let asking = async {
        while !ended.load(Ordering::Relaxed) || beside.load(Ordering::Relaxed) < 20 {
            client.request_text(get("/version")).await.unwrap();
            beside.fetch_add(1, Ordering::Relaxed);
        }
    };
    let both = async { tokio::join!(reading, asking) };
    let ((outcome, length), ()) = timeout(DEADLINE, both).await.expect("in time");
    // An error and no end, since not all of it came.
    assert_eq!(outcome, Err(()));
    assert!((length as u64) < ALL, "{length}");

    faults.update(|faults| faults.cut_after_bytes = None);
    let mut again = client.request_stream(download(CUT)).await.unwrap();
    let mut whole = Vec::new();
    timeout(DEADLINE, again.read_to_end(&mut whole))
        .await
        .expect("in time")
        .unwrap();
    assert_eq!(whole.len() as u64, CUT);
}
