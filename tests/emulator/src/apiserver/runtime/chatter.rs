//! Made-up log lines of processes that are not really there, the same ones every time.

use std::time::SystemTime;

use jiff::Timestamp;

/// What a process writes when no command of ours stands in for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chatter {
    /// A web server's access log.
    Web,
    /// A service that tells once a second that it is alive.
    Service,
    /// Nothing: the lines come from a process.
    Silent,
}

/// How many made-up lines a container writes at its start.
pub(super) const OPENING: u64 = 3;

impl Chatter {
    /// Line `number` of the process, the same one every time.
    pub(super) fn line(self, number: u64, at: SystemTime) -> String {
        let at = Timestamp::try_from(at).unwrap_or_default();
        match (self, number) {
            (Self::Web, 0) => {
                "/docker-entrypoint.sh: Configuration complete; ready for start up".to_owned()
            }
            (Self::Web, 1) => format!(
                "{} [notice] 1#1: using the \"epoll\" event method",
                at.strftime("%Y/%m/%d %H:%M:%S")
            ),
            (Self::Web, 2) => format!(
                "{} [notice] 1#1: start worker processes",
                at.strftime("%Y/%m/%d %H:%M:%S")
            ),
            (Self::Web, number) => {
                let number = number - OPENING;
                let path = ["/", "/healthz", "/api/items", "/static/app.js"];
                let path = path[usize::try_from(number % 4).unwrap_or_default()];
                access(
                    &format!("10.244.0.{}", 2 + number % 5),
                    at,
                    &format!("GET {path} HTTP/1.1"),
                    200,
                    615 + number % 7 * 100,
                    "kube-probe/1.33",
                )
            }
            (Self::Service | Self::Silent, 0) => format!("{at:.3} INFO starting"),
            (Self::Service | Self::Silent, 1) => format!("{at:.3} INFO configuration loaded"),
            (Self::Service | Self::Silent, 2) => format!("{at:.3} INFO ready"),
            (Self::Service | Self::Silent, number) => {
                format!("{at:.3} INFO heartbeat seq={}", number - OPENING)
            }
        }
    }
}

/// A line of a web server's access log.
pub(super) fn access(
    peer: &str,
    at: Timestamp,
    request: &str,
    status: u16,
    bytes: u64,
    agent: &str,
) -> String {
    let at = at.strftime("%d/%b/%Y:%H:%M:%S +0000");
    format!("{peer} - - [{at}] \"{request}\" {status} {bytes} \"-\" \"{agent}\" \"-\"")
}
