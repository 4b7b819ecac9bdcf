//! What the far side is set to anew while arcproxy runs: the dialect of the agent, and the versions
//! of HTTP that kube-aad-proxy offers. A tunnel that is lost then leads to another one as the far
//! side wants it now.

use arc_emulator::aad_proxy::AadProxySeen;
use arc_emulator::agent::Dialect;
use arc_emulator::emulator::Emulator;
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use url::Url;

use crate::harness::{Ran, World};

/// Asks the emulator's control endpoint; gives what it answers.
async fn control(world: &World, method: Method, path: &str, body: Value) -> Bytes {
    let url: Url = world.emulator.control_url().parse().unwrap();
    let authority = (url.host_str().unwrap(), url.port().unwrap());
    let tcp = TcpStream::connect(authority).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(tcp)).await.unwrap();
    let request = Request::builder()
        .method(method)
        .uri(format!("{}{path}", url.path()))
        .header("host", format!("{}:{}", authority.0, authority.1))
        .body(Full::new(Bytes::from(body.to_string())))
        .unwrap();
    let asking = async {
        let response = sender.send_request(request).await.unwrap();
        drop(sender);
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, body)
    };
    let ((status, body), _) = tokio::join!(asking, connection);
    assert!(status.is_success(), "{status}: {body:?}");
    body
}

/// Switches the far side to `faults`, and loses every tunnel that was made before.
async fn switch(world: &World, faults: Value) {
    let body = control(world, Method::PATCH, "/faults", faults.clone()).await;
    let now: Value = serde_json::from_slice(&body).unwrap();
    for (name, value) in faults.as_object().unwrap() {
        assert_eq!(&now[name], value);
    }
    drop_tunnels(world).await;
}

async fn drop_tunnels(world: &World) {
    let how = json!({ "how": "reset" });
    control(world, Method::POST, "/tunnels/drop", how).await;
}

/// One ordinary request and one that is upgraded, each with a kubectl of its own.
async fn both_ways(world: &World) {
    let get = ["get", "pods", "-n", "demo", "-o", "name"];
    let pods = Ran::of(&mut world.kubectl(&get)).await.ok();
    assert!(pods.contains("pod/shell"), "{pods}");
    let exec = ["exec", "-n", "demo", "shell", "--", "echo", "hello"];
    let said = Ran::of(&mut world.kubectl(&exec)).await.ok();
    assert_eq!(said, "hello\n");
}

fn seen(world: &World) -> AadProxySeen {
    world.emulator.aad_proxy().seen()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_tunnel_is_dialled_in_the_dialect_of_now() {
    let world = World::new().await;
    let _proxy = world.proxy(&[]).await;
    both_ways(&world).await;
    let refused = || world.emulator.agent().seen().bad_preambles;
    assert_eq!(refused(), 0);
    switch(&world, json!({ "dialect": "bridge" })).await;
    both_ways(&world).await;
    assert!(refused() > 0, "nothing was tried as before");
    // It knows by now.
    let before = refused();
    drop_tunnels(&world).await;
    both_ways(&world).await;
    assert_eq!(refused(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_that_has_gone_is_not_expected_any_more() {
    let world = World::with(Emulator::builder().dialect(Dialect::Bridge)).await;
    let _proxy = world.proxy(&[]).await;
    both_ways(&world).await;
    for dialect in ["raw", "bridge", "raw"] {
        switch(&world, json!({ "dialect": dialect })).await;
        both_ways(&world).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_may_go_and_come_back() {
    let world = World::new().await;
    let _proxy = world.proxy(&[]).await;
    both_ways(&world).await;
    for _ in 0..2 {
        let before = seen(&world);
        switch(&world, json!({ "no_h2": true })).await;
        both_ways(&world).await;
        let without = seen(&world);
        assert_eq!(without.h2_connections, before.h2_connections);
        assert!(without.h1_connections > before.h1_connections);

        switch(&world, json!({ "no_h2": false })).await;
        both_ways(&world).await;
        let with = seen(&world);
        assert!(with.h2_connections > without.h2_connections, "{with:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_emulator_was_started_with_comes_back() {
    let world = World::with(Emulator::builder().h2(false)).await;
    let _proxy = world.proxy(&[]).await;
    both_ways(&world).await;
    assert_eq!(seen(&world).h2_connections, 0);
    switch(&world, json!({ "no_h2": false })).await;
    both_ways(&world).await;
    let with = seen(&world).h2_connections;
    assert!(with > 0);
    control(&world, Method::DELETE, "/faults", Value::Null).await;
    drop_tunnels(&world).await;
    both_ways(&world).await;
    assert_eq!(seen(&world).h2_connections, with);
}
