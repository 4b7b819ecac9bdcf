//! Paths of forwarders alone, which show what no program in their place can be better than.

use std::env;
use std::process::Stdio;
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::Result;
use crate::forwarder::Role;
use crate::kubeconfig::Endpoint;

const DEADLINE: Duration = Duration::from_secs(30);

/// Both paths. Dropping them ends their processes.
#[derive(Debug)]
pub(crate) struct Floors {
    /// Through one forwarder.
    pub(crate) one: Endpoint,
    /// Through three, with TLS where the path through arcproxy has it.
    pub(crate) three: Endpoint,
    _processes: [Forwarder; 3],
}

/// A process of forwarders.
#[derive(Debug)]
struct Forwarder {
    /// It ends when its standard input does, even where this process is killed.
    _child: Child,
}

impl Floors {
    /// Starts them before `server`.
    pub(crate) async fn start(server: &Endpoint) -> Result<Self> {
        let (alone, one) = Forwarder::start(&Role::Alone(server.peer.clone())).await?;
        let (far, chain) = Forwarder::start(&Role::Far(server.peer.clone())).await?;
        let (near, three) = Forwarder::start(&Role::Near(chain)).await?;
        Ok(Self {
            one: server.by_way_of(one),
            three: server.by_way_of(three),
            _processes: [alone, far, near],
        })
    }
}

impl Forwarder {
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
        Ok((Self { _child: child }, ready))
    }
}
