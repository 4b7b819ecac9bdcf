//! The real kubectl through arcproxy, compared with the same command sent straight to the
//! apiserver: as an Entra identity and as a service account, over WebSocket and over SPDY.

mod changes;
mod reads;
mod streams;

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::harness::{DEADLINE, Proxy, Ran, World};

/// As whom, and how kubectl streams.
#[derive(Clone, Copy)]
enum Mode {
    Aad,
    Token,
}

struct Session {
    world: World,
    mode: Mode,
    /// What the identity may see: everything, or the namespace `demo`.
    _proxy: Proxy,
}

impl Session {
    async fn open(mode: Mode) -> Self {
        let world = World::new().await;
        let token = world.service_account_token();
        let proxy = match mode {
            Mode::Aad => world.proxy(&[]).await,
            Mode::Token => {
                let mut command = world.arcproxy(&["-n", "edge-demo", "-g", "demo"]);
                command.env("ARCPROXY_TOKEN", token);
                Proxy::start(command).await
            }
        };
        Self {
            world,
            mode,
            _proxy: proxy,
        }
    }

    fn direct(&self, arguments: &[&str]) -> Command {
        let mut command = self.world.direct(arguments);
        if let Mode::Token = self.mode {
            command.args(["--token", &self.world.service_account_token()]);
        }
        command
    }

    async fn through(&self, arguments: &[&str]) -> Ran {
        Ran::of(&mut self.world.kubectl(arguments)).await
    }

    /// Runs the command both ways and asserts that it did the same.
    async fn same(&self, arguments: &[&str]) -> String {
        let through = self.through(arguments).await;
        let direct = Ran::of(&mut self.direct(arguments)).await;
        let what = format!("kubectl {}", arguments.join(" "));
        assert_eq!(
            through.code, direct.code,
            "{what}\n{}\n{}",
            through.stderr, direct.stderr
        );
        assert_eq!(ageless(&through.stdout), ageless(&direct.stdout), "{what}");
        assert_eq!(ageless(&through.stderr), ageless(&direct.stderr), "{what}");
        through.stdout
    }
}

/// Ages are told in seconds and go on between two commands.
fn ageless(text: &str) -> String {
    let is_age = |word: &str| {
        let word = word.trim_matches(|c: char| "()".contains(c));
        word.ends_with(['s', 'm', 'h', 'd'])
            && word.starts_with(|c: char| c.is_ascii_digit())
            && word
                .chars()
                .all(|c| c.is_ascii_digit() || "smhd".contains(c))
    };
    let words = |line: &str| {
        line.split_whitespace()
            .map(|word| if is_age(word) { "AGE" } else { word })
            .collect::<Vec<_>>()
            .join(" ")
    };
    text.lines().map(words).collect::<Vec<_>>().join("\n")
}

/// A program whose stdout is read line by line.
struct Reading {
    lines: tokio::io::Lines<BufReader<tokio::process::ChildStdout>>,
    _child: Child,
}

impl Reading {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self {
            lines,
            _child: child,
        }
    }

    /// Reads until a line contains `text`.
    async fn until(&mut self, text: &str) -> String {
        let reading = async {
            loop {
                let line = self.lines.next_line().await.unwrap().expect("it goes on");
                if line.contains(text) {
                    return line;
                }
            }
        };
        timeout(DEADLINE, reading).await.expect("the line comes")
    }
}
