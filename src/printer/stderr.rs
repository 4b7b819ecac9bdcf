//! stderr, which may have no reader: a pipe that nobody empties, a terminal held with Ctrl+S.
//!
//! One thread does everything, so what stderr cannot take is left out instead of waited for, and
//! the next line that it takes says how much is missing.

use std::io::{self, IsTerminal as _, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long a line may wait for a reader who is only slow. Those behind it do not wait.
const SLOW: Duration = Duration::from_millis(20);
/// How long that may wait which nobody should miss.
const NEEDED: Duration = Duration::from_secs(1);
/// What a pipe that polls as writable takes without blocking (`PIPE_BUF` in pipe(7)),
const PIPE: usize = 4096;
/// and a terminal, whose buffers on Linux come in pieces of as much.
const TERMINAL: usize = 256;

/// How many lines, or ends of lines, are missing since the last one that was written.
static MISSING: Mutex<u64> = Mutex::new(0);

/// Writes a line of the log.
#[derive(Debug, Clone, Copy)]
pub(super) struct Log;

/// Writes a line that may be missed.
pub(super) fn line(text: &str) {
    write(text.as_bytes(), SLOW);
}

/// Writes a line that says why the program ends, or what somebody has to do.
pub(super) fn needed(text: &str) {
    write(text.as_bytes(), NEEDED);
}

fn write(text: &[u8], patience: Duration) {
    let mut missing = MISSING.lock().unwrap_or_else(PoisonError::into_inner);
    let mut stderr = io::stderr().lock();
    let at_once = if stderr.is_terminal() { TERMINAL } else { PIPE };
    let patience = if *missing == 0 || patience == NEEDED {
        patience
    } else {
        Duration::ZERO
    };
    if *missing > 0 && takes(patience) {
        // It may stand behind half a line.
        let note =
            format!("\nwarning: {missing} lines are missing here: nobody read them in time\n");
        let _gone = stderr.write_all(note.as_bytes());
        *missing = 0;
    }
    for part in text.chunks(at_once) {
        if !takes(patience) {
            *missing += 1;
            return;
        }
        let _gone = stderr.write_all(part);
    }
}

/// Whether stderr takes bytes without blocking, now or within `patience`. One whose reader has
/// gone takes them all.
#[cfg(unix)]
fn takes(patience: Duration) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::io::Errno;

    let stderr = io::stderr();
    let mut fds = [PollFd::new(&stderr, PollFlags::OUT)];
    let patience = Timespec::try_from(patience).ok();
    // A signal ends the wait: who sent it must not be kept waiting either.
    !matches!(poll(&mut fds, patience.as_ref()), Ok(0) | Err(Errno::INTR))
}

#[cfg(not(unix))]
fn takes(_: Duration) -> bool {
    true
}

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        write(line, SLOW);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
