//! The pool over in-memory streams to a [`far`] side.

mod accounts;
mod again;
mod far;
mod http1;
mod lanes;
mod opening;
mod raw;
mod silence;
mod upgrades;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Either, Full};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use self::far::{Endless, FakeConnect, FakeCredentials, Far};
use super::{FarSide, Opener, Pool, TunnelError};
use crate::proxy::LocalCertificate;

/// What requests carry: little, or more than fits anywhere.
type RequestBody = Either<Full<Bytes>, Endless>;

/// A pool and the far side that it leads to.
struct World {
    far: Arc<Far>,
    credentials: Arc<FakeCredentials>,
    pool: Arc<Pool<RequestBody>>,
}

fn world(alpn: &[&str], change: impl FnOnce(&mut Far)) -> World {
    let certificate = LocalCertificate::generate().expect("a certificate");
    let mut tls = (*certificate.config).clone();
    tls.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let mut far = Far {
        tls: Arc::new(tls),
        streams: 100,
        bridge: false,
        valid_from: 0,
        away: AtomicBool::new(false),
        lost: AtomicBool::new(false),
        late: AtomicU64::new(0),
        dials: AtomicUsize::new(0),
        sent: Arc::default(),
        holding: AtomicUsize::new(0),
        release: Notify::new(),
        cut: CancellationToken::new(),
        silent: watch::Sender::new(0),
        rate: u32::MAX,
        uplink: u32::MAX,
        most: AtomicUsize::new(0),
        lag: Duration::ZERO,
        requests: AtomicUsize::new(0),
        scripts: Mutex::default(),
    };
    change(&mut far);
    let far = Arc::new(far);
    let pem = certificate.authority_pem.as_bytes();
    let far_side = FarSide::new("https://kube-aad-proxy", Some("localhost"), Some(pem));
    let credentials = Arc::new(FakeCredentials {
        far_side: Arc::new(far_side.expect("a far side")),
        generation: AtomicU64::new(0),
        renewals: AtomicUsize::new(0),
    });
    let opener = Opener::new(Arc::new(FakeConnect(far.clone())), credentials.clone());
    World {
        far,
        credentials,
        pool: Arc::new(Pool::new(opener)),
    }
}

impl World {
    fn dials(&self) -> usize {
        self.far.dials.load(Ordering::Relaxed)
    }

    fn requests(&self) -> usize {
        self.far.requests.load(Ordering::Relaxed)
    }

    async fn get(&self, path: &str) -> Result<String, TunnelError> {
        let body = self.pool.request(get(path)).await?.into_body();
        let bytes = body.collect().await.expect("all of it").to_bytes();
        Ok(String::from_utf8(bytes.to_vec()).expect("text"))
    }
}

const BOTH: [&str; 2] = ["h2", "http/1.1"];

fn get(path: &str) -> Request<RequestBody> {
    let request = Request::get(path).body(Either::Left(Full::default()));
    request.expect("a request")
}

/// Lets everything else go on until `done`.
async fn until(mut done: impl FnMut() -> bool) {
    let waiting = async {
        while !done() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting)
        .await
        .expect("it comes about");
}

#[tokio::test]
async fn closing_ends_the_tunnels_in_order() {
    for alpn in [&BOTH[..], &["http/1.1"]] {
        let world = world(alpn, |_| {});
        world.get("/").await.expect("an answer");
        let started = tokio::time::Instant::now();
        world.pool.close(Duration::from_secs(20)).await;
        assert!(
            started.elapsed() < Duration::from_secs(10),
            "a tunnel did not end by itself"
        );
        assert_eq!(world.pool.lanes(), 0);
    }
}
