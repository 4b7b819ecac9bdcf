//! Sign-ins in the desktop's keyring, through libsecret's own program, `secret-tool`.
//!
//! The document goes through pipes, never on a command line. A keyring that is locked asks its user
//! to unlock it, which only works on a desktop: elsewhere it is taken for missing.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::super::tool;
use super::Source;
use crate::settings::Environment;

const PROGRAM: &str = "secret-tool";
/// What the document is found by.
const ATTRIBUTES: [&str; 4] = ["application", "arcproxy", "kind", "sign-ins"];
/// How long somebody may take to unlock the keyring.
const UNLOCKING: Duration = Duration::from_mins(1);
/// How long a keyring may take that nobody has to unlock.
const UNASKED: Duration = Duration::from_secs(2);
/// The program keeps this many bytes of a document and says that all went well.
const LIMIT: usize = (8 << 10) - 1;

/// The keyring.
#[derive(Debug, Clone)]
pub(super) struct Keyring {
    program: PathBuf,
    /// Whether somebody may be asked to unlock it.
    pub(super) asks: bool,
    /// The file that is there while a document may be in the keyring.
    mark: Option<PathBuf>,
}

impl Keyring {
    /// The keyring of the desktop that `environment` tells of. While a document may be in it there
    /// is a file at `mark`.
    pub(super) fn find(environment: &Environment, mark: Option<PathBuf>) -> Option<Self> {
        let desktop = ["DISPLAY", "WAYLAND_DISPLAY"];
        if !desktop.iter().any(|name| environment.text(name).is_some()) {
            return None;
        }
        let bus = environment.text("DBUS_SESSION_BUS_ADDRESS").is_some()
            || environment
                .path("XDG_RUNTIME_DIR")
                .is_some_and(|folder| folder.join("bus").exists());
        let path = environment.path("PATH").filter(|_| bus)?;
        let program = tool::find(PROGRAM, Some(path.as_os_str()))?;
        Some(Self {
            program,
            asks: true,
            mark,
        })
    }

    /// Runs the program with `arguments` and `input`; whether it succeeded, and what it printed.
    ///
    /// Cancel safe: when this is dropped, the program is killed.
    async fn run(&self, arguments: &[&str], input: &str) -> io::Result<(bool, Zeroizing<String>)> {
        let mut child = Command::new(&self.program)
            .args(arguments)
            .args(ATTRIBUTES)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let talk = async {
            if let Some(mut stdin) = stdin {
                // A document is smaller than a pipe, and who reads none of it closes it.
                match stdin.write_all(input.as_bytes()).await {
                    Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
                    _ => {}
                }
            }
            let mut text = Zeroizing::new(String::new());
            if let Some(mut stdout) = stdout {
                stdout.read_to_string(&mut text).await?;
            }
            Ok((child.wait().await?.success(), text))
        };
        let deadline = if self.asks { UNLOCKING } else { UNASKED };
        timeout(deadline, talk)
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the keyring does not answer"))?
    }
}

#[async_trait]
impl Source for Keyring {
    fn limit(&self) -> usize {
        LIMIT
    }

    async fn read(&self) -> io::Result<Option<Zeroizing<String>>> {
        // A search tells what is locked from what is not there; a `lookup` fails alike.
        let search: &[&str] = if self.asks {
            &["search", "--unlock"]
        } else {
            &["search"]
        };
        let (worked, found) = self.run(search, "").await?;
        if !worked {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "there is no keyring",
            ));
        }
        if found.is_empty() {
            return Ok(None);
        }
        let mut secrets = found
            .lines()
            .filter_map(|line| line.strip_prefix("secret = "));
        match secrets.next() {
            Some(secret) if !secret.is_empty() => Ok(Some(Zeroizing::new(secret.to_owned()))),
            _ => Err(io::Error::other("the keyring is locked")),
        }
    }

    async fn write(&self, text: &str) -> io::Result<()> {
        // Before the document is there, so that none is ever without it.
        let new = self.mark.as_ref().filter(|mark| !mark.exists());
        if let Some(Err(error)) = new.map(|mark| fs::write(mark, "")) {
            tracing::debug!(%error, "the keyring cannot be marked as in use");
        }
        let stored = self.run(&["store", "--label", "arcproxy: sign-ins"], text);
        let (is_stored, _) = stored.await?;
        if is_stored {
            return Ok(());
        }
        if let Some(mark) = new {
            let _gone = fs::remove_file(mark);
        }
        Err(io::Error::other("the keyring did not take it"))
    }

    async fn clear(&self) -> io::Result<()> {
        // It fails where there is nothing to remove, too.
        self.run(&["clear"], "").await?;
        match self.run(&["search"], "").await? {
            (true, left) if left.is_empty() => {}
            _ => return Err(io::Error::other("the keyring did not let go of it")),
        }
        match self.mark.as_ref().map(fs::remove_file) {
            Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}
