//! The soak, with stand-ins for the client.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// Soaks a client that is a shell script; `$kubeconfig` is where it has to say where it serves.
fn soak(home: &Path, script: &str, arguments: &[&str]) -> Output {
    let client = home.join("client");
    let head = "#!/bin/sh\nfor kubeconfig; do :; done\n";
    std::fs::write(&client, format!("{head}{script}")).unwrap();
    std::fs::set_permissions(&client, std::fs::Permissions::from_mode(0o755)).unwrap();
    Command::new(env!("CARGO_BIN_EXE_arc-emulator"))
        .args(["soak", "--seed", "5", "--client"])
        .arg(&client)
        .args(arguments)
        .output()
        .unwrap()
}

/// Leads straight to the apiserver, where no fault is felt.
const STRAIGHT: &str = "cp \"$ARC_EMULATOR_KUBECONFIG\" \"$kubeconfig\"\n\
    echo 'Press Ctrl+C to close proxy.'\n";
/// Waits to be told to end.
const WAIT: &str = "sleep 1000 & trap \"kill $!; exit 0\" TERM; wait\n";

#[test]
fn a_client_that_loses_nothing_passes() {
    let home = tempfile::tempdir().unwrap();
    let report = home.path().join("report.json");
    let arguments = ["--minutes", "0.2", "--json", report.to_str().unwrap()];
    let output = soak(home.path(), &format!("{STRAIGHT}{WAIT}"), &arguments);
    let text = String::from_utf8(output.stdout).unwrap();
    let words = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}{words}");
    let report: Value = serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
    assert_eq!(report["seed"], 5);
    for load in [
        "get",
        "list",
        "write",
        "download",
        "upload",
        "logs -f",
        "exec",
        "port-forward",
    ] {
        let ends = &report["loads"][load];
        assert!(ends["ok"].as_u64() > Some(0), "{load}: {text}");
        assert_eq!(ends["failed"], 0, "{load}: {text}");
    }
    assert!(
        report["played"]
            .as_array()
            .is_some_and(|played| played.len() > 1)
    );
    assert!(text.contains("recovery"), "{text}");
}

#[test]
fn a_client_that_ends_by_itself_fails_the_soak() {
    let home = tempfile::tempdir().unwrap();
    let script = format!("{STRAIGHT}echo gone >&2; exit 3\n");
    let output = soak(home.path(), &script, &["--minutes", "0.2"]);
    let words = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(
        words.contains("ended by itself: exit status: 3\ngone"),
        "{words}"
    );
}

#[test]
fn a_client_that_does_not_serve_is_told() {
    let home = tempfile::tempdir().unwrap();
    let output = soak(home.path(), "echo no way >&2; exit 2\n", &[]);
    let words = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(
        words.contains("ended instead of serving\nno way"),
        "{words}"
    );
}
