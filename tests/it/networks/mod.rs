//! Networks that do not let everything through: web proxies that allow, refuse, ask for
//! credentials, cut, and open TLS.

mod codes;
mod interceptor;
mod squid;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Instant;

use arc_emulator::emulator::Emulator;
use arc_emulator::faults::FaultSet;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::time::timeout;

use self::interceptor::Interceptor;
pub(crate) use self::squid::{ARM, LOGIN, RELAY};
use self::squid::{Rules, Squid};
use crate::harness::{DEADLINE, Proxy, Ran, World};

const DEMO: [&str; 4] = ["-n", "edge-demo", "-g", "demo"];
const TRUE: [&str; 6] = ["-n", "edge-demo", "-g", "demo", "--", "true"];
/// Nothing listens there.
const NOBODY: &str = "http://127.0.0.1:1";

impl World {
    /// A cloud file whose names nothing but a proxy resolves.
    pub(crate) fn lab(&self) -> PathBuf {
        let port = |url: &str| url.rsplit(':').next().unwrap().to_owned();
        let (entra, arm) = (
            port(self.emulator.entra().url()),
            port(self.emulator.arm().url()),
        );
        self.cloud_with(|cloud| {
            let relay = port(cloud["relaySuffix"].as_str().unwrap());
            cloud["authority"] = format!("https://{LOGIN}:{entra}").into();
            cloud["resourceManager"] = format!("https://{ARM}:{arm}").into();
            cloud["relaySuffix"] = format!("relay.lab.test:{relay}").into();
        })
    }

    /// arcproxy in the lab, with these variables too.
    fn in_lab(&self, variables: &[(&str, &str)], arguments: &[&str]) -> Command {
        let mut command = self.arcproxy(arguments);
        command
            .env("ARCPROXY_CLOUD", self.lab())
            .envs(variables.iter().copied());
        command
    }
}

/// Waits until `is_so`.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !is_so().await {
        assert!(started.elapsed() < DEADLINE, "{what} did not come about");
        tokio::task::yield_now().await;
    }
}

