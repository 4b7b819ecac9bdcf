//! No secret is printed, whatever happens and however much is logged.
//!
//! The harness searches all that any arcproxy of any test prints; here are the sessions that print
//! the most.

use arc_emulator::emulator::Emulator;
use arc_emulator::faults::{FaultSet, ServiceFault};
use tokio::process::Command;

use crate::harness::{Proxy, Ran, World};

const DEMO: [&str; 4] = ["-n", "edge-demo", "-g", "demo"];

/// What gives a secret away wherever it stands: the last three are how the emulator's codes and
/// refresh tokens begin.
const MARKS: [&str; 7] = [
    "SharedAccessSignature",
    "client_secret=",
    "refresh_token=",
    "PRIVATE KEY",
    "1.AXcode",
    "1.AXrefresh",
    "AXdevice",
];
/// The variables that hold one.
const VARIABLES: [&str; 8] = [
    "AZURE_CLIENT_SECRET",
    "AZURE_CLIENT_CERTIFICATE_PASSWORD",
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
    "IDENTITY_HEADER",
    "SYSTEM_ACCESSTOKEN",
    "ARCPROXY_TOKEN",
    "ARC_EMULATOR_SA_TOKEN",
    "ARC_EMULATOR_CONTROL",
];
/// The variables that name a web proxy, with credentials or not.
const PROXIES: [&str; 6] = [
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "http_proxy",
    "HTTP_PROXY",
];
/// Shorter ones are words that may stand anywhere.
const SHORTEST: usize = 12;

/// The secrets of one arcproxy that are known ahead.
#[derive(Debug, Clone, Default)]
pub(crate) struct Secrets(Vec<String>);

impl Secrets {
    /// Those that `command` gives to arcproxy, if that is what it runs.
    pub(crate) fn of_arcproxy(command: &Command) -> Option<Self> {
        let command = command.as_std();
        let program = env!("CARGO_BIN_EXE_arcproxy");
        let arguments: Vec<_> = command
            .get_args()
            .map(|argument| argument.to_string_lossy().into_owned())
            .collect();
        if !arguments.iter().any(|argument| argument == program) {
            return None;
        }
        let tokens = arguments.windows(2).filter(|pair| pair[0] == "--token");
        let variables = command.get_envs().filter_map(|(name, value)| {
            let is_secret = VARIABLES.iter().any(|secret| name == *secret);
            let value = value.filter(|_| is_secret)?;
            Some(value.to_string_lossy().into_owned())
        });
        let flags = arguments.windows(2).filter(|pair| pair[0] == "--proxy");
        let proxies = command
            .get_envs()
            .filter(|(name, _)| PROXIES.iter().any(|proxy| name == proxy))
            .filter_map(|(_, value)| Some(value?.to_string_lossy().into_owned()))
            .chain(flags.map(|pair| pair[1].clone()))
            .filter_map(|url| password(&url));
        let all = tokens
            .map(|pair| pair[1].clone())
            .chain(variables)
            .chain(proxies);
        Some(Self(
            all.filter(|secret| secret.len() >= SHORTEST).collect(),
        ))
    }

    fn and(mut self, secret: &str) -> Self {
        self.0.push(secret.to_owned());
        self
    }

    /// Asserts that none of them, and nothing that looks like one, is in `texts`.
    #[track_caller]
    pub(crate) fn assert_absent(&self, texts: &[&str]) {
        for text in texts {
            for line in text.lines() {
                let known = self.0.iter().any(|secret| line.contains(secret));
                let marked = MARKS.iter().any(|mark| line.contains(mark));
                assert!(
                    !known && !marked && !holds_jwt(line),
                    "a secret was printed: {line}"
                );
            }
        }
    }
}

/// The password in `url`, as it is written there.
fn password(url: &str) -> Option<String> {
    let (credentials, _) = url.split_once("://")?.1.rsplit_once('@')?;
    Some(credentials.split_once(':')?.1.to_owned())
}

/// Whether `text` holds a signed token: a JSON object in base64, long, and a dot.
fn holds_jwt(text: &str) -> bool {
    text.match_indices("eyJ").any(|(at, _)| {
        let rest = &text[at..];
        let is_other = |c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-';
        let end = rest.find(is_other).unwrap_or(rest.len());
        end > 20 && rest[end..].starts_with('.')
    })
}

/// The token for the local listener.
fn local_token(kubeconfig: &str) -> &str {
    let (_, rest) = kubeconfig.split_once("token: ").expect("a token");
    let token = rest.lines().next().expect("a line").trim();
    token.trim_matches('"')
}

