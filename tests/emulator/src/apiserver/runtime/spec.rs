//! What callers ask of the runtime, and why they may not get it.

use std::fmt;

/// Which pod is meant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PodRef {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What tells it from others that had the name before.
    pub uid: String,
}

/// What a container is made from.
#[derive(Debug, Clone, Default)]
pub struct ContainerSpec {
    /// Its name within the pod.
    pub name: String,
    /// The image; its name decides on files and log.
    pub image: String,
    /// The command in place of the image's.
    pub command: Vec<String>,
    /// The arguments in place of the image's.
    pub args: Vec<String>,
    /// Environment variables.
    pub env: Vec<(String, String)>,
    /// Ports on which it serves HTTP.
    pub ports: Vec<u16>,
    /// Whether its main process has a terminal.
    pub tty: bool,
    /// Whether its main process reads from who attaches.
    pub stdin: bool,
}

/// Which part of a log is wanted.
#[derive(Debug, Clone, Default)]
pub struct LogOptions {
    /// Go on with new lines as they come.
    pub follow: bool,
    /// The log of the container before this one: there never is one.
    pub previous: bool,
    /// Only so many last lines.
    pub tail_lines: Option<usize>,
    /// Only lines of the last seconds.
    pub since_seconds: Option<u64>,
    /// Put the time before each line.
    pub timestamps: bool,
    /// Only so many first bytes of what is left.
    pub limit_bytes: Option<usize>,
}

/// Why a process could not be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StartError {
    /// The pod does not run, or has no such container.
    NoContainer(String),
    /// The image has no such executable.
    NoExecutable(String),
    /// The file is there and may not be executed.
    NotExecutable(String),
    /// Nothing to execute.
    NoCommand,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoContainer(name) => write!(f, "container not found (\"{name}\")"),
            Self::NoExecutable(name) if name.contains('/') => {
                write!(
                    f,
                    "exec: \"{name}\": stat {name}: no such file or directory"
                )
            }
            Self::NoExecutable(name) => {
                write!(f, "exec: \"{name}\": executable file not found in $PATH")
            }
            Self::NotExecutable(name) => write!(f, "exec: \"{name}\": permission denied"),
            Self::NoCommand => f.write_str("args must not be empty"),
        }
    }
}

impl std::error::Error for StartError {}
