//! Which tenant is signed in to, and what Entra refuses to an application.

use arc_emulator::entra::DemoApp;

use crate::harness::{Ran, World};

const TRUE: [&str; 6] = ["-n", "edge-demo", "-g", "demo", "--", "true"];
const NOBODY: &str = "11111111-1111-4111-8111-111111111111";

#[tokio::test(flavor = "multi_thread")]
async fn the_tenant_is_the_subscriptions_where_none_is_given() {
    let world = World::new().await;
    let mut command = world.arcproxy(&TRUE);
    Ran::of(command.env_remove("AZURE_TENANT_ID")).await.ok();

    let words = ["AZURE_CLIENT_SECRET is set, but AZURE_TENANT_ID is not"];
    let mut unknown = world.arcproxy(&TRUE);
    unknown
        .env_remove("AZURE_TENANT_ID")
        .env("AZURE_SUBSCRIPTION_ID", NOBODY);
    Ran::of(&mut unknown).await.failed(3, &words);
    // A name has to be looked up, which needs a sign-in.
    let mut named = world.arcproxy(&TRUE);
    named
        .env_remove("AZURE_TENANT_ID")
        .env("AZURE_SUBSCRIPTION_ID", "Contoso Edge");
    Ran::of(&mut named).await.failed(3, &words);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_cannot_be_asked_for_is_told_as_that() {
    let world = World::new().await;
    world.emulator.faults().update(|set| {
        set.arm.status = Some(503);
        set.arm.retry_after_seconds = Some(3600);
    });
    let mut command = world.arcproxy(&TRUE);
    let ran = Ran::of(command.env_remove("AZURE_TENANT_ID")).await;
    let words = ["for the subscription's tenant", "503"];
    let ran = ran.failed(4, &words);
    assert!(!ran.stderr.contains("AZURE_TENANT_ID"), "{}", ran.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_is_given_is_not_asked_for() {
    let world = World::new().await;
    world.run(&TRUE).await.ok();
    let operations = world.emulator.arm().seen().operations;
    assert!(
        !operations.contains_key("subscriptions.get"),
        "{operations:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_entra_refuses_to_an_application_is_explained() {
    let world = World::new().await;
    let expired = world.emulator.entra().credentials(DemoApp::Expired);
    let nobody = NOBODY.to_owned();
    for (variables, words) in [
        (
            vec![("AZURE_CLIENT_SECRET", "wrong".to_owned())],
            [
                "AADSTS7000215",
                "is not the application's secret",
                "not its id",
            ],
        ),
        (
            vec![
                ("AZURE_CLIENT_ID", expired.client_id),
                ("AZURE_CLIENT_SECRET", expired.client_secret),
            ],
            ["AADSTS7000222", "has expired", "az ad app credential reset"],
        ),
        (
            vec![("AZURE_CLIENT_ID", nobody.clone())],
            [
                "AADSTS700016",
                "not known in this tenant",
                "check AZURE_CLIENT_ID",
            ],
        ),
        (
            vec![("AZURE_TENANT_ID", nobody)],
            ["AADSTS90002", "no such tenant", "check AZURE_TENANT_ID"],
        ),
    ] {
        let mut command = world.arcproxy(&TRUE);
        let ran = Ran::of(command.envs(variables)).await;
        ran.failed(3, &words);
    }
    let cloud = world.cloud_with(|cloud| cloud["serverAppId"] = NOBODY.into());
    let mut command = world.arcproxy(&TRUE);
    let ran = Ran::of(command.env("ARCPROXY_CLOUD", cloud)).await;
    ran.failed(
        3,
        &["AADSTS500011", "server application", "az ad sp create"],
    );
}