fn code(ran: &Ran) -> String {
    let line = ran.stdout.lines().find(|line| line.contains("\"error\""));
    let event: serde_json::Value = serde_json::from_str(line.unwrap()).unwrap();
    event["code"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_connection_goes_through_the_proxy_which_resolves_the_names() {
    let world = World::new().await;
    let squid = Squid::start(Rules::default()).await;
    let ran = Ran::of(&mut world.in_lab(&[], &TRUE)).await;
    ran.failed(3, &[&format!("cannot resolve {LOGIN}")]);

    let url = squid.url("");
    let proxy = Proxy::start(world.in_lab(&[("HTTPS_PROXY", &url)], &DEMO)).await;
    let exec = ["exec", "-n", "demo", "shell", "--", "echo", "hello"];
    for arguments in [&["get", "pods", "-A"][..], &exec] {
        Ran::of(&mut world.kubectl(arguments)).await.ok();
    }
    proxy.signal("TERM");
    assert_eq!(proxy.ended().await.0, Some(0));

    let asked = || {
        let log = squid.log().into_iter();
        log.map(|(status, target)| {
            assert_eq!(status, "TCP_TUNNEL/200", "{target}");
            target.split_once(':').unwrap().0.to_owned()
        })
        .collect::<BTreeSet<_>>()
    };
    let all = BTreeSet::from([LOGIN, ARM, RELAY].map(str::to_owned));
    until("the proxy's log", async || asked() == all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_is_named_by_flag_or_variable() {
    let world = World::new().await;
    let squid = Squid::start(Rules::default()).await;
    let url = squid.url("");
    for name in [
        "ARCPROXY_PROXY",
        "https_proxy",
        "HTTPS_PROXY",
        "all_proxy",
        "ALL_PROXY",
        "http_proxy",
        "HTTP_PROXY",
    ] {
        let ran = Ran::of(&mut world.in_lab(&[(name, &url)], &TRUE)).await;
        assert_eq!(ran.code, Some(0), "{name}: {}", ran.stderr);
    }
    let flag = [&["--proxy", &url][..], &TRUE].concat();
    let ran = Ran::of(&mut world.in_lab(&[("https_proxy", NOBODY)], &flag)).await;
    ran.ok();
    let both = [("https_proxy", url.as_str()), ("HTTPS_PROXY", NOBODY)];
    Ran::of(&mut world.in_lab(&both, &TRUE)).await.ok();

    // Named in NO_PROXY, the relay is looked for without.
    let without = [
        ("HTTPS_PROXY", url.as_str()),
        ("NO_PROXY", "relay.lab.test"),
    ];
    let ran = Ran::of(&mut world.in_lab(&without, &TRUE)).await;
    ran.failed(5, &[&format!("cannot resolve {RELAY}")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn loopback_needs_no_proxy() {
    let world = World::new().await;
    let pods = ["kubectl", "get", "pods", "-n", "demo", "-o", "name"];
    let mut command = world.arcproxy(&[&TRUE[..5], &pods].concat());
    let ran = Ran::of(
        command
            .env("HTTPS_PROXY", NOBODY)
            .env("HTTP_PROXY", NOBODY)
            .env("https_proxy", NOBODY)
            .env("ALL_PROXY", NOBODY),
    )
    .await;
    let pods = ran.ok();
    assert!(pods.contains("pod/shell"), "{pods}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_refuses_is_told_with_what_it_refuses() {
    let world = World::new().await;
    for (host, what) in [
        (LOGIN, "to sign in"),
        (ARM, "cannot reach Azure Resource Manager"),
        (RELAY, "cannot reach the relay"),
    ] {
        let squid = Squid::start(Rules::default().deny(host)).await;
        let url = squid.url("");
        let mut command = world.in_lab(
            &[("https_proxy", &url)],
            &[&DEMO[..], &["-o", "json"]].concat(),
        );
        let ran = Ran::of(&mut command).await;
        let ran = ran.failed(
            5,
            &[
                what,
                &format!("web proxy {url} (from https_proxy) refused a connection to {host}:"),
                ": 403 Forbidden (ERR_ACCESS_DENIED",
                "ask those who run the proxy to allow this host",
            ],
        );
        assert_eq!(code(&ran), "web-proxy-refused");
        assert!(!ran.stderr.contains("trying again"), "{}", ran.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_asks_gets_its_credentials_and_shows_them_to_nobody() {
    let world = World::new().await;
    let squid = Squid::start(Rules::default().credentials("ana p@ss/word")).await;
    let json = [&DEMO[..], &["-o", "json"]].concat();
    for (credentials, words) in [
        (
            "",
            ["asks for credentials", "http://USER:PASSWORD@HOST:PORT"],
        ),
        ("ana:guess@", ["does not take the credentials", "%40 for @"]),
    ] {
        let url = squid.url(credentials);
        let mut command = world.in_lab(&[("HTTPS_PROXY", &url)], &json);
        let ran = Ran::of(&mut command).await.failed(5, &words);
        assert_eq!(code(&ran), "web-proxy-credentials");
        assert!(!ran.stderr.contains("guess"), "{}", ran.stderr);
    }
    let url = squid.url("ana:p%40ss%2Fword@");
    let exec = [
        "kubectl", "exec", "-n", "demo", "shell", "--", "echo", "hello",
    ];
    let arguments = [&["--debug"][..], &TRUE[..5], &exec].concat();
    let ran = Ran::of(&mut world.in_lab(&[("HTTPS_PROXY", &url)], &arguments)).await;
    assert!(ran.stderr.contains("through a web proxy"), "{}", ran.stderr);
    // As it is, as it is written, and as it is sent.
    for secret in [
        "p@ss/word",
        "p%40ss%2Fword",
        "cEBzcy93b3Jk",
        "YW5hOnBAc3Mvd29yZA",
    ] {
        assert!(!ran.stderr.contains(secret), "{}", ran.stderr);
    }
    assert_eq!(ran.ok(), "hello\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_cannot_connect_or_be_reached_is_told() {
    let world = World::new().await;
    let squid = Squid::start(Rules::default()).await;
    let json = [&DEMO[..], &["-o", "json"]].concat();
    let url = squid.url("");
    let mut command = world.in_lab(&[("HTTPS_PROXY", &url)], &json);
    let cloud = world.cloud_with(|cloud| cloud["authority"] = format!("https://{LOGIN}:1").into());
    let ran = Ran::of(command.env("ARCPROXY_CLOUD", cloud)).await;
    let ran = ran.failed(
        5,
        &[
            &format!("refused a connection to {LOGIN}:1: 503 Service Unavailable"),
            "(tried 5 times in ",
            "cannot open it",
        ],
    );
    assert_eq!(code(&ran), "web-proxy-refused");

    let ran = Ran::of(&mut world.in_lab(&[("HTTPS_PROXY", NOBODY)], &json)).await;
    let ran = ran.failed(
        5,
        &[
            &format!("web proxy {NOBODY} (from HTTPS_PROXY) is out of reach"),
            "cannot connect to 127.0.0.1:1",
            "check the proxy's address",
        ],
    );
    assert_eq!(code(&ran), "web-proxy-unreachable");

    let gone = "http://proxy.invalid:3128";
    let ran = Ran::of(&mut world.in_lab(&[("HTTPS_PROXY", gone)], &json)).await;
    let ran = ran.failed(5, &["cannot resolve proxy.invalid", "DNS"]);
    assert_eq!(code(&ran), "web-proxy-unreachable");

    // TLS with what speaks none.
    let tls = squid.url("").replace("http://", "https://");
    let ran = Ran::of(&mut world.in_lab(&[("HTTPS_PROXY", &tls)], &json)).await;
    let ran = ran.failed(
        5,
        &["is out of reach: cannot establish TLS with localhost:"],
    );
    assert_eq!(code(&ran), "web-proxy-unreachable");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_proxy_is_told_without_its_password() {
    let world = World::new().await;
    for (value, word) in [
        ("socks5://ana:hunter2@proxy:1080", "SOCKS"),
        ("http://ana:hunter2/@proxy:1080", "%2F for /"),
        ("http://", "no address"),
    ] {
        for name in ["HTTPS_PROXY", "ARCPROXY_PROXY"] {
            let ran = Ran::of(world.arcproxy(&TRUE).env(name, value)).await;
            let told = if name == "HTTPS_PROXY" {
                name
            } else {
                "--proxy"
            };
            let ran = ran.failed(2, &[&format!("error: {told}: "), word]);
            assert!(!ran.stderr.contains("hunter2"), "{}", ran.stderr);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_with_the_proxy_itself_is_verified() {
    let world = World::new().await;
    let (certificate, key) = (world.path("proxy.pem"), world.path("proxy.key"));
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(&certificate, pair.cert.pem()).unwrap();
    std::fs::write(&key, pair.signing_key.serialize_pem()).unwrap();
    let squid = Squid::start(Rules::default().tls(&certificate, &key)).await;
    let url = squid.url("");
    let variables = [("HTTPS_PROXY", url.as_str())];
    let ran = Ran::of(&mut world.in_lab(&variables, &TRUE)).await;
    ran.failed(
        5,
        &[
            "is out of reach: cannot establish TLS with localhost:",
            "issued by \"CN=rcgen self signed cert\", which is not trusted",
            "--ca-file",
        ],
    );
    let ca = ["--ca-file", certificate.to_str().unwrap()];
    let exec = [
        "kubectl", "exec", "-n", "demo", "shell", "--", "echo", "hello",
    ];
    let arguments = [&ca[..], &TRUE[..5], &exec].concat();
    let ran = Ran::of(&mut world.in_lab(&variables, &arguments)).await;
    assert_eq!(ran.ok(), "hello\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_cuts_is_survived() {
    let world = World::new().await;
    let mut squid = Squid::start(Rules::default()).await;
    let url = squid.url("");
    let mut proxy = Proxy::start(world.in_lab(&[("HTTPS_PROXY", &url)], &DEMO)).await;
    let mut exec = world
        .kubectl(&["exec", "-i", "-n", "demo", "shell", "--", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut watch = world
        .kubectl(&["get", "pods", "-n", "demo", "-o", "name", "--watch"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut input, mut output) = (exec.stdin.take().unwrap(), exec.stdout.take().unwrap());
    input.write_all(b"through").await.unwrap();
    let mut echo = [0; 7];
    output.read_exact(&mut echo).await.unwrap();
    assert_eq!(&echo, b"through");
    watch.stdout.as_mut().unwrap().read_u8().await.unwrap();

    squid.kill().await;
    let ended = timeout(DEADLINE, exec.wait()).await.expect("it ends");
    assert_ne!(ended.unwrap().code(), Some(0));
    timeout(DEADLINE, watch.wait())
        .await
        .expect("it ends")
        .unwrap();
    let ran = Ran::of(&mut world.kubectl(&["get", "pods", "-n", "demo"])).await;
    assert_eq!(ran.code, Some(1));
    let told = format!("web proxy {url} (from HTTPS_PROXY) is out of reach");
    assert!(ran.stderr.contains(&told), "{}", ran.stderr);

    squid.restart(Rules::default()).await;
    let exec = ["exec", "-n", "demo", "shell", "--", "echo", "hello"];
    let ran = Ran::of(&mut world.kubectl(&exec)).await;
    assert_eq!(ran.ok(), "hello\n");
    proxy.signal("TERM");
    while proxy.line().await.is_some() {}
    assert_eq!(proxy.ended().await.0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_not_asked_for_again_and_again() {
    let world = World::new().await;
    let mut squid = Squid::start(Rules::default()).await;
    let url = squid.url("");
    let _proxy = Proxy::start(world.in_lab(&[("HTTPS_PROXY", &url)], &DEMO)).await;
    squid.kill().await;
    squid.restart(Rules::default().deny(RELAY)).await;
    let ran = Ran::of(&mut world.kubectl(&["get", "--raw", "/version"])).await;
    assert_eq!(ran.code, Some(1));
    let told = format!("refused a connection to {RELAY}:");
    assert!(ran.stderr.contains(&told), "{}", ran.stderr);
    let log = squid.log().into_iter();
    let denied = log.filter(|(status, _)| status.starts_with("TCP_DENIED"));
    // For what is asked, and for the tunnel that waits for an upgrade.
    assert!(denied.count() <= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_opens_tls_is_named_and_can_be_trusted() {
    let world = World::new().await;
    let interceptor = Interceptor::start(world.emulator.ca_pem()).await;
    let ca = world.path("contoso.pem");
    std::fs::write(&ca, interceptor.pem()).unwrap();
    let lab = world.lab();
    // Only the interceptor's authority could verify.
    let mut cloud: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&lab).unwrap()).unwrap();
    cloud.as_object_mut().unwrap().remove("caFile").unwrap();
    std::fs::write(&lab, cloud.to_string()).unwrap();
    let through = |arguments: &[&str]| {
        let mut command = world.arcproxy(arguments);
        command
            .env("ARCPROXY_CLOUD", &lab)
            .env("HTTPS_PROXY", &interceptor.url);
        command
    };
    let ran = Ran::of(&mut through(&TRUE)).await;
    ran.failed(
        3,
        &[
            &format!("cannot establish TLS with {LOGIN}:"),
            &format!("through web proxy {} (from HTTPS_PROXY)", interceptor.url),
            &format!(
                "issued by \"CN={}\", which is not trusted",
                interceptor::NAME
            ),
            "--ca-file",
        ],
    );
    assert!(interceptor.opened().is_empty());

    let exec = [
        "kubectl", "exec", "-n", "demo", "shell", "--", "echo", "hello",
    ];
    let flag = ["--ca-file", ca.to_str().unwrap()];
    let ran = Ran::of(&mut through(&[&flag[..], &TRUE[..5], &exec].concat())).await;
    assert_eq!(ran.ok(), "hello\n");
    let all = BTreeSet::from([LOGIN, ARM, RELAY].map(str::to_owned));
    assert_eq!(interceptor.opened(), all);

    let folder = world.path("certs");
    std::fs::create_dir(&folder).unwrap();
    std::fs::copy(&ca, folder.join("0123abcd.0")).unwrap();
    for (variable, value) in [("SSL_CERT_FILE", &ca), ("SSL_CERT_DIR", &folder)] {
        let ran = Ran::of(through(&TRUE).env(variable, value)).await;
        assert_eq!(ran.code, Some(0), "{variable}: {}", ran.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_a_little_wrong_is_made_up_for_in_silence() {
    for offset in [-200, 200] {
        let faults = FaultSet {
            clock_offset_seconds: offset,
            ..FaultSet::default()
        };
        let world = World::with(Emulator::builder().faults(faults)).await;
        let ran = world.run(&TRUE).await;
        assert!(!ran.stderr.contains("clock"), "{}", ran.stderr);
        ran.ok();
    }
}
