//! The `kube` crate as a second client: another HTTP stack, another WebSocket, another watch.

use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{AttachParams, ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Config};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::harness::{DEADLINE, World};

/// A client that reads the kubeconfig that arcproxy wrote.
pub(crate) async fn client(world: &World) -> Client {
    let kubeconfig = Kubeconfig::read_from(world.kubeconfig()).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .unwrap();
    Client::try_from(config).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_in_pages_and_watches() {
    let world = World::new().await;
    let _proxy = world.proxy(&[]).await;
    let client = client(&world).await;
    let pods: Api<Pod> = Api::all(client.clone());
    let all = pods.list(&ListParams::default()).await.unwrap();
    let first = pods.list(&ListParams::default().limit(2)).await.unwrap();
    assert_eq!(first.items.len(), 2);
    let token = first.metadata.continue_.as_deref().unwrap();
    let rest = pods
        .list(&ListParams::default().continue_token(token))
        .await
        .unwrap();
    assert_eq!(first.items.len() + rest.items.len(), all.items.len());

    let maps: Api<ConfigMap> = Api::namespaced(client, "demo");
    let mut events = Box::pin(watcher(maps.clone(), watcher::Config::default()));
    let watching = async {
        while let Some(event) = events.next().await {
            match event.unwrap() {
                Event::InitDone => {
                    let mut map = ConfigMap::default();
                    map.metadata.name = Some("seen".to_owned());
                    maps.create(&PostParams::default(), &map).await.unwrap();
                }
                Event::Apply(map) if map.metadata.name.as_deref() == Some("seen") => return true,
                _ => {}
            }
        }
        false
    };
    assert!(timeout(DEADLINE, watching).await.expect("the event comes"));
}

#[tokio::test(flavor = "multi_thread")]
async fn executes_and_forwards_ports() {
    let world = World::new().await;
    let _proxy = world.proxy(&[]).await;
    let pods: Api<Pod> = Api::namespaced(client(&world).await, "demo");
    let mut process = pods
        .exec(
            "shell",
            ["cat"],
            &AttachParams::default().stdin(true).stderr(false),
        )
        .await
        .unwrap();
    let (mut input, mut output) = (process.stdin().unwrap(), process.stdout().unwrap());
    input.write_all(b"through the tunnel").await.unwrap();
    let mut echo = [0; 18];
    timeout(DEADLINE, output.read_exact(&mut echo))
        .await
        .expect("an echo")
        .unwrap();
    assert_eq!(&echo, b"through the tunnel");

    let web = pods
        .list(&ListParams::default().labels("app=web").limit(1))
        .await
        .unwrap();
    let name = web.items[0].metadata.name.clone().unwrap();
    let mut forward = pods.portforward(&name, &[80]).await.unwrap();
    let mut stream = forward.take_stream(80).unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    timeout(DEADLINE, stream.read_to_string(&mut answer))
        .await
        .expect("an answer")
        .unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains(&name),
        "{answer}"
    );
}
