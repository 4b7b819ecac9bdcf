//! `-- COMMAND`: its kubeconfig, its signals, its exit code, and nothing left behind.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::harness::{Ran, World};

const RUN: [&str; 5] = ["-n", "edge-demo", "-g", "demo", "--"];

#[tokio::test(flavor = "multi_thread")]
async fn the_command_reaches_the_cluster_and_has_stdout_to_itself() {
    let world = World::new().await;
    let ran = world
        .run(
            &[
                &RUN[..],
                &["kubectl", "get", "pods", "-n", "demo", "-o", "name"],
            ]
            .concat(),
        )
        .await;
    let direct = Ran::of(&mut world.direct(&["get", "pods", "-n", "demo", "-o", "name"]))
        .await
        .ok();
    assert_eq!(ran.ok(), direct);
    assert!(
        !world.kubeconfig().exists(),
        "the user's kubeconfig stays untouched"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn its_exit_code_passes_through() {
    let world = World::new().await;
    assert_eq!(
        world
            .run(&[&RUN[..], &["sh", "-c", "exit 42"]].concat())
            .await
            .code,
        Some(42)
    );
    assert_eq!(
        world
            .run(&[&RUN[..], &["sh", "-c", "kill -9 $$"]].concat())
            .await
            .code,
        Some(137)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn its_kubeconfig_is_private_and_gone_afterwards() {
    let world = World::new().await;
    let script = r#"stat -c '%a' "$KUBECONFIG"; echo "$KUBECONFIG""#;
    let temporary = world.path("tmp");
    std::fs::create_dir(&temporary).unwrap();
    let mut command = world.arcproxy(&[&RUN[..], &["sh", "-c", script]].concat());
    let printed = Ran::of(command.env("TMPDIR", &temporary)).await.ok();
    let (mode, file) = printed.trim().split_once('\n').unwrap();
    assert_eq!(mode, "600");
    assert!(file.starts_with(temporary.to_str().unwrap()));
    assert_eq!(
        std::fs::read_dir(&temporary).unwrap().count(),
        0,
        "nothing stays behind"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_are_passed_on() {
    let world = World::new().await;
    for (signal, code) in [("INT", 7), ("TERM", 8), ("HUP", 9)] {
        let script = "trap 'exit 7' INT; trap 'exit 8' TERM; trap 'exit 9' HUP; echo up; while :; do sleep 0.1; done";
        let mut command = world.arcproxy(&[&RUN[..], &["sh", "-c", script]].concat());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("up"));
        let pid = child.id().unwrap().to_string();
        assert!(
            std::process::Command::new("kill")
                .args(["-s", signal, &pid])
                .status()
                .unwrap()
                .success()
        );
        let status = tokio::time::timeout(crate::harness::DEADLINE, child.wait())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(status.code(), Some(code), "{signal}");
    }
}
