//! Signing in with az and azd, where each is a script that says what the test wants. The real az
//! has its turn in `tests/interop/azure-cli`.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use arcproxy::azure::cloud::Cloud;
use arcproxy::azure::login::{self, SignInSettings, Teller};
use arcproxy::clock::Clock;
use arcproxy::net::{Https, Net, Trust};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::process::Command;
use url::form_urlencoded::Serializer;

use crate::harness::{Ran, World};

const WHOAMI: [&str; 9] = [
    "-n",
    "edge-demo",
    "-g",
    "demo",
    "--",
    "kubectl",
    "auth",
    "whoami",
    "-ojson",
];
const SERVER_SCOPE: &str = "6256c85f-0aad-4d50-b960-e6e9b21efe35/.default";
/// az's answer to `get-access-token` without a token that anybody takes.
const BEARER: &str = r#"{"accessToken": "none", "expires_on": 4102444800, "tokenType": "Bearer"}"#;

/// az and its Python, or azd, in a folder on the PATH.
struct Tools<'a> {
    world: &'a World,
    folder: PathBuf,
}

impl<'a> Tools<'a> {
    fn new(world: &'a World) -> Self {
        let folder = world.path("tools");
        std::fs::create_dir_all(&folder).unwrap();
        Self { world, folder }
    }

    /// With an az of whom `user` is signed in; its Python runs `python`.
    fn az(world: &'a World, user: &Value, python: &str) -> Self {
        let tools = Self::new(world);
        tools.say("bearer", BEARER);
        tools.script(
            "az",
            "case $1 in\n--version) echo \"azure-cli  2.91.0\"; echo \"Python location '$here/python'\" ;;\n\
             *) printf '%s' \"$*\" >\"$here/asked-az\"; cat \"$here/bearer\" ;;\nesac",
        );
        tools.script("python", python);
        let account = json!({
            "id": world.emulator.subscription(),
            "name": "Edge",
            "tenantId": world.emulator.tenant(),
            "isDefault": true,
            "environmentName": "AzureCloud",
            "user": user,
        });
        tools.profile(&json!({ "subscriptions": [account] }));
        tools
    }

    fn profile(&self, profile: &Value) {
        let folder = self.folder.join("config");
        std::fs::create_dir_all(&folder).unwrap();
        let text = format!("\u{feff}{profile}");
        std::fs::write(folder.join("azureProfile.json"), text).unwrap();
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn say(&self, name: &str, text: &str) {
        std::fs::write(self.file(name), text).unwrap();
    }

    fn script(&self, name: &str, text: &str) {
        let file = self.file(name);
        let here = self.folder.display();
        std::fs::write(&file, format!("#!/bin/sh\nhere='{here}'\n{text}\n")).unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(0o755)).unwrap();
    }

    /// arcproxy with these tools and nothing else to sign in with.
    fn arcproxy(&self, arguments: &[&str]) -> Command {
        let path = std::env::var("PATH").unwrap();
        let mut command = self.world.arcproxy(arguments);
        command
            .env("PATH", format!("{}:{path}", self.folder.display()))
            .env("AZURE_CONFIG_DIR", self.file("config"))
            .env_remove("AZURE_TENANT_ID")
            .env_remove("AZURE_CLIENT_ID")
            .env_remove("AZURE_CLIENT_SECRET");
        command
    }

    async fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(&mut self.arcproxy(arguments)).await
    }
}

fn ana() -> Value {
    json!({ "name": "ana@contoso.com", "type": "user" })
}

/// A client of the emulator's Entra and ARM.
fn https(world: &World) -> (Https, Cloud, Clock) {
    let cloud = Cloud::read(world.emulator.cloud_file()).unwrap();
    let trust = Trust::system(cloud.ca_file.as_deref()).unwrap();
    let clock = Clock::system();
    let https = Https::new(Net::new(trust), clock.clone()).unwrap();
    (https, cloud, clock)
}

/// A bearer token for the emulator's ARM.
async fn arm_token(world: &World) -> String {
    let (https, cloud, clock) = https(world);
    let settings = SignInSettings {
        tenant: Some(world.emulator.tenant()),
        client_id: Some(world.emulator.client_id()),
        client_secret: Some(world.emulator.client_secret().into()),
        ..SignInSettings::default()
    };
    let sign_in = login::choose(&settings, &cloud, &https, &clock, &Teller::new(|_| {}))
        .await
        .unwrap();
    let token = sign_in.bearer(&cloud.resource_manager_scope()).await;
    token.unwrap().secret.expose().to_owned()
}

