//! The emulator, in a process of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};
use tokio_util::task::AbortOnDropHandle;
use url::Url;

use crate::Result;
use crate::process::Process;

/// A running emulator; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Emulator {
    child: Child,
    /// Kept open: the emulator may say more.
    _stdout: Lines<BufReader<ChildStdout>>,
    /// How a client reaches it.
    pub(crate) environment: Vec<(String, String)>,
    control: Url,
}

impl Emulator {
    /// Starts `binary` and waits until it serves.
    pub(crate) async fn start(binary: &Path) -> Result<Self> {
        let mut child = Command::new(binary)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = child.stdout.take().ok_or("no stdout")?;
        let mut lines = BufReader::new(stdout).lines();
        let mut environment = Vec::new();
        while let Some(line) = lines.next_line().await? {
            if let Some((name, value)) = line
                .strip_prefix("export ")
                .and_then(|line| line.split_once('='))
            {
                environment.push((name.to_owned(), unquoted(value)));
            } else if line.starts_with("# In another terminal") {
                break;
            }
        }
        let control = named(&environment, "ARC_EMULATOR_CONTROL")?.parse()?;
        Ok(Self {
            child,
            _stdout: lines,
            environment,
            control,
        })
    }

    /// The kubeconfig that leads straight to the apiserver.
    pub(crate) fn kubeconfig(&self) -> Result<PathBuf> {
        Ok(named(&self.environment, "ARC_EMULATOR_KUBECONFIG")?.into())
    }

    /// A service account's token.
    pub(crate) fn account_token(&self) -> Result<&str> {
        named(&self.environment, "ARC_EMULATOR_SA_TOKEN")
    }

    /// The process.
    pub(crate) fn process(&self) -> Result<Process> {
        Process::of(&self.child)
    }

    /// Gives connections from now on this round-trip time, and all of them together this
    /// bandwidth in bits per second; 0 is without limit.
    pub(crate) async fn lay(&self, round_trip: Duration, bandwidth: u64) -> Result<()> {
        let rtt = u64::try_from(round_trip.as_millis())?;
        let faults = json!({ "rtt_ms": rtt, "bandwidth_bits": bandwidth });
        self.control(Method::PATCH, "faults", &faults).await?;
        Ok(())
    }

    /// Resets every tunnel.
    pub(crate) async fn drop_tunnels(&self) -> Result<()> {
        let how = json!({ "how": "reset" });
        self.control(Method::POST, "tunnels/drop", &how).await?;
        Ok(())
    }

    /// The relay's counter `name`.
    pub(crate) async fn relay(&self, name: &str) -> Result<u64> {
        let seen = self.control(Method::GET, "seen", &Value::Null).await?;
        let seen: Value = serde_json::from_slice(&seen)?;
        let count = seen["relay"][name].as_u64();
        count.ok_or_else(|| format!("the relay does not count {name}").into())
    }

    async fn control(&self, method: Method, what: &str, body: &Value) -> Result<Bytes> {
        let address: SocketAddr = *self
            .control
            .socket_addrs(|| None)?
            .first()
            .ok_or("the control endpoint has no address")?;
        let tcp = TcpStream::connect(address).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(tcp)).await?;
        let driver = tokio::spawn(async move { drop(connection.await) });
        let _driver = AbortOnDropHandle::new(driver);
        let path = format!("{}/{what}", self.control.path().trim_end_matches('/'));
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, address.to_string())
            .body(Full::new(Bytes::from(body.to_string())))?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let answer = response.into_body().collect().await?.to_bytes();
        if status.is_success() {
            Ok(answer)
        } else {
            let answer = String::from_utf8_lossy(&answer);
            Err(format!("the emulator answers {status} to {what}: {answer}").into())
        }
    }

    /// Ends it.
    pub(crate) async fn stop(mut self) -> Result<()> {
        crate::arcproxy::terminate(&mut self.child).await
    }
}

fn named<'a>(environment: &'a [(String, String)], name: &str) -> Result<&'a str> {
    environment
        .iter()
        .find(|(candidate, _)| candidate == name)
        .map(|(_, value)| value.as_str())
        .ok_or_else(|| format!("the emulator does not say {name}").into())
}

/// A word as the emulator quotes it for a shell.
fn unquoted(word: &str) -> String {
    let inner = word
        .strip_prefix('\'')
        .and_then(|word| word.strip_suffix('\''));
    inner.map_or_else(|| word.to_owned(), |inner| inner.replace("'\\''", "'"))
}
