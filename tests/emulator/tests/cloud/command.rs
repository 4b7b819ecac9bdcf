//! The command itself, run as people run it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

fn emulator(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_arc-emulator"));
    command.args(arguments);
    command
}

fn run(arguments: &[&str]) -> Output {
    emulator(arguments).output().unwrap()
}

fn send(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// Reads standard output up to the line that has `text`.
fn read_until(child: &mut Child, text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for line in BufReader::new(child.stdout.as_mut().unwrap()).lines() {
        lines.push(line.unwrap());
        if lines.last().unwrap().contains(text) {
            return lines;
        }
    }
    panic!("no {text:?} in {lines:?}");
}

#[test]
fn a_command_finds_everything_set_and_its_status_is_passed_on() {
    let script = "cat \"$ARCPROXY_CLOUD\"; echo \"$KUBECONFIG $AZURE_CLIENT_ID\" >&2; exit 7";
    let output = emulator(&["exec", "--", "sh", "-c", script])
        .env("KUBECONFIG", "/mine")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(7));
    let cloud: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(cloud["name"], "emulator");
    let words = String::from_utf8(output.stderr).unwrap();
    let (kubeconfig, client_id) = words.trim().split_once(' ').unwrap();
    assert_eq!(kubeconfig, "/mine");
    assert_eq!(client_id.len(), 36);
    assert!(!std::path::Path::new(cloud["caFile"].as_str().unwrap()).exists());
}

#[test]
fn a_command_that_cannot_run_or_dies_is_told_as_a_shell_tells_it() {
    let output = run(&["exec", "--", "/nonexistent/command"]);
    assert_eq!(output.status.code(), Some(127));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        error.starts_with("error: cannot run /nonexistent/command: "),
        "{error}"
    );
    let output = run(&["exec", "--", "/"]);
    assert_eq!(output.status.code(), Some(126));
    let output = run(&["exec", "--", "sh", "-c", "kill -KILL $$"]);
    assert_eq!(output.status.code(), Some(128 + 9));
}

#[test]
fn signals_reach_the_command() {
    for (signal, name) in [(Signal::TERM, "TERM"), (Signal::INT, "INT")] {
        let script = format!("trap 'exit 9' {name}; echo ready; while :; do sleep 0.1; done");
        let mut child = emulator(&["exec", "--", "sh", "-c", &script])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        read_until(&mut child, "ready");
        send(&child, signal);
        assert_eq!(child.wait().unwrap().code(), Some(9), "{name}");
    }
}

#[test]
fn serving_prints_what_to_set_and_ends_cleanly() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut child = emulator(&["--rtt", "1ms"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = read_until(&mut child, "arcproxy -n edge-demo -g demo");
        let cloud = lines
            .iter()
            .find_map(|line| line.strip_prefix("export ARCPROXY_CLOUD="))
            .unwrap();
        assert!(std::path::Path::new(cloud).is_file());
        for name in [
            "AZURE_TENANT_ID",
            "AZURE_CLIENT_SECRET",
            "ARC_EMULATOR_CONTROL",
        ] {
            let export = format!("export {name}=");
            assert!(lines.iter().any(|line| line.starts_with(&export)), "{name}");
        }
        send(&child, signal);
        assert!(child.wait().unwrap().success());
        assert!(!std::path::Path::new(cloud).exists());
    }
}

/// What the control endpoint of a running command answers to `GET path`.
fn ask(control: &str, path: &str) -> Value {
    let (authority, token) = control
        .strip_prefix("http://")
        .and_then(|rest| rest.split_once('/'))
        .unwrap();
    let mut tcp = TcpStream::connect(authority).unwrap();
    let request =
        format!("GET /{token}{path} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n\r\n");
    tcp.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap()
}

#[test]
fn flags_are_where_the_control_endpoint_begins() {
    let flags = ["--dialect", "bridge", "--no-h2", "--rtt", "1ms", "--seed=5"];
    let mut child = emulator(&flags).stdout(Stdio::piped()).spawn().unwrap();
    let lines = read_until(&mut child, "arcproxy -n edge-demo -g demo");
    let control = lines
        .iter()
        .find_map(|line| line.strip_prefix("export ARC_EMULATOR_CONTROL="))
        .unwrap();
    let faults = ask(control, "/faults");
    for (field, value) in [
        ("dialect", json!("bridge")),
        ("no_h2", json!(true)),
        ("no_http1", json!(false)),
        ("rtt_ms", json!(1)),
    ] {
        assert_eq!(faults[field], value, "{field}");
    }
    assert_eq!(ask(control, "/seed"), json!({ "seed": 5 }));
    send(&child, Signal::TERM);
    assert!(child.wait().unwrap().success());
}

#[test]
fn an_upstream_of_no_use_is_an_error_and_not_a_start() {
    let mut child = emulator(&["--upstream", "/nonexistent/kubeconfig"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    let mut error = String::new();
    child.stderr.unwrap().read_to_string(&mut error).unwrap();
    assert!(error.contains("/nonexistent/kubeconfig"), "{error}");
}
