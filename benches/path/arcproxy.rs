//! arcproxy, in a process of its own.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::Result;
use crate::kubeconfig::Endpoint;
use crate::process::Process;

/// How long a start or an end may take before the harness is taken for broken.
const DEADLINE: Duration = Duration::from_secs(30);
/// The last line before it serves; by then a request has gone through the tunnel and back.
const READY: &str = "Press Ctrl+C";

/// A running arcproxy; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Arcproxy {
    child: Child,
    /// Kept open: arcproxy may say more.
    _stdout: Lines<BufReader<ChildStdout>>,
    pub(crate) endpoint: Endpoint,
    /// What the start took.
    pub(crate) ready_after: Duration,
    /// And how much CPU time.
    pub(crate) startup_cpu: Duration,
}

impl Arcproxy {
    /// Starts `binary` with `home` as its user's home folder and waits until it serves.
    pub(crate) async fn start(
        binary: &Path,
        environment: &[(String, String)],
        home: &Path,
    ) -> Result<Self> {
        let kubeconfig = home.join("kubeconfig");
        let log = home.join("stderr");
        let mut command = Command::new(binary);
        command
            .args(["-n", "edge-demo", "-g", "demo", "--port", "0", "--file"])
            .arg(&kubeconfig)
            .env_clear()
            .env("HOME", home)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .current_dir(home)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log)?)
            .kill_on_drop(true);
        let started = Instant::now();
        let mut child = command.spawn()?;
        let stdout = child.stdout.take().ok_or("no stdout")?;
        let mut lines = BufReader::new(stdout).lines();
        let ready = async {
            while let Some(line) = lines.next_line().await? {
                if line.starts_with(READY) {
                    return Result::Ok(());
                }
            }
            let why = std::fs::read_to_string(&log)?;
            Err(format!("arcproxy ended: {why}").into())
        };
        timeout(DEADLINE, ready).await??;
        let ready_after = started.elapsed();
        let startup_cpu = Process::of(&child)?.cpu()?;
        Ok(Self {
            child,
            _stdout: lines,
            endpoint: Endpoint::read(&kubeconfig)?,
            ready_after,
            startup_cpu,
        })
    }

    /// The process.
    pub(crate) fn process(&self) -> Result<Process> {
        Process::of(&self.child)
    }

    /// Ends it the way people do. Connections are to be closed before: it waits for them.
    pub(crate) async fn stop(mut self) -> Result<()> {
        terminate(&mut self.child).await
    }
}

/// Asks `child` to end and waits until it has.
pub(crate) async fn terminate(child: &mut Child) -> Result<()> {
    let id = child.id().ok_or("the process has ended by itself")?;
    let id = Pid::from_raw(i32::try_from(id)?).ok_or("no process has the id 0")?;
    kill_process(id, Signal::TERM)?;
    timeout(DEADLINE, child.wait()).await??;
    Ok(())
}
