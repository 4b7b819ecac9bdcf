//! A start does side by side what need not wait.

use arc_emulator::emulator::Emulator;
use arc_emulator::faults::{FaultSet, ServiceFault};
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::harness::{DEADLINE, Ran, World};

#[tokio::test(flavor = "multi_thread")]
async fn arm_is_connected_to_before_entra_has_answered() {
    let refusing = FaultSet {
        entra: ServiceFault {
            status: Some(401),
            ..ServiceFault::default()
        },
        ..FaultSet::default()
    };
    let world = World::with(Emulator::builder().faults(refusing)).await;
    let arm = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}", arm.local_addr().unwrap().port());
    let cloud = world.cloud_with(|cloud| cloud["resourceManager"] = url.into());
    let mut command = world.arcproxy(&["-n", "edge-demo", "-g", "demo", "--", "true"]);
    let ran = Ran::of(command.env("ARCPROXY_CLOUD", &cloud)).await;
    // There never was a token to send there.
    assert_eq!(ran.code, Some(3), "{}", ran.stderr);
    timeout(DEADLINE, arm.accept())
        .await
        .expect("somebody came")
        .unwrap();
}
