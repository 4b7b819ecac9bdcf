//! What the kernel says of the client's process.

use std::fs;
use std::path::PathBuf;

use serde::Serialize;

use super::Error;

/// What a process holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct Usage {
    /// Resident memory, in KiB.
    pub(crate) resident_kib: u64,
    pub(crate) threads: u64,
    /// Open file descriptors.
    pub(crate) descriptors: u64,
}

impl Usage {
    /// Of each the larger.
    pub(crate) fn max(self, other: Self) -> Self {
        Self {
            resident_kib: self.resident_kib.max(other.resident_kib),
            threads: self.threads.max(other.threads),
            descriptors: self.descriptors.max(other.descriptors),
        }
    }
}

/// A process that is looked at.
#[derive(Debug, Clone)]
pub(crate) struct Process(PathBuf);

impl Process {
    pub(crate) fn of(id: u32) -> Self {
        Self(PathBuf::from(format!("/proc/{id}")))
    }

    /// What it holds now.
    ///
    /// # Errors
    ///
    /// When it has ended.
    pub(crate) fn usage(&self) -> Result<Usage, Error> {
        let status = fs::read_to_string(self.0.join("status"))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let word = line.and_then(|line| line.split_whitespace().next());
            word.and_then(|word| word.parse().ok())
                .ok_or_else(|| format!("the process has no {name}"))
        };
        Ok(Usage {
            resident_kib: field("VmRSS:")?,
            threads: field("Threads:")?,
            descriptors: fs::read_dir(self.0.join("fd"))?.count() as u64,
        })
    }
}
