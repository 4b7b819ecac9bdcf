//! `kubectl proxy`, the peer that many people have.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::Result;
use crate::process::Process;

const DEADLINE: Duration = Duration::from_secs(30);

/// A running `kubectl proxy`; dropping it ends it.
#[derive(Debug)]
pub(crate) struct KubectlProxy {
    pub(crate) address: SocketAddr,
    child: Child,
    _stdout: Lines<BufReader<ChildStdout>>,
}

impl KubectlProxy {
    /// Starts it before the cluster of `kubeconfig`; `None` where kubectl is not installed.
    pub(crate) async fn start(kubeconfig: &Path) -> Result<Option<Self>> {
        let spawned = Command::new("kubectl")
            .args(["proxy", "--port=0", "--kubeconfig"])
            .arg(kubeconfig)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        let Ok(mut child) = spawned else {
            return Ok(None);
        };
        let stdout = child.stdout.take().ok_or("no stdout")?;
        let mut lines = BufReader::new(stdout).lines();
        // "Starting to serve on 127.0.0.1:40317"
        let line = timeout(DEADLINE, lines.next_line()).await??;
        let line = line.ok_or("kubectl proxy ended")?;
        let address = line.rsplit(' ').next().unwrap_or_default().parse()?;
        Ok(Some(Self {
            address,
            child,
            _stdout: lines,
        }))
    }

    /// The process.
    pub(crate) fn process(&self) -> Result<Process> {
        Process::of(&self.child)
    }
}
