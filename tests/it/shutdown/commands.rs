//! `-- COMMAND`, however arcproxy ends.

use std::process::Stdio;
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::timeout;

use super::{is_gone, names, send, until};
use crate::harness::{DEADLINE, Ran, World};

const RUN: [&str; 5] = ["-n", "edge-demo", "-g", "demo", "--"];

/// Starts `command`, whose stdout is to begin with the process id of what it runs. Its stdin goes on
/// for as long as what is given back.
async fn started(command: &mut Command) -> (Child, ChildStdin, String) {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = timeout(DEADLINE, lines.next_line()).await;
    let pid = line.expect("a line in time").unwrap().unwrap();
    assert!(!is_gone(&pid));
    // Waiting for a child would close it.
    let stdin = child.stdin.take().unwrap();
    (child, stdin, pid)
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn the_command_ends_with_an_arcproxy_that_is_killed() {
    let world = World::new().await;
    // Waits for an input that does not come: its other end is this test's.
    let script = ["sh", "-c", "echo $$; read word"];
    let (mut arcproxy, _stdin, pid) =
        started(&mut world.arcproxy(&[&RUN[..], &script].concat())).await;
    arcproxy.start_kill().unwrap();
    until("the command has ended", || is_gone(&pid)).await;
    arcproxy.wait().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_the_command_itself_that_runs() {
    let world = World::new().await;
    // Its name, its arguments as they are, and its parent is arcproxy.
    let script = "echo \"$0|$1|$2\"; tr '\\0' '|' <\"/proc/$PPID/cmdline\"";
    let arguments = [&RUN[..], &["sh", "-c", script, "name", "", "--x y"]].concat();
    let printed = world.run(&arguments).await.ok();
    let (own, parents) = printed.split_once('\n').unwrap();
    assert_eq!(own, "name||--x y");
    assert!(
        parents.contains("|-n|edge-demo|-g|demo|--|sh|-c|"),
        "{parents}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_in_the_temporary_folder() {
    for (signal, code) in [("TERM", 143), ("HUP", 129), ("INT", 130)] {
        let world = World::new().await;
        let temporary = world.path("tmp");
        std::fs::create_dir(&temporary).unwrap();
        let script = ["sh", "-c", "echo $$; read word"];
        let mut command = world.arcproxy(&[&RUN[..], &script].concat());
        let (mut arcproxy, _stdin, pid) = started(command.env("TMPDIR", &temporary)).await;
        assert_eq!(names(&temporary).len(), 1);
        send(signal, &arcproxy.id().unwrap().to_string());
        let status = timeout(DEADLINE, arcproxy.wait()).await;
        let status = status.expect("it ends").unwrap();
        assert_eq!(status.code(), Some(code), "{signal}");
        assert!(is_gone(&pid));
        assert_eq!(names(&temporary), [""; 0], "{signal}");
    }
}

/// Killed, it has no time to tidy up: the next run does.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_run_left_is_removed_by_the_next() {
    let world = World::new().await;
    let temporary = world.path("tmp");
    std::fs::create_dir(&temporary).unwrap();
    let start = async || {
        let script = ["sh", "-c", "echo $$; read word"];
        let mut command = world.arcproxy(&[&RUN[..], &script].concat());
        started(command.env("TMPDIR", &temporary)).await
    };
    let (mut killed, _input, pid) = start().await;
    let left = names(&temporary);
    let (mut alive, mut stdin, _) = start().await;
    killed.start_kill().unwrap();
    killed.wait().await.unwrap();
    until("the command has ended", || is_gone(&pid)).await;
    // As old as those of runs that last for weeks, and something else's.
    std::fs::write(temporary.join("other"), "").unwrap();
    let long_ago = SystemTime::now() - Duration::from_mins(2);
    for name in names(&temporary) {
        let path = temporary.join(name);
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.set_modified(long_ago).unwrap();
    }
    let all = names(&temporary);
    assert_eq!(all.len(), 3);
    let mut next = world.arcproxy(&[&RUN[..], &["true"]].concat());
    Ran::of(next.env("TMPDIR", &temporary)).await.ok();
    let stay: Vec<_> = all
        .into_iter()
        .filter(|name| !left.contains(name))
        .collect();
    assert_eq!(names(&temporary), stay);
    stdin.write_all(b"\n").await.unwrap();
    let status = timeout(DEADLINE, alive.wait()).await;
    assert!(status.expect("it ends").unwrap().success());
    assert_eq!(names(&temporary), ["other"]);
}
