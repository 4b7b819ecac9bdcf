//! `arc-emulator exec`: one command with everything set.

use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use arc_emulator::emulator::Emulator;
use rustix::process::{Pid, Signal, getpgrp, kill_process};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

/// The statuses by which shells say that a command was not found, or is none.
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;

/// Runs `command` to its end and gives the status to exit with: its own, or 128 and the number of
/// the signal that ended it.
pub(crate) async fn run(emulator: &Emulator, command: &[OsString]) -> io::Result<u8> {
    let [program, arguments @ ..] = command else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    };
    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut terminations = signal(SignalKind::terminate())?;
    let spawned = Command::new(program)
        .args(arguments)
        .envs(emulator.env())
        .kill_on_drop(true)
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => return not_run(program, &error),
    };
    loop {
        tokio::select! {
            ended = child.wait() => return ended.map(status),
            _ = interrupts.recv() => {
                // Ctrl+C at a terminal reaches the command without our help; twice would be rude.
                if !shares_terminal() {
                    forward(&child, Signal::INT);
                }
            }
            _ = terminations.recv() => forward(&child, Signal::TERM),
        }
    }
}

fn not_run(program: &OsStr, error: &io::Error) -> io::Result<u8> {
    let program = program.display();
    writeln!(io::stderr().lock(), "error: cannot run {program}: {error}")?;
    Ok(match error.kind() {
        io::ErrorKind::NotFound => NOT_FOUND,
        _ => NOT_EXECUTABLE,
    })
}

/// Whether a terminal sends its signals to this process group, and so to the command, too.
fn shares_terminal() -> bool {
    let stdin = io::stdin();
    stdin.is_terminal()
        && rustix::termios::tcgetpgrp(&stdin).is_ok_and(|foreground| foreground == getpgrp())
}

fn forward(child: &Child, signal: Signal) {
    let pid = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(Pid::from_raw);
    if let Some(pid) = pid
        && let Err(error) = kill_process(pid, signal)
    {
        tracing::warn!(%error, "the command did not get the signal");
    }
}

fn status(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or(status.signal().map(|signal| 128 + signal))
        .and_then(|code| u8::try_from(code).ok());
    code.unwrap_or(1)
}
