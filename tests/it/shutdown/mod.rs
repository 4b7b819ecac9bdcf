//! Ends of every kind: what runs gets its grace, nothing is lost, nothing is left behind.

mod commands;
mod grace;
mod killed;
mod starts;
mod terminal;

use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::harness::{DEADLINE, Proxy};

/// As long as running requests have once the end has begun.
const GRACE: Duration = Duration::from_secs(5);

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < end, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until `proxy` takes no more connections: its end has begun.
async fn ending(proxy: &Proxy) {
    let port = proxy.port();
    until("it listens no more", || {
        TcpStream::connect(("127.0.0.1", port)).is_err()
    })
    .await;
}

/// Whether the process has ended, though nobody may have asked how.
fn is_gone(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|stat| Some(stat.rsplit_once(") ")?.1.starts_with(['Z', 'X'])))
        .unwrap_or(true)
}

fn send(signal: &str, pid: &str) {
    let sent = std::process::Command::new("kill")
        .args(["-s", signal, pid])
        .status();
    assert!(sent.unwrap().success());
}

/// The names in `folder`.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name();
    let mut names: Vec<_> = entries
        .map(|entry| name(entry).into_string().unwrap())
        .collect();
    names.sort();
    names
}
