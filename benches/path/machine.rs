//! What the figures were taken on.

use std::fmt;
use std::fs;
use std::thread::available_parallelism;
use std::time::SystemTime;

use serde::Serialize;

use crate::Result;

/// The machine, and how busy it is.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    date: String,
    processor: String,
    processors: usize,
    kernel: String,
    /// Averages over 1, 5 and 15 minutes.
    pub(crate) load: String,
}

impl Machine {
    /// As it is now.
    pub(crate) fn now() -> Result<Self> {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let processor = read("/proc/cpuinfo")
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
            .map(|(_, name)| name.trim().to_owned());
        let load = read("/proc/loadavg");
        let load: Vec<_> = load.split_whitespace().take(3).collect();
        Ok(Self {
            date: httpdate::fmt_http_date(SystemTime::now()),
            processor: processor.unwrap_or_else(|| "unknown".to_owned()),
            processors: available_parallelism()?.get(),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load: load.join(" "),
        })
    }

    /// When, and on what.
    pub(crate) fn in_short(&self) -> String {
        format!("{}, {} x {}", self.date, self.processors, self.processor)
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, kernel {}, load {}",
            self.in_short(),
            self.kernel,
            self.load
        )
    }
}
