//! The real kubectl through arcproxy, compared with the same command sent straight to the
//! apiserver: as an Entra identity and as a service account, over WebSocket and over SPDY.
//!
//! What only reads goes both ways to one cluster; what changes something, to two that began
//! equal. Exit code, stdout and stderr must be equal then, but for what `normal` names.

mod changes;
mod normal;
mod reads;
mod streams;
mod terminal;
mod waits;

use std::path::PathBuf;
use std::process::Stdio;

use arc_emulator::entra::DemoApp;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::harness::{DEADLINE, Proxy, Ran, World};

/// As whom.
#[derive(Clone, Copy)]
enum Mode {
    Aad,
    Token,
}

struct Session {
    /// The cluster behind arcproxy.
    world: World,
    /// The cluster to which the direct way leads, if it is another one.
    twin: Option<World>,
    /// The direct way, as the same identity.
    kubeconfig: PathBuf,
    /// What the two ways call the server.
    servers: [String; 2],
    _proxy: Proxy,
}

impl Session {
    /// Both ways lead to one cluster.
    async fn open(mode: Mode) -> Self {
        Self::of(mode, World::new().await, None).await
    }

    /// The two ways lead to two clusters in equal state.
    async fn twins(mode: Mode) -> Self {
        let (world, twin) = tokio::join!(World::new(), World::new());
        Self::of(mode, world, Some(twin)).await
    }

    async fn of(mode: Mode, world: World, twin: Option<World>) -> Self {
        let mut arcproxy = world.arcproxy(&["-n", "edge-demo", "-g", "demo"]);
        let direct = twin.as_ref().unwrap_or(&world);
        let token = direct.service_account_token();
        if let Mode::Token = mode {
            let token = match &twin {
                Some(_) => world.service_account_token(),
                // Each token has an id of its own, which `auth whoami` shows.
                None => token.clone(),
            };
            arcproxy.env("ARCPROXY_TOKEN", token);
        }
        let proxy = Proxy::start(arcproxy).await;

        let apiserver = direct.emulator.apiserver().unwrap();
        let user = match mode {
            Mode::Token => format!("token: {token}"),
            Mode::Aad => {
                let id = direct.emulator.entra().credentials(DemoApp::Demo).object_id;
                let admin = apiserver.admin_token();
                format!("token: {admin}\n    as: {id}\n    as-user-extra: {{oid: [{id}]}}")
            }
        };
        let admin = apiserver.admin_kubeconfig();
        let same = admin.replace(&format!("token: {}", apiserver.admin_token()), &user);
        let kubeconfig = direct.path("direct.yaml");
        std::fs::write(&kubeconfig, same).unwrap();

        let merged = std::fs::read_to_string(world.kubeconfig()).unwrap();
        let served = merged.split("server: ").nth(1).unwrap().lines().next();
        let servers = [served.unwrap().to_owned(), apiserver.url()];
        Self {
            world,
            twin,
            kubeconfig,
            servers,
            _proxy: proxy,
        }
    }

    fn through(&self, arguments: &[&str]) -> Command {
        self.world.kubectl(arguments)
    }

    fn direct(&self, arguments: &[&str]) -> Command {
        let mut command = self.twin().kubectl(arguments);
        command.env("KUBECONFIG", &self.kubeconfig);
        command
    }

    fn both(&self, line: &str) -> [Command; 2] {
        self.both_of(&line.split_whitespace().collect::<Vec<_>>())
    }

    fn both_of(&self, arguments: &[&str]) -> [Command; 2] {
        [self.through(arguments), self.direct(arguments)]
    }

    /// The cluster that the direct way leads to.
    fn twin(&self) -> &World {
        self.twin.as_ref().unwrap_or(&self.world)
    }

    /// A file of that name wherever kubectl runs.
    fn write(&self, name: &str, text: &str) {
        for world in [&self.world, self.twin()] {
            std::fs::write(world.path(name), text).unwrap();
        }
    }

    /// Runs the command both ways, asserts that they end equally and well, and gives stdout.
    async fn same(&self, line: &str) -> String {
        self.same_of(line, self.both(line)).await.ok()
    }

    /// Runs the command both ways, asserts that both are refused in the same words, and gives
    /// them.
    async fn refused(&self, line: &str) -> String {
        let ran = self.same_of(line, self.both(line)).await;
        assert_ne!(ran.code, Some(0), "kubectl {line}");
        ran.stderr
    }

    /// Runs two commands and asserts that they end equally.
    async fn same_of(&self, what: &str, [mut through, mut direct]: [Command; 2]) -> Ran {
        let (through, direct) = tokio::join!(Ran::of(&mut through), Ran::of(&mut direct));
        assert_eq!(
            through.code, direct.code,
            "kubectl {what}\n{}\n{}",
            through.stderr, direct.stderr
        );
        self.assert_equal(what, [&through.stdout, &direct.stdout]);
        self.assert_equal(what, [&through.stderr, &direct.stderr]);
        through
    }

    #[track_caller]
    fn assert_equal(&self, what: &str, texts: [impl AsRef<str>; 2]) {
        let [through, direct] = texts.map(|text| {
            let text = self
                .servers
                .iter()
                .fold(text.as_ref().to_owned(), |text, server| {
                    text.replace(server, "SERVER")
                });
            let text = normal::ageless(&text);
            match self.twin {
                Some(_) => normal::of_any_cluster(&text),
                None => text,
            }
        });
        assert_eq!(through, direct, "kubectl {what}");
    }
}

/// A program whose output is read line by line.
struct Reading {
    lines: tokio::io::Lines<BufReader<Box<dyn AsyncRead + Send + Unpin>>>,
    read: Vec<String>,
    child: Child,
}

impl Reading {
    /// Reads stdout.
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        Self::of(child, Box::new(stdout))
    }

    /// Reads stderr; the output is left to [`Self::ended`].
    fn start_errors(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = child.stderr.take().unwrap();
        Self::of(child, Box::new(stderr))
    }

    fn of(child: Child, output: Box<dyn AsyncRead + Send + Unpin>) -> Self {
        Self {
            lines: BufReader::new(output).lines(),
            read: Vec::new(),
            child,
        }
    }

    /// Reads until a line contains `text`.
    async fn until(&mut self, text: &str) -> &str {
        let reading = async {
            loop {
                let line = self.lines.next_line().await.unwrap().expect("it goes on");
                let found = line.contains(text);
                self.read.push(line);
                if found {
                    break;
                }
            }
        };
        timeout(DEADLINE, reading).await.expect("the line comes");
        self.read.last().unwrap()
    }

    /// What Ctrl+C does.
    fn interrupt(&self) {
        let pid = self.child.id().unwrap().to_string();
        let sent = std::process::Command::new("kill")
            .args(["-s", "INT", &pid])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    /// Reads to the end; gives the exit code and all that went to stdout.
    async fn ended(mut self) -> (Option<i32>, String) {
        let ending = async {
            while let Some(line) = self.lines.next_line().await.unwrap() {
                self.read.push(line);
            }
            self.child.wait_with_output().await.unwrap()
        };
        let output = timeout(DEADLINE, ending).await.expect("it ends");
        // Empty if the lines came from there.
        let rest = String::from_utf8(output.stdout).unwrap();
        let text = if rest.is_empty() {
            self.read.join("\n")
        } else {
            rest
        };
        (output.status.code(), text)
    }
}
