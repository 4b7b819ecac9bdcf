//! A code that is entered on another device.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_emulator::entra::Revocation;
use arcproxy::azure::cloud::Cloud;
use arcproxy::azure::login::{self, Auth, Prompt, SignIn, SignInSettings, Teller};
use arcproxy::clock::Clock;
use arcproxy::error::Code;
use arcproxy::net::{Https, Net, Trust};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{ANA, Asking, TRUE};
use crate::harness::{DEADLINE, Ran, World};

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

/// The method itself, and the codes that it shows.
async fn method(world: &World) -> (Arc<dyn SignIn>, mpsc::UnboundedReceiver<String>) {
    let settings = SignInSettings {
        auth: Auth::DeviceCode,
        ..SignInSettings::default()
    };
    method_of(world, &settings).await
}

/// The method of `settings`, and the codes that it shows.
pub(super) async fn method_of(
    world: &World,
    settings: &SignInSettings,
) -> (Arc<dyn SignIn>, mpsc::UnboundedReceiver<String>) {
    let cloud = Cloud::read(world.emulator.cloud_file()).unwrap();
    let trust = Trust::system(cloud.ca_file.as_deref()).unwrap();
    let clock = Clock::system();
    let https = Https::new(Net::new(trust), clock.clone()).unwrap();
    let (tell, told) = mpsc::unbounded_channel();
    let teller = Teller::new(move |prompt| {
        if let Prompt::DeviceCode { code, .. } = prompt {
            tell.send((*code).to_owned()).unwrap();
        }
    });
    let sign_in = login::choose(settings, &cloud, &https, &clock, &teller);
    (sign_in.await.unwrap(), told)
}

pub(super) const ARM: &str = "https://management.azure.com/.default";
const CLUSTER: &str = "6256c85f-0aad-4d50-b960-e6e9b21efe35/.default";