#[test]
fn what_gives_a_secret_away_is_found() {
    let found = |text: &str| {
        let secrets = Secrets::default().and("hunter2-hunter2");
        std::panic::catch_unwind(|| secrets.assert_absent(&[text])).is_err()
    };
    for text in [
        "a hunter2-hunter2 b",
        "fine\ntoken=eyJhbGciOiJSUzI1NiIsInR5cCI6.eyJ",
        "Bearer eyJhbGciOiJSUzI1NiIsIn_R-5cCI6.x.y",
        "SharedAccessSignature sr=x",
        "-----BEGIN PRIVATE KEY-----",
        "grant_type=x&client_secret=y",
        "kept 1.AXrefresh0a",
        "http://localhost:1/?code=1.AXcode0a",
        "device_code AXdevice0a",
    ] {
        assert!(found(text), "{text}");
    }
    for text in ["eyJ.", "eyJhbGciOiJSUzI1NiIsInR5cCI6 and no dot", "hunter2"] {
        assert!(!found(text), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_harness_knows_what_it_gives_to_arcproxy() {
    let world = World::new().await;
    let proxy = "http://ana:proxy-hunter2@proxy.example";
    let mut command = world.arcproxy(&["--token", "hunter2-hunter2", "--proxy", proxy]);
    command.env("ALL_PROXY", proxy.replace("hunter2", "hunter3"));
    let secrets = Secrets::of_arcproxy(&command).expect("arcproxy");
    for secret in [
        "hunter2-hunter2",
        "proxy-hunter2",
        "proxy-hunter3",
        &world.emulator.client_secret(),
    ] {
        assert!(secrets.0.iter().any(|known| known == secret), "{secret}");
    }
    assert!(secrets.0.iter().any(|known| holds_jwt(known)));
    assert!(Secrets::of_arcproxy(&world.kubectl(&["version"])).is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_logs_everything_prints_none() {
    let faults = FaultSet {
        // Renewed while the session lasts.
        relay_token_seconds: Some(5),
        access_token_seconds: Some(5),
        ..FaultSet::default()
    };
    let world = World::with(Emulator::builder().faults(faults)).await;
    let mut command = world.arcproxy(&DEMO);
    command
        .env("ARCPROXY_LOG", "trace")
        .env("ARCPROXY_DEBUG", "1");
    let proxy = Proxy::start(command).await;
    let kubeconfig = std::fs::read_to_string(world.kubeconfig()).unwrap();
    let pop_tokens = || world.emulator.seen().entra.pop_tokens;
    while pop_tokens() < 3 {
        Ran::of(&mut world.kubectl(&["get", "pods", "-A"]))
            .await
            .ok();
        Ran::of(&mut world.kubectl(&["exec", "-n", "demo", "shell", "--", "true"]))
            .await
            .ok();
    }
    let lines = proxy.lines.join("\n");
    proxy.signal("TERM");
    let (code, stderr) = proxy.ended().await;
    assert_eq!(code, Some(0));
    assert!(stderr.contains("TRACE"), "the log is there to be searched");
    let secrets = Secrets::default()
        .and(local_token(&kubeconfig))
        .and(&world.emulator.client_secret());
    secrets.assert_absent(&[&lines, &stderr]);
    // Nor is one of Azure's in what is left behind.
    Secrets::default().assert_absent(&[&kubeconfig]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_account_that_logs_everything_prints_none() {
    let world = World::new().await;
    let token = world.service_account_token();
    for form in ["text", "json"] {
        let run = [
            &DEMO[..],
            &["--log-format", form, "-o", "json", "--token", &token],
        ]
        .concat();
        let mut command = world.arcproxy(&[&run[..], &["--", "kubectl", "get", "pods"]].concat());
        let ran = Ran::of(command.env("ARCPROXY_LOG", "trace")).await;
        assert!(ran.stderr.contains("TRACE"), "{}", ran.stderr);
        ran.ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_that_log_everything_print_none() {
    let world = World::new().await;
    let wrong = "hunter2-hunter2-hunter2";
    for (cluster, variable) in [
        ("edge-demo", ("AZURE_CLIENT_SECRET", wrong)),
        ("edge-demo", ("AZURE_TENANT_ID", wrong)),
        ("edge-demo", ("ARCPROXY_TOKEN", "hunter2-hunter2\u{1}")),
        ("edge-none", ("ARCPROXY_VERBOSE", "2")),
        ("edge-forbidden", ("ARCPROXY_VERBOSE", "2")),
        ("edge-disabled", ("ARCPROXY_VERBOSE", "2")),
        ("edge-nowhere", ("ARCPROXY_VERBOSE", "2")),
        ("edge-badcert", ("ARCPROXY_VERBOSE", "2")),
    ] {
        let mut command = world.arcproxy(&["-n", cluster, "-g", "demo", "--", "true"]);
        command
            .env("ARCPROXY_LOG", "trace")
            .env(variable.0, variable.1);
        let ran = Ran::of(&mut command).await;
        assert_ne!(ran.code, Some(0), "{cluster}: {}", ran.stderr);
    }
    let fault = ServiceFault {
        status: Some(503),
        retry_after_seconds: Some(0),
        ..ServiceFault::default()
    };
    for which in [
        FaultSet {
            entra: fault.clone(),
            ..FaultSet::default()
        },
        FaultSet {
            arm: fault,
            ..FaultSet::default()
        },
    ] {
        world.emulator.faults().update(|faults| *faults = which);
        let mut command = world.arcproxy(&[&DEMO[..], &["--", "true"]].concat());
        let ran = Ran::of(command.env("ARCPROXY_LOG", "trace")).await;
        assert_ne!(ran.code, Some(0), "{}", ran.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_on_the_command_line_is_warned_about() {
    let world = World::new().await;
    let token = world.service_account_token();
    let warning = "warning: process lists show the token";
    let on_the_line = [&DEMO[..], &["--token", &token, "--", "true"]].concat();
    let ran = world.run(&on_the_line).await;
    for word in [warning, "--token-file -", "ARCPROXY_TOKEN"] {
        assert!(ran.stderr.contains(word), "{word}: {}", ran.stderr);
    }
    ran.ok();
    let mut command = world.arcproxy(&[&DEMO[..], &["--", "true"]].concat());
    let ran = Ran::of(command.env("ARCPROXY_TOKEN", &token)).await;
    assert!(!ran.stderr.contains(warning), "{}", ran.stderr);
    ran.ok();
}
