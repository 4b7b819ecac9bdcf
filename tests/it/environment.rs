//! Every variable that stands for a flag does what the flag does.

use std::path::Path;

use serde_json::Value;

use crate::harness::{Proxy, Ran, World};

const DEMO: [&str; 4] = ["-n", "edge-demo", "-g", "demo"];
const TRUE: [&str; 6] = ["-n", "edge-demo", "-g", "demo", "--", "true"];

impl World {
    /// Runs arcproxy to its end with these variables too.
    async fn run_with(&self, variables: &[(&str, &str)], arguments: &[&str]) -> Ran {
        Ran::of(self.arcproxy(arguments).envs(variables.iter().copied())).await
    }
}

/// The contexts that a kubeconfig has, and which is current.
fn contexts(file: &Path) -> (Vec<String>, String) {
    let output = std::process::Command::new("kubectl")
        .args(["config", "view", "-o", "json", "--kubeconfig"])
        .arg(file)
        .output()
        .unwrap();
    let view: Value = serde_json::from_slice(&output.stdout).unwrap();
    let names = view["contexts"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (
        names.map(|one| text(&one["name"])).collect(),
        text(&view["current-context"]),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cluster() {
    let world = World::new().await;
    let named = [
        ("ARCPROXY_NAME", "edge-second"),
        ("ARCPROXY_RESOURCE_GROUP", "demo"),
    ];
    let ran = world.run_with(&named, &["--", "true"]).await;
    assert!(ran.stderr.contains("✓ edge-second · "), "{}", ran.stderr);
    ran.ok();

    let id = |name| world.emulator.cluster_id(name).unwrap();
    let ids = format!("{} {}", id("edge-second"), id("edge-demo"));
    let ran = world
        .run_with(
            &[("ARCPROXY_IDS", &ids)],
            &["--", "kubectl", "config", "get-contexts", "-o", "name"],
        )
        .await;
    assert_eq!(ran.ok(), "edge-demo\nedge-second\n");

    let missing = "00000000-0000-0000-0000-00000000dead";
    world
        .run_with(&[("AZURE_SUBSCRIPTION_ID", missing)], &TRUE)
        .await
        .failed(4, &[missing, "SubscriptionNotFound"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_and_the_context() {
    let world = World::new().await;
    let file = world.path("elsewhere");
    let mut command = world.arcproxy(&DEMO);
    command
        .env("ARCPROXY_FILE", &file)
        .env("ARCPROXY_KUBE_CONTEXT", "plant");
    let proxy = Proxy::start(command).await;
    let merged = format!("Merged \"plant\" as current context in {}", file.display());
    assert!(proxy.lines.contains(&merged), "{:?}", proxy.lines);
    let plant = "plant".to_owned();
    assert_eq!(contexts(&file), (vec![plant.clone()], plant));
    assert!(!world.kubeconfig().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_where_no_flag_says_it() {
    let world = World::new().await;
    let (missing, there) = (world.path("missing"), world.path("there"));
    std::fs::write(&there, "").unwrap();
    let mut command = world.arcproxy(&DEMO);
    let list = std::env::join_paths([&missing, &there]).unwrap();
    let _proxy = Proxy::start({
        command.env("KUBECONFIG", list);
        command
    })
    .await;
    assert_eq!(contexts(&there).1, "edge-demo");
    assert!(!missing.exists() && !world.kubeconfig().exists());
    // Without any home there is no default.
    let mut homeless = world.arcproxy(&DEMO);
    Ran::of(homeless.env_remove("HOME"))
        .await
        .failed(2, &["no home folder", "--file"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_port() {
    let world = World::new().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let variable = [("ARCPROXY_PORT", port.as_str())];
    let ran = world.run_with(&variable, &DEMO).await;
    ran.failed(5, &[&format!("port {port} is taken")]);
    // The command line wins.
    let free = [&["--port", "0"], &TRUE[..]].concat();
    world.run_with(&variable, &free).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_file() {
    let world = World::new().await;
    let file = world.path("token");
    std::fs::write(&file, world.service_account_token()).unwrap();
    let variable = [("ARCPROXY_TOKEN_FILE", file.to_str().unwrap())];
    let whoami = [&DEMO[..], &["--", "kubectl", "auth", "whoami"]].concat();
    let identity = world.run_with(&variable, &whoami).await.ok();
    assert!(identity.contains("system:serviceaccount:"), "{identity}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cloud() {
    let world = World::new().await;
    world
        .run_with(&[("ARCPROXY_CLOUD", "AzureMars")], &TRUE)
        .await
        .failed(2, &["AzureMars is neither the name of a cloud nor a file"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn how_much_is_told() {
    let world = World::new().await;
    for (variable, value, shows, hides) in [
        ("ARCPROXY_DEBUG", "1", "DEBUG", "nothing at all"),
        ("ARCPROXY_DEBUG", "false", "✓", "DEBUG"),
        ("ARCPROXY_DEBUG", "", "✓", "DEBUG"),
        ("ARCPROXY_VERBOSE", "1", "INFO", "DEBUG"),
        ("ARCPROXY_VERBOSE", "2", "DEBUG", "nothing at all"),
        ("ARCPROXY_QUIET", "0", "✓", "INFO"),
        (
            "ARCPROXY_LOG",
            "arcproxy::azure=info",
            "ARM answered",
            "tunnel opened",
        ),
        ("ARCPROXY_LOG", "", "✓", "INFO"),
    ] {
        let ran = world.run_with(&[(variable, value)], &TRUE).await;
        let told = format!("{variable}={value}: {}", ran.stderr);
        assert!(ran.stderr.contains(shows), "{told}");
        assert!(!ran.stderr.contains(hides), "{told}");
        ran.ok();
    }
    let ran = world.run_with(&[("ARCPROXY_QUIET", "1")], &TRUE).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_forms_of_log_and_stdout() {
    let world = World::new().await;
    let variables = [
        ("ARCPROXY_LOG_FORMAT", "json"),
        ("ARCPROXY_VERBOSE", "1"),
        ("ARCPROXY_QUIET", "yes"),
    ];
    let ran = world.run_with(&variables, &TRUE).await;
    assert!(ran.stderr.lines().count() > 2, "{}", ran.stderr);
    for line in ran.stderr.lines() {
        let entry: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        assert_eq!(entry["level"], "INFO");
    }
    ran.ok();

    let none = ["-n", "edge-none", "-g", "demo"];
    let ran = world.run_with(&[("ARCPROXY_OUTPUT", "json")], &none).await;
    let last = ran.stdout.lines().last().unwrap();
    let event: Value = serde_json::from_str(last).unwrap();
    assert_eq!(event["code"], "cluster-not-found");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_temporary_files_go() {
    let world = World::new().await;
    let folder = world.path("temporary");
    std::fs::create_dir(&folder).unwrap();
    let print = [&DEMO[..], &["--", "printenv", "KUBECONFIG"]].concat();
    let variable = [("TMPDIR", folder.to_str().unwrap())];
    let file = world.run_with(&variable, &print).await.ok();
    assert!(file.starts_with(folder.to_str().unwrap()), "{file}");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0, "it is gone");
}

/// The variables that `--help` names.
fn documented(help: &str) -> Vec<&str> {
    help.split("[env: ")
        .skip(1)
        .map(|rest| rest.split(['=', ']']).next().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_empty_is_not_set() {
    let world = World::new().await;
    let help = world.run(&["--help"]).await.ok();
    let mut variables: Vec<_> = documented(&help)
        .into_iter()
        .chain(["ARCPROXY_LOG"])
        .filter(|name| !name.contains("TOKEN") && !name.contains("SUBSCRIPTION"))
        .map(|name| (name, ""))
        .collect();
    let cloud = world.emulator.cloud_file().to_str().unwrap();
    let run = [&["--cloud", cloud], &TRUE[..]].concat();
    world.run_with(&variables, &run).await.ok();
    // That a secret is missing must not change as whom requests are sent.
    variables.push(("ARCPROXY_TOKEN", ""));
    let ran = world.run_with(&variables, &run).await;
    ran.failed(2, &["the service-account token from --token is empty"]);
    let ran = world.run_with(&[("ARCPROXY_TOKEN_FILE", "")], &TRUE).await;
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert!(ran.stderr.contains("--token-file"), "{}", ran.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_to_sign_in() {
    let world = World::new().await;
    let refused = [("ARCPROXY_AUTH", "github")];
    let ran = world.run_with(&refused, &TRUE).await;
    ran.failed(3, &["--auth github is not configured"]);
    let named = [("ARCPROXY_AUTH", "service-principal")];
    world.run_with(&named, &TRUE).await.ok();
    world.run_with(&[("ARCPROXY_AUTH", "")], &TRUE).await.ok();
}

/// No variable is left out of the tests here.
#[tokio::test(flavor = "multi_thread")]
async fn none_is_forgotten() {
    let world = World::new().await;
    let help = world.run(&["--help"]).await.ok();
    let tests = [
        include_str!("environment.rs"),
        include_str!("clouds.rs"),
        include_str!("inputs.rs"),
        include_str!("networks/mod.rs"),
        include_str!("sign_in_user/kept.rs"),
        include_str!("sign_in_az.rs"),
    ]
    .concat();
    let variables = documented(&help);
    assert!(variables.len() >= 16, "{variables:?}");
    for variable in variables {
        let quoted = format!("\"{variable}\"");
        assert!(tests.contains(&quoted), "{variable} has no test");
    }
}
