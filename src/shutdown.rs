//! Ending in order: the signals that ask for it, and tasks that drain before they are cut.

use std::future::Future;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Tasks that end in two steps: first they are asked to finish, then they are cut.
#[derive(Debug, Clone, Default)]
pub struct Drain {
    draining: CancellationToken,
    cut: CancellationToken,
    tasks: TaskTracker,
}

impl Drain {
    /// Spawns `task`; it is dropped where it stands when the grace is over.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let cut = self.cut.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = cut.cancelled() => {}
                () = task => {}
            }
        });
    }

    /// Completes once tasks should finish what they are doing and begin nothing new.
    pub async fn draining(&self) {
        self.draining.cancelled().await;
    }

    /// Asks all tasks to finish, waits up to `grace`, and cuts the rest. Returns whether all
    /// finished by themselves.
    pub async fn end(&self, grace: Duration) -> bool {
        self.draining.cancel();
        self.tasks.close();
        let finished = timeout(grace, self.tasks.wait()).await.is_ok();
        self.cut.cancel();
        self.tasks.wait().await;
        finished
    }
}

/// The signals that ask the program to end. One that was ignored from the start (`nohup` ignores
/// SIGHUP) stays ignored.
#[derive(Debug)]
pub struct Signals {
    interrupt: Option<Signal>,
    terminate: Option<Signal>,
    hangup: Option<Signal>,
}

/// Which signal came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// SIGINT, as Ctrl+C sends it.
    Interrupt,
    /// SIGTERM.
    Terminate,
    /// SIGHUP: the terminal is gone.
    Hangup,
}

impl Ending {
    /// The exit code of a run that it cut short before anything was served.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
            Self::Hangup => 129,
        }
    }
}

impl Signals {
    /// Takes the signals over from their default of ending the process at once.
    ///
    /// # Errors
    /// The system refuses.
    pub fn listen() -> std::io::Result<Self> {
        let ignored = ignored();
        let listen = |kind: SignalKind| {
            let bit = 1_u64 << (kind.as_raw_value() - 1);
            (ignored & bit == 0).then(|| signal(kind)).transpose()
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    /// Waits for the next one. Cancel safe.
    pub async fn next(&mut self) -> Ending {
        tokio::select! {
            () = next(&mut self.interrupt) => Ending::Interrupt,
            () = next(&mut self.terminate) => Ending::Terminate,
            () = next(&mut self.hangup) => Ending::Hangup,
        }
    }
}

async fn next(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// The signals that this process was started with ignored, a bit each; none where the system does
/// not tell.
fn ignored() -> u64 {
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| {
            let mask = status
                .lines()
                .find_map(|line| line.strip_prefix("SigIgn:"))?;
            u64::from_str_radix(mask.trim(), 16).ok()
        })
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn tasks_finish_within_the_grace_or_are_cut() {
        let drain = Drain::default();
        let watched = drain.clone();
        drain.spawn(async move { watched.draining().await });
        assert!(drain.end(Duration::from_secs(5)).await);

        let drain = Drain::default();
        drain.spawn(std::future::pending());
        assert!(!drain.end(Duration::from_secs(5)).await);
    }
}
