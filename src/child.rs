//! Running the command after `--`: its kubeconfig, its signals, its exit code.

use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use rustix::process::{Pid, Signal, getpgrp, kill_process};
use rustix::termios::tcgetpgrp;
use tempfile::{NamedTempFile, TempPath};
use tokio::process::{Child, Command};

use crate::error::{Code, Error};
use crate::files::check_temporary;
use crate::shutdown::{Ending, Signals};

/// A kubeconfig of mode 0600 that is removed when it is dropped.
#[derive(Debug)]
pub struct PrivateKubeconfig(TempPath);

impl PrivateKubeconfig {
    /// Writes `text` to a new private file in the temporary folder.
    ///
    /// # Errors
    /// [`Code::KubeconfigWrite`]: the folder cannot be written to.
    pub fn write(text: &str) -> Result<Self, Error> {
        let write = || {
            check_temporary(&std::env::temp_dir())?;
            let mut file = NamedTempFile::with_prefix("arcproxy-kubeconfig-")?;
            file.write_all(text.as_bytes())?;
            Ok(file.into_temp_path())
        };
        write().map(Self).map_err(|error: std::io::Error| {
            let folder = std::env::temp_dir();
            Error::new(
                Code::KubeconfigWrite,
                format!("cannot write a private kubeconfig in {}", folder.display()),
            )
            .caused_by(&error)
            .hinted("set TMPDIR to a folder of your own")
        })
    }

    /// Where it is.
    pub fn path(&self) -> &std::path::Path {
        &self.0
    }
}

/// What the command has no use for, since the proxy signs in for it.
const OURS: &str = "ARCPROXY_TOKEN";

/// Runs `program` with `KUBECONFIG` set and returns its exit code: its own, or 128 + n where
/// signal n ended it. Signals that come meanwhile are passed on.
///
/// # Errors
/// [`Code::Command`]: it cannot be started.
pub async fn run(
    program: &OsStr,
    arguments: &[OsString],
    kubeconfig: &PrivateKubeconfig,
    signals: &mut Signals,
) -> Result<u8, Error> {
    let mut child = Command::new(program)
        .args(arguments)
        .env("KUBECONFIG", kubeconfig.path())
        .env_remove(OURS)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| {
            Error::new(Code::Command, format!("cannot run {}", program.display())).caused_by(&error)
        })?;
    loop {
        tokio::select! {
            ended = child.wait() => {
                return ended.map(exit_code).map_err(|error| {
                    Error::new(Code::Unexpected, format!("lost sight of {}", program.display())).caused_by(&error)
                });
            }
            ending = signals.next() => {
                let signal = match ending {
                    // A terminal sends Ctrl+C to its whole foreground group: the child has it already.
                    Ending::Interrupt if is_foreground() => continue,
                    Ending::Interrupt => Signal::INT,
                    Ending::Terminate => Signal::TERM,
                    Ending::Hangup => Signal::HUP,
                };
                pass_on(&child, signal);
            }
        }
    }
}

/// Whether this process, and so the child, is what the terminal's keys speak to.
fn is_foreground() -> bool {
    std::fs::File::open("/dev/tty")
        .ok()
        .and_then(|terminal| tcgetpgrp(terminal).ok())
        .is_some_and(|foreground| foreground == getpgrp())
}

fn pass_on(child: &Child, signal: Signal) {
    let pid = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(Pid::from_raw);
    if let Some(pid) = pid
        && let Err(error) = kill_process(pid, signal)
    {
        tracing::warn!(%error, "cannot pass a signal on");
    }
}

fn exit_code(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_told_as_shells_do() {
        assert_eq!(exit_code(ExitStatus::from_raw(3 << 8)), 3);
        assert_eq!(exit_code(ExitStatus::from_raw(15)), 143);
    }

    #[test]
    fn the_private_kubeconfig_is_private_and_goes() {
        use std::os::unix::fs::PermissionsExt as _;
        let kubeconfig = PrivateKubeconfig::write("x").expect("writes");
        let path = kubeconfig.path().to_owned();
        assert_eq!(
            std::fs::metadata(&path)
                .expect("is there")
                .permissions()
                .mode()
                & 0o777,
            0o600
        );
        drop(kubeconfig);
        assert!(!path.exists());
    }
}