#[tokio::test(flavor = "multi_thread")]
async fn two_that_need_a_token_ask_once() {
    let world = World::new().await;
    let (sign_in, mut codes) = method(&world).await;
    let answering = async {
        let code = codes.recv().await.unwrap();
        assert!(world.emulator.entra().approve_device(&code, ANA));
        codes.recv().await
    };
    let getting = async { tokio::try_join!(sign_in.bearer(ARM), sign_in.bearer(CLUSTER)) };
    tokio::select! {
        got = getting => assert!(got.is_ok(), "{got:?}"),
        another = answering => panic!("asked again, with {another:?}"),
    }
    assert_eq!(sign_in.description(), "ana@contoso.com (device-code)");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_while_somebody_is_asked_does_not_keep_from_asking_again() {
    let world = World::new().await;
    let (sign_in, mut codes) = method(&world).await;
    let (entra, faults) = (world.emulator.entra(), world.emulator.faults());
    // No answer of Entra's, and none that passes by waiting.
    faults.update(|set| set.entra.status = Some(404));
    let error = sign_in.bearer(ARM).await.unwrap_err();
    assert_eq!(error.code(), Code::SignInUnreachable, "{error}");
    faults.update(|set| set.entra.status = None);
    let approving = async {
        let code = codes.recv().await.unwrap();
        assert!(entra.approve_device(&code, ANA));
        std::future::pending::<()>().await;
    };
    tokio::select! {
        got = sign_in.bearer(ARM) => assert!(got.is_ok(), "{got:?}"),
        () = approving => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_declined_is_not_asked_again_so_soon() {
    let world = World::new().await;
    let (sign_in, mut codes) = method(&world).await;
    let declining = async {
        let code = codes.recv().await.unwrap();
        assert!(world.emulator.entra().decline_device(&code));
    };
    let (declined, ()) = tokio::join!(sign_in.bearer(ARM), declining);
    assert_eq!(declined.unwrap_err().code(), Code::SignInRefused);
    let again = sign_in.bearer(ARM).await.unwrap_err();
    assert!(again.what().contains("declined"), "{again}");
    assert!(codes.try_recv().is_err(), "no other code is shown");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_somebody_is_asked_the_old_token_is_used() {
    let world = World::new().await;
    let (entra, faults) = (world.emulator.entra(), world.emulator.faults());
    let (sign_in, mut codes) = method(&world).await;
    let (first, ()) = tokio::join!(sign_in.bearer(ARM), async {
        let code = codes.recv().await.unwrap();
        assert!(entra.approve_device(&code, ANA));
    });
    let first = first.unwrap().secret;
    // Almost an hour goes by, which the next answer tells.
    faults.update(|set| set.clock_offset_seconds = 3_400);
    sign_in.bearer(CLUSTER).await.unwrap();
    entra.revoke(ANA, Revocation::SignInFrequency);

    for _ in 0..2 {
        let old = timeout(DEADLINE, sign_in.bearer(ARM)).await;
        assert_eq!(old.expect("nobody answers").unwrap().secret, first);
    }
    let code = codes.try_recv().expect("somebody is asked");
    assert!(codes.try_recv().is_err(), "once");
    assert!(entra.approve_device(&code, ANA));
    let began = Instant::now();
    while sign_in.bearer(ARM).await.unwrap().secret == first {
        assert!(began.elapsed() < DEADLINE, "there is no new one");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_that_comes_late_takes_nothing_back() {
    let world = World::new().await;
    let (entra, faults) = (world.emulator.entra(), world.emulator.faults());
    let (sign_in, mut codes) = method(&world).await;
    let approve = async |code: Option<String>| {
        assert!(entra.approve_device(&code.unwrap(), ANA));
    };
    let (first, ()) = tokio::join!(sign_in.bearer(ARM), async {
        approve(codes.recv().await).await;
    });
    // Entra takes its time with one who renews, while somebody shows more.
    faults.update(|set| set.entra.delay_ms = 5_000);
    let requests = entra.seen().token_requests;
    let claims = r#"{"access_token":{"acrs":{"essential":true,"value":"c1"}}}"#;
    let refused = first.unwrap().secret;
    let challenged = async {
        while entra.seen().token_requests == requests {
            tokio::task::yield_now().await;
        }
        faults.update(|set| set.entra.delay_ms = 0);
        let (token, ()) = tokio::join!(sign_in.challenged(ARM, &refused, claims), async {
            approve(codes.recv().await).await;
        });
        (token, Instant::now())
    };
    let renewing = async { (sign_in.bearer(CLUSTER).await, Instant::now()) };
    let ((shown, early), (renewed, late)) = tokio::join!(challenged, renewing);
    assert!(shown.is_ok() && renewed.is_ok(), "{shown:?} {renewed:?}");
    assert!(early < late, "the renewal came last");

    let graph = sign_in.bearer("https://graph.microsoft.com/.default");
    let token = graph.await.unwrap().secret;
    let payload = token.expose().split('.').nth(1).unwrap();
    let payload = BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap();
    let claims: serde_json::Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!(claims["acrs"], serde_json::json!(["c1"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_waits_for_somebody_goes_on() {
    let world = World::new().await;
    let (entra, faults) = (world.emulator.entra(), world.emulator.faults());
    let mara = "mara@contoso.com";
    faults.update(|set| set.relay_token_seconds = Some(4));
    let mut asking = world.by_device(&[]);
    let code = asking.code().await;
    assert!(entra.approve_device(&code, mara));
    // ARM's token lives long; the cluster's wants more of her, each time anew, and is short.
    let code = asking.code().await;
    faults.update(|set| set.access_token_seconds = Some(5));
    assert!(entra.approve_device(&code, mara));
    let code = asking.code().await;

    let operation = "connectedClusters.listClusterUserCredential";
    let renewed = || world.emulator.arm().seen().operations[operation];
    let (before, began) = (renewed(), Instant::now());
    while renewed() < before + 2 {
        assert!(began.elapsed() < DEADLINE, "the relay's are not renewed");
        tokio::task::yield_now().await;
    }
    // Requests are told in time, not held until she has signed in; what they waited for goes on.
    let told = world.kubectl(&["get", "--raw", "/version"]).output();
    let told = timeout(DEADLINE, told).await.expect("an answer in time");
    let told = Ran::from(told.unwrap()).stderr;
    assert!(told.contains("asked to sign in"), "{told}");
    faults.update(|set| set.access_token_seconds = None);
    assert!(entra.approve_device(&code, mara));
    let version = Ran::of(&mut world.kubectl(&["get", "--raw", "/version"])).await;
    version.ok();
    asking.signal("TERM");
    asking.ended().await.ok();
}
