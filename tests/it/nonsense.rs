//! Values that make no sense, flag by flag: told as usage, before anything is sent.

use crate::harness::{Ran, World};

const DEMO: [&str; 4] = ["-n", "edge-demo", "-g", "demo"];
const ID: &str = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/demo/providers/Microsoft.Kubernetes/connectedClusters/";

impl World {
    /// Runs arcproxy and asserts that nothing was asked of Azure.
    async fn refused(&self, arguments: &[&str], words: &[&str]) -> Ran {
        let ran = self.run(arguments).await.failed(2, words);
        assert_eq!(self.emulator.seen().arm.requests, 0, "{arguments:?}");
        ran
    }

    /// The same for what clap tells, whose words are its own.
    async fn usage(&self, arguments: &[&str], words: &[&str]) {
        let ran = self.run(arguments).await;
        assert_eq!(ran.code, Some(2), "{arguments:?}: {}", ran.stderr);
        for word in words.iter().chain(&["error: ", "--help"]) {
            assert!(ran.stderr.contains(word), "{word}: {}", ran.stderr);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_cannot_be_ones() {
    let world = World::new().await;
    for name in ["a/b", "", "a?b", ".."] {
        let words = ["--name: ", "cannot be the name of one"];
        world.refused(&["-n", name, "-g", "demo"], &words).await;
        let words = ["--resource-group: ", "cannot be the name of one"];
        world.refused(&["-n", "a", "-g", name], &words).await;
    }
    let cloud = [&DEMO[..], &["--cloud", ""]].concat();
    let words = ["--cloud: \"\" is neither the name of a cloud"];
    world.refused(&cloud, &words).await;
    let words = ["the resource group is not named", "--resource-group"];
    world.refused(&["-n", "edge-demo"], &words).await;
    let words = ["the cluster is not named", "--name"];
    world.refused(&["-g", "demo"], &words).await;
    for ids in ["", "/subscriptions/a", "/a/b/c/d/e/f/g/h"] {
        world.refused(&["--ids", ids], &["--ids: "]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_context_that_cannot_be_one() {
    let world = World::new().await;
    let empty = [&DEMO[..], &["--kube-context", ""]].concat();
    world.refused(&empty, &["--kube-context is empty"]).await;
    let (one, two) = (format!("{ID}one"), format!("{ID}two"));
    let several = ["--ids", &one, "--ids", &two, "--kube-context", "x"];
    let words = [
        "--kube-context names one context",
        "leave --kube-context out",
    ];
    world.refused(&several, &words).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_cannot_be_ones() {
    let world = World::new().await;
    for (token, why) in [
        ("", "is empty"),
        ("a b", "has white space in it"),
        ("a\u{7f}b", "has bytes in it that no token has"),
    ] {
        let words = [
            "the service-account token from --token",
            why,
            "create token",
        ];
        world
            .refused(&[&DEMO[..], &["--token", token]].concat(), &words)
            .await;
    }
    let empty = world.path("empty");
    std::fs::write(&empty, "\n").unwrap();
    let empty = empty.to_str().unwrap();
    world
        .refused(
            &[&DEMO[..], &["--token-file", empty]].concat(),
            &[empty, "is empty"],
        )
        .await;
    let folder = world.home().to_str().unwrap();
    world
        .refused(
            &[&DEMO[..], &["--token-file", folder]].concat(),
            &["cannot read the token file", folder],
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn authorities_that_cannot_be_ones() {
    let world = World::new().await;
    let file = world.path("ca.pem");
    let name = file.to_str().unwrap();
    for (text, why) in [
        ("", "there is no certificate in it"),
        ("no PEM\n", "there is no certificate in it"),
        (
            "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
            name,
        ),
    ] {
        std::fs::write(&file, text).unwrap();
        world
            .refused(
                &[&DEMO[..], &["--ca-file", name]].concat(),
                &[&format!("CA bundle {name}"), why, "PEM"],
            )
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_and_forms_that_are_none() {
    let world = World::new().await;
    for port in ["-1", "65536", "http", ""] {
        let port = format!("--port={port}");
        world
            .usage(&[&DEMO[..], &[&port]].concat(), &["--port"])
            .await;
    }
    for form in ["--log-format=yaml", "--output=yaml", "-o="] {
        let words = ["possible values: text, json"];
        world.usage(&[&DEMO[..], &[form]].concat(), &words).await;
    }
    for flag in ["--debug=yes", "--quiet=1", "--verbose=3"] {
        world
            .usage(&[&DEMO[..], &[flag]].concat(), &["unexpected value"])
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_that_exclude_each_other() {
    let world = World::new().await;
    for (arguments, flag) in [
        (&["--ids", "x", "-n", "y"][..], "--ids"),
        (&["--ids", "x", "-g", "y"], "--ids"),
        (
            &["-n", "a", "-g", "b", "--token", "x", "--token-file", "y"],
            "--token",
        ),
    ] {
        let words = [flag, "cannot be used together with"];
        world.usage(arguments, &words).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_that_make_no_sense_are_told_like_flags() {
    let world = World::new().await;
    for (variable, value, word) in [
        ("ARCPROXY_PORT", "http", "--port"),
        ("ARCPROXY_VERBOSE", "loud", "--verbose"),
        ("ARCPROXY_LOG_FORMAT", "yaml", "--log-format"),
        ("ARCPROXY_OUTPUT", "yaml", "--output"),
    ] {
        let mut command = world.arcproxy(&DEMO);
        let ran = Ran::of(command.env(variable, value)).await;
        assert_eq!(ran.code, Some(2), "{variable}: {}", ran.stderr);
        assert!(ran.stderr.contains(word), "{variable}: {}", ran.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_filter_that_is_none() {
    let world = World::new().await;
    for filter in ["arcproxy=loud", "a=b=c", "[{"] {
        let mut command = world.arcproxy(&[&DEMO[..], &["-o", "json"]].concat());
        let ran = Ran::of(command.env("ARCPROXY_LOG", filter)).await.failed(
            2,
            &[
                &format!("ARCPROXY_LOG={filter} is no log filter"),
                "ARCPROXY_LOG=arcproxy=debug,rustls=info",
            ],
        );
        let event: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(event["code"], "usage");
    }
}
