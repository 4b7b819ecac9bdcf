//! The real kubectl against the emulated apiserver.
//!
//! Every test has a cluster of its own: starting one takes a fraction of a second, and tests that
//! change things do not see each other. Without a kubectl on the path the tests fail.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod applying;
mod reading;
mod rollouts;
mod writing;

use std::process::Stdio;

use arc_emulator::apiserver::{ApiServer, ApiServerConfig};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// A cluster and what kubectl needs to talk to it.
struct Cluster {
    server: ApiServer,
    home: tempfile::TempDir,
}

/// What a command printed, standard error after standard output.
struct Printed {
    text: String,
    success: bool,
}

impl Cluster {
    async fn start() -> Self {
        let server = ApiServer::start(ApiServerConfig::default()).await.unwrap();
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("config"), server.admin_kubeconfig()).unwrap();
        Self { server, home }
    }

    /// A command that has a home, and so a discovery cache, of its own.
    fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new("kubectl");
        command
            .args(arguments.split_whitespace())
            .env("HOME", self.home.path())
            .env("KUBECONFIG", self.home.path().join("config"))
            .env_remove("HTTPS_PROXY")
            .env_remove("https_proxy")
            .current_dir(self.home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Runs a command that is to succeed.
    async fn ok(&self, arguments: &str) -> String {
        let printed = finish(self.command(arguments), "").await;
        assert!(printed.success, "kubectl {arguments}: {}", printed.text);
        printed.text
    }

    /// Runs a command that is to fail.
    async fn refused(&self, arguments: &str) -> String {
        let printed = finish(self.command(arguments), "").await;
        assert!(!printed.success, "kubectl {arguments}: {}", printed.text);
        printed.text
    }

    /// Runs a command with `input` on standard input.
    async fn piped(&self, arguments: &str, input: &str) -> Printed {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped());
        finish(command, input).await
    }
}

async fn finish(mut command: Command, input: &str) -> Printed {
    let mut child = command.spawn().unwrap();
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).await.unwrap();
    }
    let output = child.wait_with_output().await.unwrap();
    let mut text = String::from_utf8(output.stdout).unwrap();
    text.push_str(&String::from_utf8(output.stderr).unwrap());
    Printed {
        text,
        success: output.status.success(),
    }
}

fn assert_has(text: &str, wanted: &[&str]) {
    for wanted in wanted {
        assert!(text.contains(wanted), "{wanted:?} is not in:\n{text}");
    }
}

/// The words of each line.
fn rows(text: &str) -> Vec<Vec<&str>> {
    text.lines()
        .map(|line| line.split_whitespace().collect())
        .collect()
}
