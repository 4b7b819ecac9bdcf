//! The browser, played by a client that goes where it is sent.

use std::os::unix::fs::PermissionsExt as _;

use super::{ANA, Asking, TRUE, get, value, with_value};
use crate::harness::{Ran, World};

const BROWSER: [&str; 2] = ["--auth", "browser"];

impl World {
    fn by_browser(&self) -> Asking {
        Asking::start(self.by_person(&[BROWSER, TRUE].concat()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_works_once_somebody_has_signed_in() {
    let world = World::new().await;
    // A browser that hands the page's address on.
    let (pipe, browser) = (world.path("pipe"), world.path("browser"));
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, mode, 0).unwrap();
    let script = format!("#!/bin/sh\nprintf %s \"$1\" >{}\n", pipe.display());
    std::fs::write(&browser, script).unwrap();
    std::fs::set_permissions(&browser, std::fs::Permissions::from_mode(0o755)).unwrap();

    let pods = ["--", "kubectl", "get", "pods", "-n", "demo", "-o", "name"];
    let mut command = world.by_person(&[&BROWSER[..], &pods].concat());
    command.env("BROWSER", &browser);
    let running = tokio::spawn(async move { Ran::of(&mut command).await });
    let page = tokio::task::spawn_blocking(|| std::fs::read_to_string(pipe));
    let page = url::Url::parse(&page.await.unwrap().unwrap()).unwrap();
    assert_eq!(value(&page, "code_challenge_method").unwrap(), "S256");
    assert_eq!(value(&page, "prompt").unwrap(), "select_account");

    world.emulator.entra().seat(Some(ANA));
    let shown = world.visit(page.as_str()).await;
    assert_eq!(shown.status, 200);
    for words in [
        "You are signed in",
        "<b>ana@contoso.com</b>",
        "close this tab",
    ] {
        assert!(shown.body.contains(words), "{words}: {}", shown.body);
    }
    let ran = running.await.unwrap();
    let words = "✓ Signed in as ana@contoso.com (browser)";
    assert!(ran.stderr.contains(words), "{}", ran.stderr);
    assert!(ran.stderr.contains(page.as_str()), "it is printed too");
    assert!(ran.ok().contains("pod/shell"));
    let seen = world.emulator.entra().seen();
    assert_eq!(
        seen.authorize_requests, 1,
        "the cluster's token needs no other round"
    );
    assert_eq!(seen.grants["authorization_code"], 1);
    assert_eq!(seen.pop_tokens, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_to_another_sign_in_changes_nothing() {
    let world = World::new().await;
    let mut asking = world.by_browser();
    let page = asking.page().await.unwrap();
    world.emulator.entra().seat(Some(ANA));
    let back = world.sent_back(page.as_str()).await;
    let stray = get(with_value(&back, "state", "another").as_str()).await;
    assert_eq!(stray.status, 400);
    assert!(stray.body.contains("another sign-in"), "{}", stray.body);
    let icon = get(back.join("/favicon.ico").unwrap().as_str()).await;
    assert_eq!(icon.status, 404);
    assert_eq!(get(back.as_str()).await.status, 200);
    asking.ended().await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_token_for_another_sign_in_is_refused() {
    let world = World::new().await;
    let mut asking = world.by_browser();
    let page = asking.page().await.unwrap();
    world.emulator.entra().seat(Some(ANA));
    let other = with_value(&page, "nonce", "another");
    let shown = world.visit(other.as_str()).await;
    assert!(shown.body.contains("did not work"), "{}", shown.body);
    let ran = asking.ended().await;
    ran.failed(3, &["answered for another sign-in", "nonce"]);
    assert!(!world.sign_ins().exists(), "nothing of it is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_may_cancel() {
    let world = World::new().await;
    let mut asking = world.by_browser();
    let page = asking.page().await.unwrap();
    let declined = with_value(&page, "decline", "1");
    let shown = world.visit(declined.as_str()).await;
    assert!(shown.body.contains("did not work"), "{}", shown.body);
    assert!(shown.body.contains("AADSTS65004"), "{}", shown.body);
    let ran = asking.ended().await;
    ran.failed(3, &["cancelled in the browser", "AADSTS65004"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_blocked_has_not_cancelled() {
    let world = World::new().await;
    let mut asking = world.by_browser();
    let page = asking.page().await.unwrap();
    let mut back = url::Url::parse(&value(&page, "redirect_uri").unwrap()).unwrap();
    back.query_pairs_mut()
        .append_pair("error", "access_denied")
        .append_pair("error_description", "AADSTS53003: Access has been blocked.")
        .append_pair("state", &value(&page, "state").unwrap());
    let shown = get(back.as_str()).await;
    assert!(!shown.body.contains("cancelled"), "{}", shown.body);
    let ran = asking.ended().await;
    let ran = ran.failed(3, &["refused the sign-in", "AADSTS53003", "which policy"]);
    assert!(!ran.stderr.contains("cancelled"), "{}", ran.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_ends_the_waiting() {
    let world = World::new().await;
    let mut asking = world.by_browser();
    let page = asking.page().await.unwrap();
    asking.signal("INT");
    assert_eq!(asking.ended().await.code, Some(130));
    let redirect = value(&page, "redirect_uri").unwrap();
    let port = url::Url::parse(&redirect).unwrap().port().unwrap();
    let late = tokio::net::TcpStream::connect(("127.0.0.1", port)).await;
    assert!(late.is_err(), "nothing listens any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_may_be_of_another_client_and_tenant() {
    let world = World::new().await;
    let mut command = world.by_person(&[BROWSER, TRUE].concat());
    let client = "3f4439ff-e698-4d6d-84fe-09c9d574f06b";
    command
        .env("AZURE_CLIENT_ID", client)
        .env("AZURE_TENANT_ID", world.emulator.tenant());
    let (ran, pages) = world.seated(ANA, command).await;
    ran.ok();
    assert_eq!(value(&pages[0], "client_id").unwrap(), client);
    let path = format!("/{}/oauth2/v2.0/authorize", world.emulator.tenant());
    assert_eq!(pages[0].path(), path);
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_are_told_the_page_too() {
    let world = World::new().await;
    let mut command = world.by_person(&["--auth", "browser", "-o", "json", "--quiet"]);
    command.env("ARCPROXY_FILE", world.path("config"));
    let mut asking = Asking::start(command);
    let page = asking.page().await.expect("quiet or not");
    asking.signal("TERM");
    let ran = asking.ended().await;
    let event: serde_json::Value = serde_json::from_str(ran.stdout.trim()).unwrap();
    assert_eq!(event["event"], "sign-in-page");
    assert_eq!(event["url"], page.as_str());
}
