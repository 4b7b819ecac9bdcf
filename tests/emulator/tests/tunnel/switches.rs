//! What is switched while the agent and kube-aad-proxy run holds for the next stream, and leaves
//! those that are open alone.

use arc_emulator::agent::Dialect;
use http::StatusCode;
use http_body_util::{BodyExt as _, Full};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::agent::{start, stream, target};
use crate::cluster::{BOTH, Cluster, Setup};
use crate::harness::{Stage, receive, send};

const PREAMBLE: &[u8] = b"\x01\0\0\x03443";

#[tokio::test]
async fn the_next_stream_speaks_the_new_dialect() {
    let stage = Stage::new().await;
    let (listener, address) = target().await;
    let agent = start(&stage, Dialect::Raw, address).await;
    let (mut raw, mut raw_tcp) = stream(&stage, &listener).await;
    send(&mut raw, &b"raw"[..]).await;
    let mut read = [0; 3];
    raw_tcp.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"raw");

    stage
        .faults
        .update(|faults| faults.dialect = Dialect::Bridge);
    let (mut bridge, mut bridge_tcp) = stream(&stage, &listener).await;
    send(&mut bridge, PREAMBLE).await;
    assert_eq!(receive(&mut bridge, 3).await, [1, 0, 0]);
    send(&mut bridge, &b"bridge"[..]).await;
    let mut read = [0; 6];
    bridge_tcp.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"bridge");

    stage.faults.update(|faults| faults.dialect = Dialect::Raw);
    let (mut again, mut again_tcp) = stream(&stage, &listener).await;
    send(&mut again, PREAMBLE).await;
    let mut read = [0; 7];
    again_tcp.read_exact(&mut read).await.unwrap();
    assert_eq!(read, PREAMBLE, "to a raw agent a preamble is the target's");

    for (sender, tcp) in [(&mut raw, &mut raw_tcp), (&mut bridge, &mut bridge_tcp)] {
        tcp.write_all(b"still open").await.unwrap();
        assert_eq!(receive(sender, 10).await, b"still open");
    }
    assert_eq!((agent.seen().channels, agent.seen().bad_preambles), (1, 0));
}

/// What kube-aad-proxy agrees to with a client that speaks both versions of HTTP.
async fn agreed(cluster: &Cluster) -> Vec<u8> {
    let tls = cluster.connect(&["h2", "http/1.1"]).await.unwrap();
    tls.get_ref().1.alpn_protocol().unwrap().to_vec()
}

#[tokio::test]
async fn the_next_connection_is_offered_the_new_versions_of_http() {
    let cluster = Cluster::new(BOTH).await;
    let faults = &cluster.stage.faults;
    let mut open = cluster.http2().await;
    assert_eq!(agreed(&cluster).await, b"h2");

    faults.update(|faults| faults.no_h2 = true);
    assert_eq!(agreed(&cluster).await, b"http/1.1");
    assert!(cluster.connect(&["h2"]).await.is_err());
    let proof = cluster.proof();
    let request = Cluster::request("/api", &proof);
    let response = cluster.http1().await.send_request(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);

    // A connection on which HTTP/2 was agreed goes on with it.
    let request = Cluster::request("/api", &proof).map(|_| Full::default());
    let response = open.send_request(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert!(
        !response
            .into_body()
            .collect()
            .await
            .unwrap()
            .to_bytes()
            .is_empty()
    );

    faults.update(|faults| (faults.no_h2, faults.no_http1) = (false, true));
    assert_eq!(agreed(&cluster).await, b"h2");
    assert!(cluster.connect(&["http/1.1"]).await.is_err());

    faults.update(|faults| faults.no_http1 = false);
    assert_eq!(agreed(&cluster).await, b"h2");
    assert!(cluster.connect(&["http/1.1"]).await.is_ok());
}

#[tokio::test]
async fn the_certificate_stays_whatever_is_offered() {
    let setup = Setup {
        no_h2: true,
        ..BOTH
    };
    let cluster = Cluster::new(setup).await;
    let mut seen = Vec::new();
    for (no_h2, no_http1) in [(true, false), (false, true), (false, false)] {
        let faults = &cluster.stage.faults;
        faults.update(|faults| (faults.no_h2, faults.no_http1) = (no_h2, no_http1));
        let tls = cluster.connect(&["h2", "http/1.1"]).await.unwrap();
        let chain = tls.get_ref().1.peer_certificates().unwrap();
        seen.push(chain[0].clone().into_owned());
    }
    seen.dedup();
    assert_eq!(seen.len(), 1);
}
