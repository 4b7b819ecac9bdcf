//! A web proxy's failure is told as one, whatever it was that the connection was for.

use super::squid::{ARM, Rules, Squid};
use super::{NOBODY, TRUE, code};
use crate::harness::{Ran, World};

const JSON: [&str; 6] = ["-n", "edge-demo", "-g", "demo", "-o", "json"];

#[tokio::test(flavor = "multi_thread")]
async fn a_cloud_that_cannot_be_asked_about_itself() {
    let world = World::new().await;
    let squid = Squid::start(Rules::default().deny(ARM)).await;
    let arm = format!("https://{ARM}");
    for (url, told, why) in [
        (squid.url(""), "web-proxy-refused", "403 Forbidden"),
        (
            NOBODY.to_owned(),
            "web-proxy-unreachable",
            "is out of reach",
        ),
    ] {
        let mut command = world.arcproxy(&JSON);
        command
            .env("ARCPROXY_CLOUD", &arm)
            .env("ARCPROXY_CA_FILE", world.emulator.ca_file())
            .env("HTTPS_PROXY", &url);
        let ran = Ran::of(&mut command).await;
        let asked = format!("cannot ask {ARM} which cloud it is in");
        let ran = ran.failed(5, &[&asked, &format!("web proxy {url}"), why]);
        assert_eq!(code(&ran), told);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_token_that_cannot_be_fetched() {
    const TOKENS: &str = "tokens.lab.test";
    let world = World::new().await;
    let url = format!("https://{TOKENS}/token");
    let github = [
        ("ACTIONS_ID_TOKEN_REQUEST_URL", url.as_str()),
        ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "of the job's own"),
    ];
    let pipelines = [
        ("SYSTEM_OIDCREQUESTURI", url.as_str()),
        ("SYSTEM_ACCESSTOKEN", "of the job's own"),
        ("AZURESUBSCRIPTION_SERVICE_CONNECTION_ID", "connection"),
    ];
    for (auth, variables) in [("github", &github[..]), ("azure-pipelines", &pipelines)] {
        let run = [&["--auth", auth, "-o", "json"][..], &TRUE[..4]].concat();
        let mut command = world.in_lab(variables, &run);
        command
            .env_remove("AZURE_CLIENT_SECRET")
            .env("HTTPS_PROXY", NOBODY);
        let ran = Ran::of(&mut command).await;
        let asked = format!("cannot reach {TOKENS} for an identity token");
        let ran = ran.failed(5, &[&asked, &format!("web proxy {NOBODY}")]);
        assert_eq!(code(&ran), "web-proxy-unreachable", "{auth}");
    }
}
