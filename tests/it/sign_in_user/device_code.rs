//! A code that is entered on another device.

use std::time::{Duration, Instant};

use super::{ANA, Asking, TRUE};
use crate::harness::World;

impl World {
    fn by_device(&self, arguments: &[&str]) -> Asking {
        let device = ["--auth", "device-code"];
        Asking::start(self.by_person(&[&device[..], arguments].concat()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_works_once_the_code_was_entered() {
    let world = World::new().await;
    let pods = ["--", "kubectl", "get", "pods", "-n", "demo", "-o", "name"];
    let mut asking = world.by_device(&pods);
    let page = asking.page().await.unwrap();
    assert!(page.path().ends_with("/deviceauth"), "{page}");
    let code = asking.code().await;
    assert!(world.emulator.entra().approve_device(&code, ANA), "{code}");
    let ran = asking.ended().await;
    let words = "✓ Signed in as ana@contoso.com (device-code)";
    assert!(ran.stderr.contains(words), "{}", ran.stderr);
    assert!(ran.ok().contains("pod/shell"));
    assert_eq!(world.emulator.entra().seen().pop_tokens, 1);

    // The next run asks nothing.
    let again = world.by_device(&TRUE).ended().await;
    assert!(!again.stderr.contains("enter the code"), "{}", again.stderr);
    again.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_may_be_declined() {
    let world = World::new().await;
    let mut asking = world.by_device(&TRUE);
    let code = asking.code().await;
    assert!(world.emulator.entra().decline_device(&code));
    let ran = asking.ended().await;
    ran.failed(3, &["declined on the other device", "AADSTS70018"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_nobody_enters_expires() {
    let world = World::new().await;
    let mut asking = world.by_device(&TRUE);
    asking.code().await;
    let faults = world.emulator.faults();
    faults.update(|set| set.clock_offset_seconds = 901);
    let ran = asking.ended().await;
    ran.failed(3, &["nobody entered the code", "AADSTS70020", "a new code"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_is_asked_more_rarely_when_it_says_so() {
    let world = World::new().await;
    world.emulator.entra().slow_down(1);
    let mut asking = world.by_device(&TRUE);
    let code = asking.code().await;
    let began = Instant::now();
    assert!(world.emulator.entra().approve_device(&code, ANA));
    asking.ended().await.ok();
    // A second, then a second and five more.
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(7), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_entra_is_away_the_code_stays_good() {
    let world = World::new().await;
    let mut asking = world.by_device(&TRUE);
    let code = asking.code().await;
    world.emulator.faults().update(|set| {
        set.entra.status = Some(503);
        set.entra.times = Some(1);
    });
    assert!(world.emulator.entra().approve_device(&code, ANA));
    let ran = asking.ended().await;
    let words = "cannot ask whether the code was entered";
    assert!(ran.stderr.contains(words), "{}", ran.stderr);
    ran.ok();
}
