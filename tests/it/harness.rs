//! What the tests stand on: an emulator, the binary, kubectl, and the reading of what they print.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_emulator::emulator::{Builder, Emulator};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::secrets::Secrets;

/// How long anything may take before the test is taken for hung.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);

/// An emulator and a home folder of the test's own.
pub(crate) struct World {
    pub(crate) emulator: Emulator,
    home: TempDir,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(Emulator::builder()).await
    }

    pub(crate) async fn with(builder: Builder) -> Self {
        let emulator = builder.start().await.unwrap();
        Self {
            emulator,
            home: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Where kubectl looks when nothing says otherwise.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.path(".kube/config")
    }

    pub(crate) fn service_account_token(&self) -> String {
        let environment = self.emulator.env();
        environment
            .into_iter()
            .find(|(name, _)| name == "ARC_EMULATOR_SA_TOKEN")
            .unwrap()
            .1
    }

    /// A command that sees the emulator's environment and this home, and nothing of the caller's
    /// but the PATH.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.home())
            .envs(self.emulator.env())
            // Tests run side by side: none may take az's port.
            .env("ARCPROXY_PORT", "0")
            .current_dir(self.home())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// arcproxy, with no signal ignored, however the tests were started.
    pub(crate) fn arcproxy(&self, arguments: &[&str]) -> Command {
        self.arcproxy_with("--default-signal=INT,TERM,HUP", arguments)
    }

    /// arcproxy behind `env` with one of its options for signals.
    pub(crate) fn arcproxy_with(&self, signals: &str, arguments: &[&str]) -> Command {
        let mut command = self.command("/usr/bin/env");
        command
            .args([signals, env!("CARGO_BIN_EXE_arcproxy")])
            .args(arguments);
        command
    }

    /// Runs arcproxy to its end.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(&mut self.arcproxy(arguments)).await
    }

    /// Starts arcproxy for `edge-demo` and waits until it says that kubectl may begin.
    pub(crate) async fn proxy(&self, arguments: &[&str]) -> Proxy {
        let all = [&["-n", "edge-demo", "-g", "demo"], arguments].concat();
        Proxy::start(self.arcproxy(&all)).await
    }

    /// A kubectl that goes through whatever arcproxy wrote.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Command {
        let mut command = self.command("kubectl");
        command.args(arguments);
        command
    }

    /// A kubectl that goes straight to the apiserver.
    pub(crate) fn direct(&self, arguments: &[&str]) -> Command {
        let mut command = self.kubectl(arguments);
        command.env("KUBECONFIG", self.emulator.admin_kubeconfig().unwrap());
        command
    }
}

/// A program that has ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) async fn of(command: &mut Command) -> Self {
        let output = timeout(DEADLINE, command.output()).await;
        let ran = Self::read(&output.expect("it ends in time").unwrap());
        if let Some(secrets) = Secrets::of_arcproxy(command) {
            secrets.assert_absent(&[&ran.stdout, &ran.stderr]);
        }
        ran
    }

    fn read(output: &Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Asserts success and gives stdout.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(
            self.code,
            Some(0),
            "stdout: {}\nstderr: {}",
            self.stdout,
            self.stderr
        );
        self.stdout
    }

    /// Asserts that arcproxy failed with `code`, said each of `words`, and gave a hint.
    #[track_caller]
    pub(crate) fn failed(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "stdout: {}\nstderr: {}",
            self.stdout,
            self.stderr
        );
        for word in words.iter().chain(&["error: ", "\n\nhint: "]) {
            assert!(
                self.stderr.contains(word),
                "{word:?} is not in: {}",
                self.stderr
            );
        }
        self
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let ran = Self::read(&output);
        Secrets::default().assert_absent(&[&ran.stdout, &ran.stderr]);
        ran
    }
}

/// An arcproxy that serves. What it printed is searched for secrets when this is dropped.
pub(crate) struct Proxy {
    child: Child,
    stdout: BufReader<ChildStdout>,
    /// Ends when stderr does.
    reading: JoinHandle<()>,
    stderr: Arc<Mutex<String>>,
    secrets: Secrets,
    /// The lines of stdout up to the last one that az's proxy prints.
    pub(crate) lines: Vec<String>,
}

impl Proxy {
    pub(crate) async fn start(mut command: Command) -> Self {
        let secrets = Secrets::of_arcproxy(&command).unwrap_or_default();
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut errors = child.stderr.take().unwrap();
        let stderr = Arc::new(Mutex::new(String::new()));
        let printed = stderr.clone();
        let reading = tokio::spawn(async move {
            let mut bytes = Vec::new();
            while errors.read_buf(&mut bytes).await.unwrap() > 0 {
                *printed.lock().unwrap() = String::from_utf8_lossy(&bytes).into_owned();
            }
        });
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut proxy = Self {
            child,
            stdout,
            reading,
            stderr,
            secrets,
            lines: Vec::new(),
        };
        while proxy
            .lines
            .last()
            .is_none_or(|line| !line.starts_with("Press Ctrl+C"))
        {
            let Some(line) = proxy.line().await else {
                (&mut proxy.reading).await.unwrap();
                panic!("arcproxy ended: {}", proxy.printed());
            };
            proxy.lines.push(line);
        }
        proxy
    }

    /// The next line of stdout; `None` at its end.
    pub(crate) async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = timeout(DEADLINE, self.stdout.read_line(&mut line))
            .await
            .expect("a line in time");
        (read.unwrap() > 0).then(|| line.trim_end().to_owned())
    }

    pub(crate) fn port(&self) -> u16 {
        let line = self
            .lines
            .iter()
            .find(|line| line.starts_with("Proxy is listening on port"));
        line.unwrap().rsplit(' ').next().unwrap().parse().unwrap()
    }

    /// The process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        let sent = std::process::Command::new("kill")
            .args(["-s", name, &pid])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    /// Waits for its end; gives its exit code and stderr.
    pub(crate) async fn ended(mut self) -> (Option<i32>, String) {
        let status = timeout(DEADLINE, self.child.wait())
            .await
            .expect("it ends in time")
            .unwrap();
        (&mut self.reading).await.unwrap();
        (status.code(), self.printed())
    }

    /// What it has written to stderr so far.
    fn printed(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let lines = self.lines.join("\n");
            self.secrets.assert_absent(&[&lines, &self.printed()]);
        }
    }
}
