//! What the kernel says of a process.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use tokio::process::Child;

use crate::Result;

/// `stat` counts in these, whatever the kernel's own timer does.
const TICKS_PER_SECOND: u64 = 100;

/// A process of which figures are read.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    proc: PathBuf,
}

impl Process {
    /// That of `child`, which runs.
    pub(crate) fn of(child: &Child) -> Result<Self> {
        let id = child.id().ok_or("the process has ended")?;
        Ok(Self {
            proc: PathBuf::from(format!("/proc/{id}")),
        })
    }

    /// This one, the client.
    pub(crate) fn this() -> Self {
        Self {
            proc: PathBuf::from("/proc/self"),
        }
    }

    /// CPU time so far, user and system.
    ///
    /// `stat` counts in ticks, which are coarse for a start; the threads' `schedstat` is exact but
    /// leaves out those that have ended. Neither says too much.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        Ok(self.ticked()?.max(self.scheduled()))
    }

    fn ticked(&self) -> Result<Duration> {
        let stat = fs::read_to_string(self.proc.join("stat"))?;
        // The name, in parentheses, may hold anything.
        let (_, fields) = stat.rsplit_once(") ").ok_or("stat has no name")?;
        let fields: Vec<_> = fields.split(' ').collect();
        let [user, system] = fields.get(11..13).ok_or("stat is short")? else {
            return Err("stat is short".into());
        };
        let ticks = user.parse::<u64>()? + system.parse::<u64>()?;
        Ok(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
    }

    fn scheduled(&self) -> Duration {
        let threads = fs::read_dir(self.proc.join("task"))
            .into_iter()
            .flatten()
            .flatten();
        threads
            .filter_map(|thread| {
                // A thread may end meanwhile.
                let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
                let nanoseconds = text.split(' ').next()?.parse().ok()?;
                Some(Duration::from_nanos(nanoseconds))
            })
            .sum()
    }

    /// Resident memory.
    pub(crate) fn resident_mib(&self) -> Result<f64> {
        let status = fs::read_to_string(self.proc.join("status"))?;
        let kib: u32 = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"))
            .ok_or("status has no VmRSS")?
            .trim()
            .parse()?;
        Ok(f64::from(kib) / 1024.0)
    }
}
