//! Where the cluster, the subscription, the token and the log's form come from.

use std::process::Stdio;

use serde_json::Value;
use tokio::io::AsyncWriteExt as _;

use crate::harness::{Ran, World};

const WHOAMI: [&str; 8] = [
    "-n",
    "edge-demo",
    "-g",
    "demo",
    "--",
    "kubectl",
    "auth",
    "whoami",
];
const ACCOUNT: &str = "system:serviceaccount:demo:";

#[tokio::test(flavor = "multi_thread")]
async fn a_token_comes_from_a_file_or_stdin_or_the_environment() {
    let world = World::new().await;
    let token = world.service_account_token();
    let file = world.path("token");
    std::fs::write(&file, format!("{token}\n")).unwrap();
    let from_file = world
        .run(&[&["--token-file", file.to_str().unwrap()], &WHOAMI[..]].concat())
        .await
        .ok();
    assert!(from_file.contains(ACCOUNT), "{from_file}");

    let mut child = world
        .arcproxy(&[&["--token-file", "-"], &WHOAMI[..]].concat())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(token.as_bytes())
        .await
        .unwrap();
    let from_stdin = Ran::from(child.wait_with_output().await.unwrap()).ok();
    assert!(from_stdin.contains(ACCOUNT), "{from_stdin}");

    let mut command = world.arcproxy(&WHOAMI);
    let from_environment = Ran::of(command.env("ARCPROXY_TOKEN", &token)).await.ok();
    assert!(from_environment.contains(ACCOUNT), "{from_environment}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_wins_over_the_environment() {
    let world = World::new().await;
    let id = world.emulator.cluster_id("edge-demo").unwrap().to_owned();
    let mut command = world.arcproxy(&[
        "--ids",
        &id,
        "--token",
        &world.service_account_token(),
        "--",
    ]);
    command
        .args(["kubectl", "auth", "whoami"])
        .env("ARCPROXY_NAME", "edge-none")
        .env("ARCPROXY_RESOURCE_GROUP", "none")
        .env("ARCPROXY_FILE", "/nonexistent/config")
        .env("ARCPROXY_TOKEN_FILE", "/nonexistent/token");
    let identity = Ran::of(&mut command).await.ok();
    assert!(identity.contains(ACCOUNT), "{identity}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_comes_by_name_or_from_azs_profile() {
    let world = World::new().await;
    let run = ["-n", "edge-demo", "-g", "demo"];
    let name = world.emulator.arm().subscriptions()[0].name;
    world
        .run(
            &[
                &run[..],
                &["--subscription", &name.to_uppercase(), "--", "true"],
            ]
            .concat(),
        )
        .await
        .ok();

    let profile = format!(
        "\u{feff}{{\"subscriptions\": [{{\"id\": \"{}\", \"name\": \"Mine\", \"isDefault\": true}}]}}",
        world.emulator.subscription()
    );
    std::fs::create_dir(world.path("az")).unwrap();
    std::fs::write(world.path("az/azureProfile.json"), profile).unwrap();
    for more in [&[][..], &["--subscription", "mine"]] {
        let mut command = world.arcproxy(&[&run[..], more, &["--", "true"]].concat());
        command
            .env_remove("AZURE_SUBSCRIPTION_ID")
            .env("AZURE_CONFIG_DIR", world.path("az"));
        Ran::of(&mut command).await.ok();
    }
    let mut nothing = world.arcproxy(&run);
    let ran = Ran::of(nothing.env_remove("AZURE_SUBSCRIPTION_ID")).await;
    ran.failed(2, &["no subscription is given", "az account set"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_json_when_asked_and_quiet_says_nothing() {
    let world = World::new().await;
    let run = ["-n", "edge-demo", "-g", "demo", "-q"];
    let ran = world
        .run(&[&run[..], &["--debug", "--log-format", "json", "--", "true"]].concat())
        .await;
    assert!(ran.stderr.lines().count() > 2, "{}", ran.stderr);
    for line in ran.stderr.lines() {
        let entry: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        assert!(
            entry["level"].is_string() && entry["fields"].is_object(),
            "{line}"
        );
    }
    let ran = world.run(&[&run[..], &["--", "true"]].concat()).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
}
