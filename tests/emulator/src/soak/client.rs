//! The client under test, in a process of its own.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use arc_emulator::emulator::{DEMO_CLUSTER, DEMO_GROUP, Emulator};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use super::Error;
use super::endpoint::Endpoint;
use super::names::Names;
use super::process::Process;

/// How long it may take to start, and to end.
const DEADLINE: Duration = Duration::from_mins(1);
/// How long one that has lost its memory may take to be dead.
const DYING: Duration = Duration::from_secs(1);
/// The last line before it serves; by then a request has gone through the tunnel and back.
const READY: &str = "Press Ctrl+C";

/// A running client. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Client {
    child: Child,
    /// Kept open: it may say more.
    stdout: Lines<BufReader<ChildStdout>>,
    home: TempDir,
    log: PathBuf,
}

impl Client {
    /// Starts `binary` for the demo cluster and waits until it serves. It knows the emulator by
    /// `names`, where there are any, and writes its log, with all details, to `log` if there is one.
    pub(crate) async fn start(
        binary: &Path,
        emulator: &Emulator,
        names: Option<&Names>,
        log: Option<&Path>,
    ) -> Result<Self, Error> {
        let binary = std::fs::canonicalize(binary)
            .map_err(|error| format!("cannot run {}: {error}", binary.display()))?;
        let home = tempfile::tempdir()?;
        let details = log.is_some().then_some("--debug");
        let log = log.map_or_else(|| home.path().join("stderr"), Path::to_owned);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let words = names.into_iter().flat_map(Names::way);
        let mut words = words.chain([binary.into_os_string()]);
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words);
        let cloud = names.map(|names| ("ARCPROXY_CLOUD", names.cloud()));
        let mut child = command
            .args(["-n", DEMO_CLUSTER, "-g", DEMO_GROUP, "--port", "0"])
            .args(details)
            .arg("--file")
            .arg(home.path().join("kubeconfig"))
            .env_clear()
            .env("PATH", path)
            .env("HOME", home.path())
            .envs(emulator.env())
            .envs(cloud)
            .current_dir(home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log)?)
            .kill_on_drop(true)
            // Ctrl+C is for the soak, which ends the client in good order.
            .process_group(0)
            .spawn()?;
        let stdout = child.stdout.take().ok_or("the client has no stdout")?;
        let mut client = Self {
            child,
            stdout: BufReader::new(stdout).lines(),
            home,
            log,
        };
        match timeout(DEADLINE, client.ready()).await {
            Ok(true) => Ok(client),
            Ok(false) => Err(client.last_words("ended instead of serving").into()),
            Err(_) => Err(client.last_words("does not come to serve").into()),
        }
    }

    async fn ready(&mut self) -> bool {
        while let Ok(Some(line)) = self.stdout.next_line().await {
            if line.starts_with(READY) {
                return true;
            }
        }
        false
    }

    /// Where it listens.
    pub(crate) fn endpoint(&self) -> Result<Endpoint, Error> {
        Endpoint::read(&self.home.path().join("kubeconfig"))
    }

    /// The process.
    pub(crate) fn process(&self) -> Result<Process, Error> {
        Ok(Process::of(self.child.id().ok_or("the client has ended")?))
    }

    /// What there is to say once it has ended, which it must not by itself.
    pub(crate) async fn death(&mut self) -> Option<String> {
        let ended = timeout(DYING, self.child.wait()).await.ok()?.ok()?;
        Some(self.last_words(&format!("ended by itself: {ended}")))
    }

    fn last_words(&self, what: &str) -> String {
        let said = std::fs::read(&self.log).unwrap_or_default();
        let said = String::from_utf8_lossy(&said[said.len().saturating_sub(2_000)..]).into_owned();
        format!("the client {what}\n{said}")
    }

    /// Ends it the way people do. Gives what is wrong with how it ended.
    pub(crate) async fn stop(mut self) -> Result<Option<String>, Error> {
        let id = self.child.id().ok_or("the client has ended")?;
        let id = Pid::from_raw(i32::try_from(id)?).ok_or("no process has the id 0")?;
        kill_process(id, Signal::TERM)?;
        Ok(match timeout(DEADLINE, self.child.wait()).await {
            Ok(status) => {
                let status = status?;
                (!status.success()).then(|| self.last_words(&format!("ended with {status}")))
            }
            Err(_) => Some(self.last_words("does not end")),
        })
    }
}
