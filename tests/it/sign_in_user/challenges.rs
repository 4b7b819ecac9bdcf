//! What Azure wants a sign-in to show beyond what it showed.

use super::{ANA, TRUE, value};
use crate::harness::{Ran, World};

const BROWSER: [&str; 4] = ["--auth", "browser", "--", "true"];

#[tokio::test(flavor = "multi_thread")]
async fn a_second_factor_is_shown_in_the_browser() {
    let world = World::new().await;
    let upn = "mara@contoso.com";
    let (ran, _) = world.seated(upn, world.by_person(&BROWSER)).await;
    ran.ok();
    // Now a refresh token is there, which is not enough.
    let (ran, pages) = world.seated(upn, world.by_person(&BROWSER)).await;
    ran.ok();
    assert_eq!(pages.len(), 1);
    let claims = value(&pages[0], "claims").expect("Entra's claims go with it");
    assert!(claims.contains("capolids"), "{claims}");
    assert_eq!(value(&pages[0], "login_hint").as_deref(), Some(upn));
    assert!(world.emulator.entra().seen().refusals[&50_076] >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn consent_is_asked_for_in_the_browser() {
    let world = World::new().await;
    let upn = "cora@contoso.com";
    for _ in 0..2 {
        let (ran, pages) = world.seated(upn, world.by_person(&BROWSER)).await;
        ran.ok();
        assert!(!pages.is_empty());
    }
    assert!(world.emulator.entra().seen().refusals[&65_001] >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_blocked_is_not_asked_again_and_again() {
    let world = World::new().await;
    let blake = world.by_person(&BROWSER);
    let (ran, pages) = world.seated("blake@contoso.com", blake).await;
    assert_eq!(pages.len(), 1);
    ran.failed(3, &["AADSTS53003", "conditional access"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_can_answer_the_second_factor_is_explained() {
    let world = World::new().await;
    let mara = world.by_person(&BROWSER);
    let (ran, _) = world.seated("mara@contoso.com", mara).await;
    ran.ok();
    let ran = Ran::of(&mut world.by_person(&TRUE)).await;
    ran.failed(3, &["AADSTS50076", "sign in on a terminal"]);
    assert!(world.sign_ins().exists(), "it is good for other things");
}

#[tokio::test(flavor = "multi_thread")]
async fn resource_managers_challenge_leads_to_the_browser() {
    let world = World::new().await;
    world.emulator.arm().require_context(Some("c1"));
    let (ran, pages) = world.seated(ANA, world.by_person(&BROWSER)).await;
    ran.ok();
    assert_eq!(
        pages.len(),
        2,
        "one to sign in, one to show more: {pages:?}"
    );
    let claims = value(&pages[1], "claims").expect("ARM's claims go with it");
    let expected = serde_json::json!({
        "access_token": { "acrs": { "essential": true, "value": "c1" } }
    });
    let claims: serde_json::Value = serde_json::from_str(&claims).unwrap();
    assert_eq!(claims, expected);
    assert_eq!(value(&pages[1], "login_hint").as_deref(), Some(ANA));

    // What was shown once is shown by the refresh token.
    let (ran, pages) = world.seated(ANA, world.by_person(&BROWSER)).await;
    ran.ok();
    assert!(pages.is_empty(), "{pages:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn resource_managers_challenge_leads_to_another_device() {
    let world = World::new().await;
    world.emulator.arm().require_context(Some("c1"));
    let device = ["--auth", "device-code", "--", "true"];
    let mut asking = super::Asking::start(world.by_person(&device));
    for _ in 0..2 {
        let code = asking.code().await;
        assert!(world.emulator.entra().approve_device(&code, ANA));
    }
    asking.ended().await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_is_told_that_it_cannot_show_more() {
    let world = World::new().await;
    world.emulator.arm().require_context(Some("c1"));
    let ran = world
        .run(&["-n", "edge-demo", "-g", "demo", "--", "true"])
        .await;
    ran.failed(3, &["asks for more", "service principal", "--auth browser"]);
}