/// What Entra gives for the confirmation `req_cnf`.
async fn bound_token(world: &World, req_cnf: &str) -> String {
    let (https, _, _) = https(world);
    let entra = world.emulator.entra();
    let url = format!("{}/{}/oauth2/v2.0/token", entra.url(), entra.tenant());
    let form = Serializer::new(String::new())
        .append_pair("grant_type", "client_credentials")
        .append_pair("client_id", &world.emulator.client_id())
        .append_pair("client_secret", &world.emulator.client_secret())
        .append_pair("scope", SERVER_SCOPE)
        .append_pair("token_type", "pop")
        .append_pair("req_cnf", req_cnf)
        .finish();
    let request = http::Request::post(url)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Bytes::from(form))
        .unwrap();
    let answer = https.send(request).await.unwrap();
    let answer: Value = serde_json::from_slice(&answer.body).unwrap();
    answer["access_token"].as_str().unwrap().to_owned()
}

fn pipe(path: &Path) {
    let kind = rustix::fs::FileType::Fifo;
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, path, kind, mode, 0).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn az_is_asked_for_both_tokens() {
    let world = World::new().await;
    // It talks before and after its answer, and to stderr.
    let python = "printf '%s\\n' \"$@\" >\"$here/asked\"; echo 'hello {'; echo oops >&2; echo '{\"error\": \"no\", \"kind\": \"x\"}'\n\
                  cat \"$here/answer\"; echo bye";
    let tools = Tools::az(&world, &ana(), python);
    tools.say(
        "bearer",
        &format!(
            "noise\n{}\nmore",
            BEARER.replace("none", &arm_token(&world).await)
        ),
    );
    pipe(&tools.file("asked"));
    pipe(&tools.file("answer"));
    let mut command = tools.arcproxy(&WHOAMI);
    let running = tokio::spawn(async move { Ran::of(&mut command).await });
    let asked = tokio::fs::read_to_string(tools.file("asked"))
        .await
        .unwrap();
    assert!(asked.starts_with("-I\n-c\n"), "{asked}");
    let asked: Value = serde_json::from_str(asked.trim().lines().last().unwrap()).unwrap();
    let token = bound_token(&world, asked["req_cnf"].as_str().unwrap()).await;
    let answer = json!({ "access_token": token, "expires_on": 4_102_444_800_u64 });
    tokio::fs::write(tools.file("answer"), format!("\n{answer}\n"))
        .await
        .unwrap();
    let ran = running.await.unwrap();
    assert!(
        ran.stderr.contains("✓ Signed in as ana@contoso.com (az)"),
        "{}",
        ran.stderr
    );
    let identity: Value = serde_json::from_str(&ran.ok()).unwrap();
    assert!(identity["status"]["userInfo"]["username"].is_string());

    assert_eq!(asked["scope"], SERVER_SCOPE);
    assert_eq!(asked["subscription"], world.emulator.subscription());
    assert_eq!(asked["interactive"], false, "nobody sees a browser");
    assert_eq!(asked["kid"].as_str().unwrap().len(), 43);
    let asked = std::fs::read_to_string(tools.file("asked-az")).unwrap();
    let subscription = world.emulator.subscription();
    assert!(asked.contains(&subscription), "{asked}");
    assert!(!asked.contains("--tenant"), "az takes one of them: {asked}");
}

