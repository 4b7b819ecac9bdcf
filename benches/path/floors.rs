//! Paths of forwarders alone, which show what no program in their place can be better than.

use std::env;
use std::process::Stdio;
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::Result;
use crate::far::Far;
use crate::forwarder::Role;
use crate::kubeconfig::{Endpoint, bearer};
use crate::process::Process;

const DEADLINE: Duration = Duration::from_secs(30);

/// Both paths. Dropping them ends their processes.
#[derive(Debug)]
pub(crate) struct Floors {
    /// Through one forwarder.
    pub(crate) one: Endpoint,
    /// Its process.
    pub(crate) alone: Forwarder,
    /// Through arcproxy's place and those behind it, with TLS where the emulated path has it.
    pub(crate) three: Endpoint,
    /// The process in arcproxy's place.
    pub(crate) near: Forwarder,
    _far: Forwarder,
}

/// A process of forwarders.
#[derive(Debug)]
pub(crate) struct Forwarder {
    /// It ends when its standard input does, even where this process is killed.
    child: Child,
}

impl Floors {
    /// Starts them before `server`.
    pub(crate) async fn start(server: &Endpoint) -> Result<Self> {
        let (alone, one) = Forwarder::start(&Role::Alone(server.peer.clone())).await?;
        let (far, ready) = Forwarder::start::<Far>(&Role::Far).await?;
        let (near, three) = Forwarder::start(&Role::Near(ready.chain)).await?;
        Ok(Self {
            one: Endpoint::new(one, server.authorization.clone()),
            three: Endpoint::new(three, bearer(&ready.token)?),
            alone,
            near,
            _far: far,
        })
    }
}

impl Forwarder {
    /// The process.
    pub(crate) fn process(&self) -> Result<Process> {
        Process::of(&self.child)
    }

    /// Starts it, and gives what it says of itself.
    async fn start<R: DeserializeOwned>(role: &Role) -> Result<(Self, R)> {
        let mut child = Command::new(env::current_exe()?)
            .args(["--as", "forwarder"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdin = child.stdin.as_mut().ok_or("no stdin")?;
        let role = serde_json::to_string(role)?;
        stdin.write_all(format!("{role}\n").as_bytes()).await?;
        let stdout = child.stdout.take().ok_or("no stdout")?;
        let mut lines = BufReader::new(stdout).lines();
        let ready = timeout(DEADLINE, lines.next_line()).await??;
        let ready = serde_json::from_str(&ready.ok_or("a forwarder ended")?)?;
        Ok((Self { child }, ready))
    }
}
