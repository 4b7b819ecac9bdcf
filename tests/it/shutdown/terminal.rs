//! A terminal that is closed, with arcproxy on it.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout};
use tokio::time::timeout;

use super::{is_gone, names, until};
use crate::harness::{DEADLINE, World};

/// arcproxy on a terminal of its own, which `script` gives it.
struct Terminal {
    script: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// arcproxy's process.
    pid: String,
}

impl Terminal {
    async fn open(world: &World, arguments: &str) -> Self {
        let arcproxy = env!("CARGO_BIN_EXE_arcproxy");
        let line = format!(
            "echo pid $$; exec /usr/bin/env --default-signal=INT,TERM,HUP {arcproxy} -n edge-demo -g demo {arguments}"
        );
        let mut script = world
            .command("script")
            .args(["-qec", &line, "/dev/null"])
            .env("TMPDIR", world.path("tmp"))
            .env("SHELL", "/bin/sh")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(script.stdout.take().unwrap()).lines();
        let pid = String::new();
        let mut terminal = Self { script, lines, pid };
        terminal.pid = terminal.word_after("pid ").await;
        terminal
    }

    /// What follows `start` on the next line that has it.
    async fn word_after(&mut self, start: &str) -> String {
        loop {
            let line = timeout(DEADLINE, self.lines.next_line()).await;
            let line = line.expect("a line in time").unwrap().expect("it goes on");
            if let Some((_, word)) = line.split_once(start) {
                return word.trim().to_owned();
            }
        }
    }

    /// Closes the terminal under what runs on it, without a word.
    async fn close(mut self) {
        self.script.kill().await.unwrap();
        until("arcproxy has ended", || is_gone(&self.pid)).await;
    }
}

fn world_with_tmp(world: World) -> World {
    std::fs::create_dir(world.path("tmp")).unwrap();
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_ends_with_its_terminal() {
    let world = world_with_tmp(World::new().await);
    let mut terminal = Terminal::open(&world, "").await;
    let port = terminal.word_after("Proxy is listening on port ").await;
    terminal.word_after("Press Ctrl+C").await;
    let address = format!("127.0.0.1:{port}");
    assert!(std::net::TcpStream::connect(&address).is_ok());
    terminal.close().await;
    assert!(std::net::TcpStream::connect(&address).is_err());
    assert_eq!(names(&world.path("tmp")), [""; 0]);
    assert_eq!(names(&world.path(".kube")), ["config"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_ends_with_its_terminal() {
    let world = world_with_tmp(World::new().await);
    let command = "-- sh -c 'echo child $$; while read word; do :; done; sleep 1000'";
    let mut terminal = Terminal::open(&world, command).await;
    let child = terminal.word_after("child ").await;
    assert_eq!(names(&world.path("tmp")).len(), 1);
    terminal.close().await;
    until("the command has ended", || is_gone(&child)).await;
    assert_eq!(names(&world.path("tmp")), [""; 0]);
}
