//! What is printed, when, and to whom.

use serde_json::Value;

use crate::harness::{Proxy, Ran, World};

#[tokio::test(flavor = "multi_thread")]
async fn stdout_has_azs_lines_and_stderr_the_progress() {
    let world = World::new().await;
    let proxy = world.proxy(&[]).await;
    let file = world.kubeconfig();
    let port = proxy.port();
    assert_eq!(
        proxy.lines,
        [
            format!("Proxy is listening on port {port}"),
            format!(
                "Merged \"edge-demo\" as current context in {}",
                file.display()
            ),
            format!(
                "Start sending kubectl requests on 'edge-demo' context using kubeconfig at {}",
                file.display()
            ),
            "Press Ctrl+C to close proxy.".to_owned(),
        ]
    );
    proxy.signal("TERM");
    let (code, stderr) = proxy.ended().await;
    assert_eq!(code, Some(0), "{stderr}");
    let client = world.emulator.client_id();
    for line in [
        format!("✓ Signed in as service principal {client}"),
        "✓ edge-demo · eastus · agent 1.28.1 · Connected".to_owned(),
        "✓ Tunnel open through azgnrelay-local-l1.servicebus.localhost · Kubernetes v1.32"
            .to_owned(),
        "Stopping.".to_owned(),
    ] {
        assert!(stderr.contains(&line), "{line:?} is not in: {stderr}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn json_is_one_event_a_line() {
    let world = World::new().await;
    let mut command = world.arcproxy(&["-n", "edge-demo", "-g", "demo", "-o", "json"]);
    let mut child = command
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut lines =
        tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(child.stdout.take().unwrap()));
    let mut events = Vec::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        let event: Value = serde_json::from_str(&line).unwrap();
        events.push(event["event"].as_str().unwrap().to_owned());
        if event["event"] == "ready" {
            assert_eq!(event["context"], "edge-demo");
            break;
        }
    }
    assert_eq!(
        events,
        [
            "signed-in",
            "cluster",
            "listening",
            "tunnel",
            "merged",
            "ready"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kubeconfig_on_stdout_stands_alone_and_works() {
    let world = World::new().await;
    let mut command = world.arcproxy(&["-n", "edge-demo", "-g", "demo", "-f", "-"]);
    let mut child = command
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines =
        tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(child.stdout.take().unwrap()));
    let mut text = String::new();
    // The token is the last thing in a kubeconfig that stands alone.
    while let Some(line) = lines.next_line().await.unwrap() {
        text.push_str(&line);
        text.push('\n');
        if line.trim_start().starts_with("token:") {
            break;
        }
    }
    let file = world.path("printed");
    std::fs::write(&file, &text).unwrap();
    let pods = Ran::of(
        world
            .kubectl(&["get", "namespaces", "-o", "name"])
            .env("KUBECONFIG", &file),
    )
    .await
    .ok();
    assert!(pods.contains("namespace/demo"), "{pods}");
    assert!(
        !world.kubeconfig().exists(),
        "the user's own stays untouched"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_context_has_the_shape_that_tools_recognise() {
    let world = World::new().await;
    let proxy = world.proxy(&["--kube-context", "plant"]).await;
    let view = Ran::of(&mut world.kubectl(&["config", "view", "-o", "json"]))
        .await
        .ok();
    let view: Value = serde_json::from_str(&view).unwrap();
    assert_eq!(view["current-context"], "plant");
    let server = view["clusters"][0]["cluster"]["server"].as_str().unwrap();
    let (base, hash) = server.rsplit_once('/').unwrap();
    assert_eq!(base, format!("https://127.0.0.1:{}/proxies", proxy.port()));
    assert!(
        hash.len() == 64 && hash.chars().all(|c| c.is_ascii_hexdigit()),
        "{hash}"
    );
    let version = Ran::of(&mut world.kubectl(&["--context", "plant", "get", "--raw", "/version"]))
        .await
        .ok();
    assert!(version.contains("gitVersion"), "{version}");
}

#[tokio::test(flavor = "multi_thread")]
async fn several_clusters_share_one_listener() {
    let world = World::new().await;
    let id = |name: &str| world.emulator.cluster_id(name).unwrap().to_owned();
    let (one, two) = (id("edge-demo"), id("edge-second"));
    let mut command = world.arcproxy(&["--ids", &one, "--ids", &two]);
    let proxy = Proxy::start({
        command.env_remove("AZURE_SUBSCRIPTION_ID");
        command
    })
    .await;
    assert_eq!(
        proxy
            .lines
            .iter()
            .filter(|line| line.starts_with("Merged"))
            .count(),
        2
    );
    for context in ["edge-demo", "edge-second"] {
        let pods =
            Ran::of(&mut world.kubectl(&["--context", context, "get", "pods", "-A", "-o", "name"]))
                .await
                .ok();
        assert!(pods.contains("pod/"), "{context}: {pods}");
    }
    let current = Ran::of(&mut world.kubectl(&["config", "current-context"]))
        .await
        .ok();
    assert_eq!(
        current.trim(),
        "edge-demo",
        "the first one named is current"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_printed_or_left_behind_holds_a_secret() {
    let world = World::new().await;
    let proxy = world.proxy(&["--debug"]).await;
    Ran::of(&mut world.kubectl(&["get", "pods", "-A"]))
        .await
        .ok();
    let kubeconfig = std::fs::read_to_string(world.kubeconfig()).unwrap();
    let lines = proxy.lines.join("\n");
    proxy.signal("INT");
    let (code, stderr) = proxy.ended().await;
    assert_eq!(code, Some(0));
    assert!(stderr.contains("DEBUG"), "the log is there to be searched");
    let printed = format!("{lines}{stderr}");
    assert!(!printed.contains(&world.emulator.client_secret()));
    for mark in ["SharedAccessSignature", "eyJ", "Bearer "] {
        assert!(!printed.contains(mark), "{mark} was printed: {printed}");
        assert!(!kubeconfig.contains(mark), "{mark} is in the kubeconfig");
    }
}
