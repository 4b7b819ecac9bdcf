//! A start that a signal ends, wherever it has come to: strace sends one at a system call.

use std::path::{Path, PathBuf};

use super::names;
use crate::harness::{Ran, World};

const DEMO: [&str; 4] = ["-n", "edge-demo", "-g", "demo"];
const SIGNALS: [(&str, i32); 3] = [("TERM", 143), ("INT", 130), ("HUP", 129)];

/// A home that nobody has lived in.
fn home(world: &World, name: &str) -> PathBuf {
    let home = world.path(name);
    std::fs::create_dir_all(home.join("tmp")).unwrap();
    home
}

/// Runs arcproxy in `home`, and sends it `signal` at its `at`th `call`.
async fn ended_at(
    world: &World,
    home: &Path,
    (call, at): (&str, usize),
    signal: &str,
    arguments: &[&str],
) -> Ran {
    let injected = format!("inject={call}:signal={signal}:when={at}");
    let traced = format!("trace={call}");
    let mut command = world.command("strace");
    command
        .args(["-f", "-qq", "-o", "/dev/null", "-e", &traced])
        .args(["-e", &injected])
        .args(["/usr/bin/env", "--default-signal=INT,TERM,HUP"])
        .arg(env!("CARGO_BIN_EXE_arcproxy"))
        .args(DEMO)
        .args(arguments)
        .env("HOME", home)
        .env("TMPDIR", home.join("tmp"));
    Ran::of(&mut command).await
}

/// What a run leaves is whole, or not there at all.
#[track_caller]
fn is_tidy(home: &Path, at: &str) {
    assert_eq!(names(&home.join("tmp")), [""; 0], "{at}");
    for (folder, file) in [
        (".kube", "config"),
        (".local/state/arcproxy", "relays.json"),
    ] {
        let folder = home.join(folder);
        if folder.exists() {
            let names = names(&folder);
            assert!(names.is_empty() || names == [file], "{at}: {names:?}");
        }
    }
    if let Ok(text) = std::fs::read_to_string(home.join(".kube/config")) {
        let is_whole = text.contains("current-context: edge-demo") && text.contains("token: ");
        assert!(is_whole, "{at}: {text}");
    }
}

/// To Entra, to Azure Resource Manager, to the relay.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_is_ended_at_any_connection_leaves_nothing() {
    let world = World::new().await;
    let mut ended = 0;
    for at in 1.. {
        let (signal, code) = SIGNALS[at % SIGNALS.len()];
        let home = home(&world, &format!("home-{at}"));
        let ran = ended_at(&world, &home, ("connect", at), signal, &["--", "true"]).await;
        let at = format!("{signal} at connection {at}: {}", ran.stderr);
        is_tidy(&home, &at);
        if ran.code == Some(0) {
            break;
        }
        assert_eq!(ran.code, Some(code), "{at}");
        assert!(!home.join(".kube").exists(), "{at}");
        ended += 1;
    }
    assert!(ended >= 3, "{ended}");
}

/// While the kubeconfig is written: then it is written to its end.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_is_ended_while_it_writes_leaves_all_or_nothing() {
    let world = World::new().await;
    let calls = ["mkdir", "link", "flock", "fsync", "rename", "unlink"];
    for (number, call) in calls.into_iter().enumerate() {
        let (signal, code) = SIGNALS[number % SIGNALS.len()];
        let home = home(&world, call);
        // In whichever form.
        let any = format!("/^{call}");
        let ran = ended_at(&world, &home, (&any, 1), signal, &[]).await;
        let at = format!("{signal} at {call}: {}", ran.stderr);
        is_tidy(&home, &at);
        let is_written = home.join(".kube/config").exists();
        let expected = if is_written { 0 } else { code };
        assert_eq!(ran.code, Some(expected), "{at}");
    }
}
