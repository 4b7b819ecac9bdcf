//! What clients believe of the cluster after a hundred lost tunnels.

use std::collections::BTreeMap;
use std::time::Duration;

use arc_emulator::relay::Cut;
use arc_emulator::serve::Break;
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::reflector;
use kube::runtime::watcher::{self, watcher};
use kube::{Api, Client, Config};
use serde_json::Value;
use tokio::time::{sleep, timeout};

use super::local::{Local, Version};
use crate::harness::{DEADLINE, World};
use crate::kube_client::client;

pub(super) const LOSSES: usize = 100;
/// How long all of them may take.
const LONG: Duration = Duration::from_mins(4);

/// A client that goes straight to the apiserver.
pub(super) async fn direct(world: &World) -> Client {
    let file = world.emulator.admin_kubeconfig().unwrap();
    let kubeconfig = Kubeconfig::read_from(file).unwrap();
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options);
    Client::try_from(config.await.unwrap()).unwrap()
}

/// The loss of that number.
pub(super) fn lose(world: &World, number: usize) {
    let (relay, aad_proxy) = (world.emulator.relay(), world.emulator.aad_proxy());
    match number % 5 {
        0 => relay.drop_tunnels(Cut::Reset),
        1 => relay.drop_tunnels(Cut::Close(1000)),
        2 => relay.drop_tunnels(Cut::InFrame),
        3 => relay.drop_tunnels(Cut::InMessage),
        _ => aad_proxy.break_connections(Break::InFrame),
    }
}

pub(super) fn map(name: &str) -> ConfigMap {
    let mut map = ConfigMap::default();
    map.metadata.name = Some(name.to_owned());
    map
}

/// Changes things and loses tunnels, each loss once the change before it `is_seen`.
async fn change(world: &World, mut is_seen: impl FnMut(usize) -> bool) {
    let maps: Api<ConfigMap> = Api::namespaced(direct(world).await, "demo");
    for number in 0..LOSSES {
        // In the midst of the loss.
        lose(world, number);
        maps.create(&PostParams::default(), &map(&format!("change-{number}")))
            .await
            .unwrap();
        let mut waited = 0;
        while !is_seen(number) {
            // What waits for the next bytes is cut with them.
            waited += 1;
            assert!(waited < 2000, "change {number} is not seen");
            sleep(Duration::from_millis(10)).await;
        }
        if number % 3 == 0 {
            let name = format!("change-{number}");
            maps.delete(&name, &DeleteParams::default()).await.unwrap();
        }
    }
}

fn versions(maps: impl IntoIterator<Item = ConfigMap>) -> BTreeMap<String, String> {
    let version = |map: ConfigMap| {
        let metadata = map.metadata;
        (metadata.name.unwrap(), metadata.resource_version.unwrap())
    };
    maps.into_iter().map(version).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_informer_ends_up_with_what_the_apiserver_has() {
    let world = World::new().await;
    let _proxy = world.proxy(&[]).await;
    let maps: Api<ConfigMap> = Api::namespaced(client(&world).await, "demo");
    let (store, writer) = reflector::store();
    let events = watcher(maps, watcher::Config::default());
    let informing = tokio::spawn(reflector(writer, events).for_each(async |_| {}));
    store.wait_until_ready().await.unwrap();

    let is_seen = |number: usize| {
        let name = format!("change-{number}");
        let is_it = |map: &ConfigMap| map.metadata.name.as_deref() == Some(&name);
        store.find(is_it).is_some()
    };
    timeout(LONG, change(&world, is_seen))
        .await
        .expect("in time");

    let truth: Api<ConfigMap> = Api::namespaced(direct(&world).await, "demo");
    let truth = truth.list(&ListParams::default()).await.unwrap();
    let truth = versions(truth.items);
    let cache = || versions(store.state().iter().map(|map| (**map).clone()));
    let settling = async {
        while cache() != truth {
            sleep(Duration::from_millis(10)).await;
        }
    };
    let settled = timeout(DEADLINE, settling).await;
    assert!(settled.is_ok(), "{truth:?}\n{:?}", cache());
    informing.abort();
}

/// What a watch tells: the event's kind, its object's name and version.
type Seen<'a> = dyn FnMut(String, String, String) + Send + 'a;

/// Hands on what a line of a watch tells.
pub(super) fn tell(line: &[u8], seen: &mut Seen<'_>) {
    let event: Value = serde_json::from_slice(line).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let metadata = &event["object"]["metadata"];
    seen(
        text(&event["type"]),
        text(&metadata["name"]),
        text(&metadata["resourceVersion"]),
    );
}

/// The path of a watch that begins after `version`.
pub(super) fn watch_path(version: &str) -> String {
    format!("/api/v1/namespaces/demo/configmaps?watch=true&resourceVersion={version}")
}

/// Watches from `version` on until the stream ends, which must be with an error.
async fn watch(local: &Local, version: &str, seen: &mut Seen<'_>) {
    let path = watch_path(version);
    let Ok(response) = local.send(Version::Two, Method::GET, &path, "").await else {
        return;
    };
    if response.status() != StatusCode::OK {
        return;
    }
    let mut body = response.into_body();
    let mut unread = Vec::new();
    loop {
        let data: Bytes = match body.frame().await {
            Some(Ok(frame)) => frame.into_data().unwrap(),
            Some(Err(_)) => return,
            None => panic!("a watch that was cut ended as if it were whole"),
        };
        unread.extend_from_slice(&data);
        while let Some(end) = unread.iter().position(|byte| *byte == b'\n') {
            let line: Vec<_> = unread.drain(..=end).collect();
            tell(&line, seen);
        }
    }
}

/// Asserts that `watch`, begun again after each loss with the version that it saw last, sees
/// everything once and in order.
pub(super) async fn sees_everything_once(
    world: &World,
    mut watch: impl AsyncFnMut(&str, &mut Seen<'_>),
) {
    let maps: Api<ConfigMap> = Api::namespaced(direct(world).await, "demo");
    let list = maps.list(&ListParams::default()).await.unwrap();
    let start = list.metadata.resource_version.unwrap();

    let events = std::sync::Mutex::new(Vec::new());
    let watching = async {
        let mut version = start;
        loop {
            let from = version.clone();
            watch(&from, &mut |kind, name, at| {
                version = at;
                events.lock().unwrap().push((kind, name));
            })
            .await;
        }
    };
    let is_seen = |number: usize| {
        let added = ("ADDED".to_owned(), format!("change-{number}"));
        events.lock().unwrap().contains(&added)
    };
    let expected: Vec<_> = (0..LOSSES)
        .flat_map(|number| {
            let name = format!("change-{number}");
            let event = |kind: &str| (kind.to_owned(), name.clone());
            let deleted = (number % 3 == 0).then(|| event("DELETED"));
            [Some(event("ADDED")), deleted]
        })
        .flatten()
        .collect();
    let changing = async {
        change(world, is_seen).await;
        while events.lock().unwrap().len() < expected.len() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    let both = async {
        tokio::select! {
            () = watching => {}
            () = changing => {}
        }
    };
    timeout(LONG, Box::pin(both)).await.expect("in time");
    assert_eq!(*events.lock().unwrap(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_is_taken_up_again_sees_everything_once() {
    let world = World::new().await;
    let _proxy = world.proxy(&[]).await;
    let local = Local::new(&world);
    sees_everything_once(&world, async |version, seen| {
        watch(&local, version, seen).await;
    })
    .await;
}
