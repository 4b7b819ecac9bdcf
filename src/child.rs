//! Running the command after `--`: its kubeconfig, its signals, its exit code.
//!
//! On Linux it ends with arcproxy, however that ends: arcproxy starts itself anew as a *stage*, which
//! asks the kernel for SIGHUP at its parent's death and becomes the command. (To ask between fork
//! and exec would take `unsafe`.) What the command itself starts is its own to end; programs that change
//! their user, such as sudo, are not told.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use rustix::process::{Pid, Signal, getpgrp, kill_process, test_kill_process};
use rustix::termios::tcgetpgrp;
use tempfile::{NamedTempFile, TempPath};
use tokio::process::{Child, Command};

use crate::error::{Code, Error};
use crate::files::{check_temporary, is_nobodys, sweep};
use crate::shutdown::{Ending, Signals};

/// The name that a stage has in the place of the program's.
#[cfg(target_os = "linux")]
const STAGE: &str = "arcproxy: starting a command";

/// What the names of private kubeconfigs begin with.
const PRIVATE: &str = "arcproxy-kubeconfig-";

/// A kubeconfig of mode 0600 that is removed when it is dropped; that of a run that was killed before
/// is removed by the next one.
#[derive(Debug)]
pub struct PrivateKubeconfig {
    path: TempPath,
    /// Locked, which tells other runs that this one lives.
    _held: File,
}

impl PrivateKubeconfig {
    /// Writes `text` to a new private file in the temporary folder.
    ///
    /// # Errors
    /// [`Code::KubeconfigWrite`]: the folder cannot be written to.
    pub fn write(text: &str) -> Result<Self, Error> {
        let write = || {
            let folder = std::env::temp_dir();
            check_temporary(&folder)?;
            sweep(&folder, PRIVATE, |path| {
                is_nobodys(path) && !is_anybodys(path)
            });
            let prefix = format!("{PRIVATE}{}-", std::process::id());
            let mut file = NamedTempFile::with_prefix(prefix)?;
            // Where nothing can be locked, nothing is swept either.
            let _ = file.as_file().try_lock();
            file.write_all(text.as_bytes())?;
            let (held, path) = file.into_parts();
            Ok(Self { path, _held: held })
        };
        write().map_err(|error: std::io::Error| {
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
        &self.path
    }
}

/// Whether the run that the name tells of is there: another program may have put a file of its own
/// in the place of the one that is locked, as editors do.
fn is_anybodys(path: &std::path::Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    let id = name
        .and_then(|name| name.strip_prefix(PRIVATE)?.split('-').next()?.parse().ok())
        .and_then(Pid::from_raw);
    id.is_some_and(|id| {
        let found = test_kill_process(id);
        found != Err(rustix::io::Errno::SRCH)
    })
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
    let mut child = command(program)
        .args(arguments)
        .env("KUBECONFIG", kubeconfig.path())
        .env_remove(OURS)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| cannot_run(program, &error))?;
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

fn cannot_run(program: &OsStr, error: &std::io::Error) -> Error {
    Error::new(Code::Command, format!("cannot run {}", program.display())).caused_by(error)
}

#[cfg(target_os = "linux")]
fn command(program: &OsStr) -> Command {
    // The very program that runs, though another version may have taken its place meanwhile.
    const THIS: &str = "/proc/self/exe";
    if !std::path::Path::new(THIS).exists() {
        return Command::new(program);
    }
    let mut command = Command::new(THIS);
    command
        .arg0(STAGE)
        .arg(std::process::id().to_string())
        .arg(program);
    command
}

#[cfg(not(target_os = "linux"))]
fn command(program: &OsStr) -> Command {
    Command::new(program)
}

/// Becomes the command, where `arguments` (the program's own name first) are those of a stage.
/// Returns why it cannot be run; `None` for every other run of the program.
#[cfg(target_os = "linux")]
pub fn stage(arguments: &[OsString]) -> Option<Error> {
    use std::os::unix::process::CommandExt as _;
    let [name, parent, program, rest @ ..] = arguments else {
        return None;
    };
    if name != STAGE {
        return None;
    }
    let asked = rustix::process::set_parent_process_death_signal(Some(Signal::HUP));
    let is_alive = rustix::process::getppid()
        .is_some_and(|now| parent.to_str() == Some(&now.as_raw_nonzero().to_string()));
    if asked.is_ok() && !is_alive {
        let error = std::io::Error::other("arcproxy has ended");
        return Some(cannot_run(program, &error));
    }
    let error = std::process::Command::new(program).args(rest).exec();
    Some(cannot_run(program, &error))
}

/// There are no stages here.
#[cfg(not(target_os = "linux"))]
pub fn stage(_: &[OsString]) -> Option<Error> {
    None
}

/// Whether this process, and so the child, is what the terminal's keys speak to.
fn is_foreground() -> bool {
    File::open("/dev/tty")
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
    use std::path::{Path, PathBuf};

    use super::*;

    #[test]
    fn a_signal_is_told_as_shells_do() {
        assert_eq!(exit_code(ExitStatus::from_raw(3 << 8)), 3);
        assert_eq!(exit_code(ExitStatus::from_raw(15)), 143);
    }

    #[test]
    fn the_name_tells_whose_it_is() {
        let named = |id: &str| PathBuf::from(format!("/tmp/{PRIVATE}{id}-a1b2c3"));
        assert!(is_anybodys(&named(&std::process::id().to_string())));
        let mut gone = std::process::Command::new("true").spawn().expect("starts");
        gone.wait().expect("ends");
        assert!(!is_anybodys(&named(&gone.id().to_string())));
        assert!(!is_anybodys(&named("nobody")));
        assert!(!is_anybodys(Path::new("/tmp/other")));
    }

    #[test]
    fn what_took_the_place_of_a_private_kubeconfig_stays_while_its_run_lives() {
        let kubeconfig = PrivateKubeconfig::write("x").expect("writes");
        let other = NamedTempFile::new_in(std::env::temp_dir()).expect("a file");
        let long_ago = std::time::SystemTime::now() - std::time::Duration::from_mins(2);
        other
            .as_file()
            .set_modified(long_ago)
            .expect("sets the time");
        other.persist(kubeconfig.path()).expect("replaces");
        PrivateKubeconfig::write("y").expect("writes");
        assert!(kubeconfig.path().exists());
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
