//! Clouds from a file, and the authorities that they are trusted by.

use std::path::PathBuf;

use serde_json::Value;

use crate::harness::{Ran, World};

const RUN: [&str; 6] = ["-n", "edge-demo", "-g", "demo", "--", "true"];

impl World {
    /// The emulator's cloud file, changed, in a file of its own.
    pub(crate) fn cloud_with(&self, change: impl FnOnce(&mut Value)) -> PathBuf {
        let text = std::fs::read_to_string(self.emulator.cloud_file()).unwrap();
        let mut cloud = serde_json::from_str(&text).unwrap();
        change(&mut cloud);
        let file = self.path("cloud.json");
        std::fs::write(&file, cloud.to_string()).unwrap();
        file
    }

    /// The cloud file without its authority.
    fn untrusted_cloud(&self) -> PathBuf {
        self.cloud_with(|cloud| {
            cloud.as_object_mut().unwrap().remove("caFile").unwrap();
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_comes_from_the_flag_or_the_environment() {
    let world = World::new().await;
    let cloud = world.untrusted_cloud();
    let ca = world.emulator.ca_file();

    let mut nobody = world.arcproxy(&RUN);
    let ran = Ran::of(nobody.env("ARCPROXY_CLOUD", &cloud)).await;
    ran.failed(3, &["cannot establish TLS", "--ca-file"]);

    let flag = [
        "--ca-file",
        ca.to_str().unwrap(),
        "--cloud",
        cloud.to_str().unwrap(),
    ];
    let pods = ["kubectl", "get", "pods", "-n", "demo", "-o", "name"];
    let ran = world
        .run(&[&flag[..], &RUN[..5], &pods].concat())
        .await
        .ok();
    assert!(ran.contains("pod/shell"), "{ran}");

    // The certificate's name in a folder for OpenSSL is a hash with a number; any hash will do.
    let folder = world.path("certs");
    std::fs::create_dir(&folder).unwrap();
    std::fs::copy(ca, folder.join("0123abcd.0")).unwrap();
    for (variable, value) in [
        ("ARCPROXY_CA_FILE", ca),
        ("SSL_CERT_FILE", ca),
        ("SSL_CERT_DIR", &folder),
    ] {
        let mut command = world.arcproxy(&RUN);
        let ran = Ran::of(command.env("ARCPROXY_CLOUD", &cloud).env(variable, value)).await;
        assert_eq!(ran.code, Some(0), "{variable}: {}", ran.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn authorities_add_up() {
    let world = World::new().await;
    let other = world.path("other.pem");
    let pair = rcgen::generate_simple_self_signed(["other.example".to_owned()]).unwrap();
    std::fs::write(&other, pair.cert.pem()).unwrap();
    let flag = ["--ca-file", other.to_str().unwrap()];
    world.run(&[&flag[..], &RUN].concat()).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cloud_file_that_is_none_is_told_with_its_place() {
    let world = World::new().await;
    let file = world.path("broken.json");
    for (text, words) in [
        ("{", &["is not valid", "line 1"][..]),
        ("{}", &["missing field `name`"]),
        ("[]", &["is not valid"]),
        ("\u{0}", &["is not valid"]),
    ] {
        std::fs::write(&file, text).unwrap();
        let mut command = world.arcproxy(&RUN);
        let ran = Ran::of(command.env("ARCPROXY_CLOUD", &file)).await;
        let ran = ran.failed(2, words);
        assert!(ran.stderr.contains("broken.json"), "{}", ran.stderr);
        assert!(ran.stderr.contains("docs/clouds.md"), "{}", ran.stderr);
    }
    let folder = world.home().to_str().unwrap();
    let ran = world.run(&[&["--cloud", folder], &RUN[..]].concat()).await;
    ran.failed(2, &["cannot read cloud file", folder]);
    for (field, value) in [
        ("resourceManager", "http://arm.localhost"),
        ("authority", "no URL"),
        ("relaySuffix", "a/b"),
        ("relaySufix", "a.example"),
    ] {
        let file = world.cloud_with(|cloud| cloud[field] = value.into());
        let mut command = world.arcproxy(&RUN);
        let ran = Ran::of(command.env("ARCPROXY_CLOUD", &file)).await;
        ran.failed(2, &["is not valid", "cloud.json"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cloud_is_described_by_its_own_resource_manager() {
    let world = World::new().await;
    let arm = world.emulator.arm().url();
    let ca = world.emulator.ca_file();
    let run = |variables: &[(&str, &str)]| {
        let mut command = world.arcproxy(&[&RUN[..5], &["kubectl", "get", "pods", "-A"]].concat());
        command
            .env_remove("ARCPROXY_CLOUD")
            .env("ARCPROXY_CA_FILE", ca)
            .envs(variables.iter().copied());
        command
    };
    for variable in ["ARCPROXY_CLOUD", "AZURE_CLOUD"] {
        let ran = Ran::of(&mut run(&[(variable, arm)])).await.ok();
        assert!(ran.contains("shell"), "{ran}");
    }
    // The cloud that az works in, and where it is, as az has registered it.
    let az = world.path("az");
    std::fs::create_dir(&az).unwrap();
    std::fs::write(az.join("config"), "[cloud]\nname = lab\n").unwrap();
    let clouds = format!("[lab]\nendpoint_resource_manager = {arm}\n");
    std::fs::write(az.join("clouds.config"), clouds).unwrap();
    let az = [("AZURE_CONFIG_DIR", az.to_str().unwrap())];
    Ran::of(&mut run(&az)).await.ok();

    let nowhere = [("ARCPROXY_CLOUD", "https://arm.invalid")];
    let ran = Ran::of(&mut run(&nowhere)).await;
    ran.failed(4, &["cannot ask arm.invalid which cloud it is in"]);
    // Entra answers too, but is no Resource Manager.
    let entra = [("ARCPROXY_CLOUD", world.emulator.entra().url())];
    let ran = Ran::of(&mut run(&entra)).await;
    ran.failed(
        4,
        &["which cloud it is in", "it answered 404", "docs/clouds.md"],
    );
    let mut untrusted = run(&[("ARCPROXY_CLOUD", arm)]);
    let ran = Ran::of(untrusted.env_remove("ARCPROXY_CA_FILE")).await;
    ran.failed(4, &["cannot establish TLS", "--ca-file"]);
}
