//! Faults of Entra and ARM that pass: they are waited out, and told when they stay.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arc_emulator::emulator::Emulator;
use arc_emulator::faults::{FaultSet, ServiceFault};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;
use url::Url;

use crate::harness::{Ran, World};

const RUN: [&str; 6] = ["-n", "edge-demo", "-g", "demo", "--", "true"];
const LIST_CREDENTIALS: &str = "connectedClusters.listClusterUserCredential";

fn answers(status: u16, times: Option<u32>, retry_after_seconds: Option<u64>) -> ServiceFault {
    ServiceFault {
        status: Some(status),
        retry_after_seconds,
        times,
        ..ServiceFault::default()
    }
}

impl World {
    async fn failing(entra: ServiceFault, arm: ServiceFault) -> Self {
        let faults = FaultSet {
            entra,
            arm,
            ..FaultSet::default()
        };
        Self::with(Emulator::builder().faults(faults)).await
    }

    fn credentials_asked(&self) -> u64 {
        let seen = self.emulator.arm().seen();
        seen.operations.get(LIST_CREDENTIALS).copied().unwrap_or(0)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_status_that_may_pass_is_waited_out() {
    let world = World::new().await;
    for status in [429, 500, 502, 503, 504] {
        world.emulator.faults().update(|faults| {
            faults.entra = answers(status, Some(2), None);
            faults.arm = answers(status, Some(2), None);
        });
        let ran = world.run(&[&["-v"], &RUN[..]].concat()).await;
        let struck = world.emulator.faults().now();
        assert_eq!((struck.entra.times, struck.arm.times), (Some(0), Some(0)));
        let told = format!("answered {status}");
        assert!(ran.stderr.contains(&told), "{}", ran.stderr);
        assert!(ran.stderr.contains("trying again"), "{}", ran.stderr);
        ran.ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pause_that_a_service_names_is_kept_and_told() {
    let fault = || answers(429, Some(1), Some(2));
    let world = World::failing(fault(), fault()).await;
    let started = std::time::Instant::now();
    let ran = world.run(&RUN).await;
    assert!(started.elapsed().as_secs() >= 2, "that was asked for");
    // A wait that is noticed is told without being asked.
    let told = ran
        .stderr
        .lines()
        .filter(|line| line.contains("WARN") && line.contains("429"));
    assert_eq!(told.count(), 2, "{}", ran.stderr);
    ran.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stays_is_told_with_how_often_was_tried() {
    let stays = || answers(503, None, Some(0));
    let none = ServiceFault::default;
    let world = World::failing(none(), stays()).await;
    let ran = world.run(&RUN).await;
    ran.failed(
        4,
        &[
            "cannot get relay credentials for edge-demo",
            "(tried 5 times in ",
        ],
    );
    assert_eq!(world.credentials_asked(), 5);

    world.emulator.faults().update(|faults| {
        faults.arm = answers(500, None, Some(0));
    });
    let ran = world.run(&RUN).await;
    ran.failed(4, &["(tried 5 times in "]);

    world.emulator.faults().update(|faults| {
        faults.arm = ServiceFault::default();
        faults.entra = stays();
    });
    let ran = world.run(&RUN).await;
    ran.failed(3, &["did not sign in", "AADSTS90033", "(tried 5 times in "]);

    world.emulator.faults().update(|faults| {
        faults.entra = answers(429, None, Some(600));
    });
    let ran = world.run(&RUN).await;
    let ran = ran.failed(3, &["Entra asks to wait 600 seconds"]);
    assert!(!ran.stderr.contains("tried"), "{}", ran.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_asked_for_once() {
    for status in [400, 401, 403, 404] {
        let none = ServiceFault::default();
        let world = World::failing(none, answers(status, None, None)).await;
        let ran = world.run(&RUN).await;
        assert!(matches!(ran.code, Some(3 | 4)), "{}", ran.stderr);
        // Where the token is not taken, another one is shown.
        let asked = if status == 401 { 2 } else { 1 };
        assert_eq!(world.credentials_asked(), asked, "{status}");
        assert!(!ran.stderr.contains("tried"), "{}", ran.stderr);
    }
}

/// A way to a service that ends its first connections, then lets all through.
struct Cutter {
    url: String,
    left: Arc<AtomicU32>,
    _serving: AbortOnDropHandle<()>,
}

impl Cutter {
    /// Cuts the first `cuts` connections when the client has sent its `flight`th flight: the
    /// first one begins the TLS handshake, the second follows it and holds the request.
    async fn before(service: &str, cuts: u32, flight: u32) -> Self {
        let mut url = Url::parse(service).unwrap();
        let service = ("127.0.0.1", url.port().unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        url.set_port(Some(listener.local_addr().unwrap().port()))
            .unwrap();
        let left = Arc::new(AtomicU32::new(cuts));
        let counter = left.clone();
        let serving = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let is_cut = counter
                    .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                        left.checked_sub(1)
                    })
                    .is_ok();
                connections.spawn(carry(client, service, is_cut.then_some(flight)));
            }
        });
        Self {
            url: url.to_string(),
            left,
            _serving: AbortOnDropHandle::new(serving),
        }
    }

    /// Asserts that every cut was made.
    fn used_up(&self) {
        assert_eq!(self.left.load(Ordering::SeqCst), 0);
    }
}

async fn carry(mut client: TcpStream, service: (&str, u16), cut_at: Option<u32>) -> io::Result<()> {
    let mut service = TcpStream::connect(service).await?;
    let Some(flight) = cut_at else {
        copy_bidirectional(&mut client, &mut service).await?;
        return Ok(());
    };
    let mut sent = [0; 16 << 10];
    let mut answered = [0; 16 << 10];
    let mut flights = 0;
    loop {
        tokio::select! {
            read = client.read(&mut sent) => {
                flights += 1;
                if flights == flight {
                    return client.set_zero_linger();
                }
                service.write_all(&sent[..read?]).await?;
            }
            read = service.read(&mut answered) => {
                client.write_all(&answered[..read?]).await?;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_reset_is_opened_again() {
    let world = World::new().await;
    for flight in [1, 2] {
        let entra = Cutter::before(world.emulator.entra().url(), 2, flight).await;
        let arm = Cutter::before(world.emulator.arm().url(), 2, flight).await;
        let cloud = world.cloud_with(|cloud| {
            cloud["authority"] = entra.url.as_str().into();
            cloud["resourceManager"] = arm.url.as_str().into();
        });
        let mut command = world.arcproxy(&[&["-v"], &RUN[..]].concat());
        let ran = Ran::of(command.env("ARCPROXY_CLOUD", &cloud)).await;
        assert!(ran.stderr.contains("trying again"), "{}", ran.stderr);
        ran.ok();
        entra.used_up();
        arm.used_up();
    }
    let arm = Cutter::before(world.emulator.arm().url(), u32::MAX, 1).await;
    let cloud = world.cloud_with(|cloud| cloud["resourceManager"] = arm.url.as_str().into());
    let mut command = world.arcproxy(&RUN);
    let ran = Ran::of(command.env("ARCPROXY_CLOUD", &cloud)).await;
    ran.failed(
        4,
        &[
            "cannot reach Azure Resource Manager",
            "(tried 5 times in ",
            "port 443",
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_does_not_resolve_is_told_at_once() {
    let world = World::new().await;
    let cloud = world.cloud_with(|cloud| cloud["authority"] = "https://login.invalid".into());
    let mut command = world.arcproxy(&RUN);
    let ran = Ran::of(command.env("ARCPROXY_CLOUD", &cloud)).await;
    let ran = ran.failed(3, &["cannot reach login.invalid", "cannot resolve", "DNS"]);
    assert!(!ran.stderr.contains("tried"), "{}", ran.stderr);
}
