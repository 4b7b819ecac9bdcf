//! A service principal with a certificate.

use arc_emulator::emulator::Emulator;
use arc_emulator::faults::FaultSet;

use super::{DEMO, Variables, ended, short_lived, variables};
use crate::harness::{Proxy, Ran, World};

const PATH: &str = "AZURE_CLIENT_CERTIFICATE_PATH";
const PASSWORD: &str = "AZURE_CLIENT_CERTIFICATE_PASSWORD";
const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/certificates");

fn fixture(name: &str) -> Variables {
    variables([(PATH, &format!("{FIXTURES}/{name}")), (PASSWORD, "secret")])
}

/// Lets the demo app sign in with the fixtures' certificate.
fn register(world: &World) {
    let certificate = std::fs::read_to_string(format!("{FIXTURES}/app.crt")).unwrap();
    let client_id = world.emulator.client_id();
    let entra = world.emulator.entra();
    assert!(
        entra
            .register_certificate(&client_id, &certificate)
            .unwrap()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pem_file_signs_in() {
    let world = World::new().await;
    let file = world.emulator.client_certificate().await.unwrap();
    let variables = variables([(PATH, file.to_str().unwrap())]);
    let who = "(certificate)";
    world
        .reaches_the_cluster(&variables, "service-principal", who)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pkcs12_file_signs_in_and_may_send_its_chain() {
    let world = World::new().await;
    register(&world);
    let mut variables = fixture("modern.p12");
    let chain = "AZURE_CLIENT_SEND_CERTIFICATE_CHAIN".to_owned();
    variables.push((chain, "true".to_owned()));
    let who = "(certificate)";
    world
        .reaches_the_cluster(&variables, "service-principal", who)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_goes_before_a_certificate() {
    let world = World::new().await;
    let mut command = world.arcproxy(&[&DEMO[..], &["--", "true"]].concat());
    let ran = Ran::of(command.env(PATH, "/nowhere")).await;
    assert!(!ran.stderr.contains("certificate"), "{}", ran.stderr);
    ran.ok();
}

/// The first assertion is out of its time; Entra's answer tells the time for the next.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_wrong_is_made_up_for() {
    for offset in [-7200, 7200] {
        let faults = FaultSet {
            clock_offset_seconds: offset,
            ..FaultSet::default()
        };
        let world = World::with(Emulator::builder().faults(faults)).await;
        register(&world);
        let arguments = [&DEMO[..], &["--", "kubectl", "get", "--raw", "/version"]].concat();
        let mut command = world.signing_in(&fixture("legacy.p12"), &arguments);
        Ran::of(&mut command).await.ok();
        let refusals = world.emulator.entra().seen().refusals;
        assert!(refusals.contains_key(&700_024), "{refusals:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_is_read_for_each_assertion() {
    let world = short_lived().await;
    register(&world);
    let file = world.path("app.pem");
    let copy = |name: &str| std::fs::copy(format!("{FIXTURES}/{name}"), &file).unwrap();
    copy("plain.pem");
    let variables = variables([(PATH, file.to_str().unwrap())]);
    let proxy = Proxy::start(world.signing_in(&variables, &DEMO)).await;
    // A new certificate that nobody told Entra of, and then the right one.
    copy("version1.pem");
    world
        .asks_until("a refused renewal", || world.refusals(700_027) >= 1)
        .await;
    copy("pkcs1.pem");
    let before = world.tokens_given();
    world
        .tries_until("two renewals", || world.tokens_given() >= before + 4)
        .await;
    let said = ended(proxy).await;
    assert!(said.contains("WARN"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_told() {
    let world = World::new().await;
    for (name, words) in [
        ("nowhere.pem", ["cannot read the certificate", PATH]),
        ("keyless.pem", ["there is no private key in it", PATH]),
        (
            "other.pem",
            ["no certificate in it belongs", "cat cert.pem"],
        ),
        ("ec.pem", ["its key is not an RSA key", "RSA certificates"]),
        ("encrypted-dek.pem", ["not supported", "openssl pkcs8"]),
        ("password", ["neither PEM nor PKCS#12", "a PKCS#12 file"]),
    ] {
        let words = [&words[..], &[name]].concat();
        world.is_refused(&fixture(name), &[], &words).await;
    }
    for (password, words) in [
        (None, ["it needs a password", "hint: set"]),
        (
            Some("wrong"),
            ["the password does not open it", "hint: check"],
        ),
    ] {
        let mut wrong = fixture("modern.p12");
        wrong.pop();
        wrong.extend(password.map(|password| (PASSWORD.to_owned(), password.to_owned())));
        let words = [&words[..], &[PASSWORD]].concat();
        world.is_refused(&wrong, &[], &words).await;
    }
    assert_eq!(world.emulator.entra().seen().token_requests, 0);
    // Entra does not know it.
    let words = ["AADSTS700027", "--append --cert @"];
    world.is_refused(&fixture("plain.pem"), &[], &words).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_without_a_client_id_is_no_reason_to_sign_in_otherwise() {
    let world = World::new().await;
    let mut command = world.signing_in(&fixture("plain.pem"), &DEMO);
    let ran = Ran::of(command.env_remove("AZURE_CLIENT_ID")).await;
    ran.failed(3, &[PATH, "AZURE_CLIENT_ID is not"]);
}