/// As when this machine's clock is behind, or a session was revoked.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_azure_does_not_take_is_replaced_once() {
    let world = World::new().await;
    let tools = Tools::az(&world, &ana(), "");
    let good = BEARER.replace("none", &arm_token(&world).await);
    tools.say("good", &good);
    tools.script(
        "az",
        "if [ -e \"$here/asked\" ]; then cat \"$here/good\"; else touch \"$here/asked\"; cat \"$here/bearer\"; fi",
    );
    let get = ["-n", "edge-demo", "-g", "demo", "--", "kubectl", "version"];
    let token = world.service_account_token();
    let mut command = tools.arcproxy(&get);
    Ran::of(command.env("ARCPROXY_TOKEN", &token)).await.ok();

    // One that stays as it is tells what was wrong.
    tools.say("good", BEARER);
    let mut command = tools.arcproxy(&get);
    let ran = Ran::of(command.env("ARCPROXY_TOKEN", &token)).await;
    ran.failed(3, &["InvalidAuthenticationToken"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_az_says_is_told_with_what_to_do() {
    let world = World::new().await;
    let tenant = world.emulator.tenant();
    let tools = Tools::az(&world, &ana(), "");
    tools.say("bearer", &BEARER.replace("none", &arm_token(&world).await));
    let failed = |error: &str, kind: &str, advice: &str| {
        let answer = json!({ "error": error, "kind": kind, "advice": advice });
        format!(
            "printf '%s\\n' '{}'",
            answer.to_string().replace('\'', "'\\''")
        )
    };
    let login = format!("az login --tenant {tenant}");
    for (python, words) in [
        (
            failed(
                "AADSTS50076: Due to a change. Trace ID: 1",
                "refused",
                "Run the command below:\naz logout\naz login --tenant \"t\" --scope \"s\"",
            ),
            &[
                "az gave no token for the cluster",
                "AADSTS50076: Due to a change.\n",
                "second factor",
                "run `az login --tenant \"t\" --scope \"s\"`",
            ][..],
        ),
        (
            failed("AADSTS53003: Blocked.", "refused", ""),
            &["AADSTS53003", "conditional access policy"],
        ),
        (
            failed("Please run 'az login' to setup account.", "refused", ""),
            &["setup account", &login],
        ),
        (
            failed("No module named 'azure'", "import", ""),
            &["cannot load az's modules", "No module named 'azure'"],
        ),
        (
            "echo nonsense; echo 'Trace:' >&2; echo 'it broke' >&2".to_owned(),
            &["other than a token", "it broke", "az account show"],
        ),
        (
            "exit 3".to_owned(),
            &["other than a token", "exit status: 3"],
        ),
        (
            "echo '{\"access_token\": 7}'".to_owned(),
            &["other than a token"],
        ),
        (
            // {"aud":"x"}: a bearer token.
            "echo '{\"access_token\": \"e30.eyJhdWQiOiJ4In0.x\", \"expires_on\": 4102444800}'"
                .to_owned(),
            &["not bound to the key", "az upgrade"],
        ),
    ] {
        tools.script("python", &python);
        tools.run(&WHOAMI).await.failed(3, words);
    }
    tools.script(
        "az",
        "case $1 in --version) exit 1;; *) cat \"$here/bearer\";; esac",
    );
    let words = ["does not tell which Python", "exit status: 1"];
    tools.run(&WHOAMI).await.failed(3, &words);
    tools.script(
        "az",
        "case $1 in --version) echo \"Python location '/nonexistent/python'\";; *) cat \"$here/bearer\";; esac",
    );
    let words = ["/nonexistent/python", "No such file"];
    tools.run(&WHOAMI).await.failed(3, &words);
}

#[tokio::test(flavor = "multi_thread")]
async fn modules_that_are_not_in_reach_are_looked_for_as_the_environment_has_it() {
    let world = World::new().await;
    let python = "case $1 in\n-I) echo '{\"error\": \"no azure\", \"kind\": \"import\"}' ;;\n\
                  *) echo '{\"error\": \"found it\", \"kind\": \"refused\"}' ;;\nesac";
    let tools = Tools::az(&world, &ana(), python);
    tools.say("bearer", &BEARER.replace("none", &arm_token(&world).await));
    tools.run(&WHOAMI).await.failed(3, &["found it"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn az_that_is_refused_the_bearer_token_is_told_too() {
    let world = World::new().await;
    let tools = Tools::az(&world, &ana(), "exit 1");
    let script = |said: &str| format!("cat >&2 <<'END'\n{said}\nEND\nexit 1");
    let advice = "WARNING: old az.\nERROR: AADSTS50173: The provided grant has expired. Trace ID: 1\n\
                  Run the command below to authenticate interactively:\naz logout\naz login --tenant \"t\"";
    for (said, words) in [
        (
            advice,
            &[
                "az gave no token",
                "AADSTS50173: The provided grant has expired.\n",
                "run `az login --tenant \"t\"`",
            ][..],
        ),
        (
            "ERROR: Please run 'az login' to setup account.",
            &["setup account", "run `az login"],
        ),
        ("az: broken", &["az: broken"]),
    ] {
        tools.script("az", &script(said));
        let mut command = tools.arcproxy(&WHOAMI);
        command.env("ARCPROXY_TOKEN", world.service_account_token());
        Ran::of(&mut command).await.failed(3, words);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_az_that_hangs_ends_with_arcproxy() {
    let world = World::new().await;
    let python = "echo $$ >\"$here/started\"; read -r _ <\"$here/never\"";
    let tools = Tools::az(&world, &ana(), python);
    tools.say("bearer", &BEARER.replace("none", &arm_token(&world).await));
    pipe(&tools.file("started"));
    pipe(&tools.file("never"));
    let mut child = tools.arcproxy(&WHOAMI).spawn().unwrap();
    let pid = tokio::fs::read_to_string(tools.file("started"))
        .await
        .unwrap();
    let arcproxy = child.id().unwrap().to_string();
    let sent = std::process::Command::new("kill")
        .args(["-s", "TERM", &arcproxy])
        .status();
    assert!(sent.unwrap().success());
    let status = tokio::time::timeout(crate::harness::DEADLINE, child.wait()).await;
    assert_eq!(status.unwrap().unwrap().code(), Some(143));
    let stat = PathBuf::from(format!("/proc/{}/stat", pid.trim()));
    let is_gone = || std::fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "));
    while !is_gone() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machines_identity_in_az_reaches_azure_alone() {
    let world = World::new().await;
    let machine = json!({
        "name": "systemAssignedIdentity", "type": "servicePrincipal", "assignedIdentityInfo": "MSI",
    });
    let tools = Tools::az(&world, &machine, "exit 1");
    tools.say("bearer", &BEARER.replace("none", &arm_token(&world).await));
    let ran = tools.run(&WHOAMI).await;
    ran.failed(
        3,
        &["a machine's identity", "bound to a key", "--token-file"],
    );
    let mut command = tools.arcproxy(&WHOAMI);
    command.env("ARCPROXY_TOKEN", world.service_account_token());
    let identity = Ran::of(&mut command).await.ok();
    assert!(
        identity.contains("system:serviceaccount:demo:"),
        "{identity}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_az_that_nobody_is_signed_in_to_is_passed_over() {
    let world = World::new().await;
    let tools = Tools::az(&world, &ana(), "exit 1");
    tools.profile(&json!({ "subscriptions": [] }));
    let ran = tools.run(&WHOAMI).await;
    let words = [
        "no sign-in method is configured",
        "azure-cli: nobody is signed in to az",
        "az login",
    ];
    ran.failed(3, &words);
}

#[tokio::test(flavor = "multi_thread")]
async fn azd_gives_the_token_for_azure() {
    let world = World::new().await;
    let tools = Tools::new(&world);
    let token = arm_token(&world).await;
    let answer = json!({ "token": token, "expiresOn": "2100-01-01T00:00:00Z" });
    tools.script("azd", &format!("echo '{answer}'"));
    let mut command = tools.arcproxy(&WHOAMI);
    command.env("ARCPROXY_TOKEN", world.service_account_token());
    let ran = Ran::of(&mut command).await;
    assert!(ran.stderr.contains("✓ Signed in as azd"), "{}", ran.stderr);
    assert!(ran.ok().contains("system:serviceaccount:demo:"));

    let mut named = tools.arcproxy(&WHOAMI);
    let ran = Ran::of(named.env("ARCPROXY_AUTH", "azd")).await;
    ran.failed(3, &["azd has no token for the cluster", "az login"]);

    let error = json!({ "type": "consoleMessage", "data": { "message": "ERROR: not logged in, run `azd auth login` to login\n" } });
    tools.script("azd", &format!("printf '%s\\n' '{error}' >&2; exit 1"));
    let mut command = tools.arcproxy(&WHOAMI);
    command.env("ARCPROXY_TOKEN", world.service_account_token());
    let ran = Ran::of(&mut command).await;
    ran.failed(
        3,
        &["azd gave no token", "not logged in", "run `azd auth login`"],
    );
}

/// The browser needs nobody here: its sign-in was kept.
#[tokio::test(flavor = "multi_thread")]
async fn with_azd_the_clusters_token_comes_by_the_browser() {
    let world = World::new().await;
    let browser = world.by_person(&["--auth", "browser", "--", "true"]);
    let (ran, pages) = world.seated("ana@contoso.com", browser).await;
    ran.ok();
    assert_eq!(pages.len(), 1);

    let tools = Tools::new(&world);
    let answer = json!({ "token": arm_token(&world).await, "expiresOn": "2100-01-01T00:00:00Z" });
    tools.script(
        "azd",
        &format!("echo \"$*\" >\"$here/asked\"; echo '{answer}'"),
    );
    let bound = world.emulator.entra().seen().pop_tokens;
    let mut command = tools.arcproxy(&WHOAMI);
    let ran = Ran::of(command.env("ARCPROXY_AUTH", "azd")).await;
    assert!(ran.stderr.contains("✓ Signed in as azd"), "{}", ran.stderr);
    assert!(ran.ok().contains("ana@contoso.com"));
    assert_eq!(world.emulator.entra().seen().pop_tokens, bound + 1);
    // In the subscription's tenant, like the browser.
    let asked = std::fs::read_to_string(tools.file("asked")).unwrap();
    assert!(asked.contains(&world.emulator.tenant()), "{asked}");
}
