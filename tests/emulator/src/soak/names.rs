//! Names that can be taken away: the client sees the machine with a hosts file of ours in place of
//! its own and without a name server, and reaches the emulator by names that only that file has.
//!
//! It takes Linux that lets its users have namespaces of their own.

use std::cell::Cell;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use arc_emulator::arm::RELAY;
use serde_json::Value;
use tempfile::TempDir;

use super::Error;

/// What is known of this machine without any name of the emulator's.
const ITSELF: &str = "127.0.0.1 localhost\n::1 localhost\n";
/// The domain of the emulator's names; nobody else has it (RFC 6761).
const DOMAIN: &str = "arc.test";
/// Goes into namespaces of its own, where it may mount.
const UNSHARE: [&str; 4] = ["unshare", "--user", "--map-root-user", "--mount"];
/// Mounts its first two arguments, and becomes the others.
const MOUNT: &str =
    r#"mount --bind "$1" /etc/hosts && mount --bind "$2" /etc/resolv.conf && shift 2 && exec "$@""#;

/// The names under which a client knows the emulator.
#[derive(Debug)]
pub(crate) struct Names {
    hosts: PathBuf,
    resolver: PathBuf,
    cloud: PathBuf,
    known: Cell<bool>,
    _folder: TempDir,
}

impl Names {
    /// Names for what the `cloud` file leads to. None where the machine does not let them be.
    ///
    /// # Errors
    ///
    /// When the files cannot be read or written.
    pub(crate) fn new(cloud: &Path) -> Result<Option<Self>, Error> {
        let folder = tempfile::tempdir()?;
        let at = |name: &str| folder.path().join(name);
        let names = Self {
            hosts: at("hosts"),
            resolver: at("resolv.conf"),
            cloud: at("cloud.json"),
            known: Cell::new(false),
            _folder: folder,
        };
        let mut document: Value = serde_json::from_slice(&std::fs::read(cloud)?)?;
        for key in ["authority", "resourceManager", "relaySuffix"] {
            let local = document[key].as_str().ok_or("a cloud file without names")?;
            document[key] = local.replace("localhost", DOMAIN).into();
        }
        std::fs::write(&names.cloud, document.to_string())?;
        // Nobody answers there.
        let nobody = "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n";
        std::fs::write(&names.resolver, nobody)?;
        names.set(true)?;
        let mut trial = Command::new(UNSHARE[0]);
        trial.args(names.way().skip(1)).arg("true");
        let tried = trial.stdout(Stdio::null()).stderr(Stdio::null()).status();
        Ok(tried.is_ok_and(|status| status.success()).then_some(names))
    }

    /// The cloud file that has the names.
    pub(crate) fn cloud(&self) -> &Path {
        &self.cloud
    }

    /// The command, but for what it is to run, that knows the names. It becomes what it runs.
    pub(crate) fn way(&self) -> impl Iterator<Item = OsString> {
        let files = [&self.hosts, &self.resolver];
        let shell = ["sh", "-c", MOUNT, "sh"];
        let words = UNSHARE.into_iter().chain(shell).map(OsString::from);
        words.chain(files.map(OsString::from))
    }

    /// Lets the names be known, or not. The file stays the same one: it is mounted.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub(crate) fn set(&self, known: bool) -> io::Result<()> {
        if self.known.replace(known) == known {
            return Ok(());
        }
        let ours = format!("127.0.0.1 {DOMAIN} {RELAY}.servicebus.{DOMAIN}\n");
        let text = [ITSELF, if known { &ours } else { "" }].concat();
        std::fs::write(&self.hosts, text)
    }
}
