//! What can go wrong with a kubeconfig. No message carries a piece of the file: it holds secrets.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why a text cannot take the entry.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum MergeError {
    /// The text is not YAML.
    NotYaml {
        /// Counted from one.
        line: usize,
        /// Counted from one.
        column: usize,
        /// What the parser wanted.
        problem: String,
    },
    /// The text is YAML, but kubectl would not read it as a kubeconfig.
    NotKubeconfig {
        /// Counted from one.
        line: usize,
        /// What is not as it should be.
        problem: String,
    },
    /// The text holds several YAML documents, of which kubectl reads only the first.
    SeveralDocuments,
    /// What must be replaced defines an anchor that is used elsewhere, or is an alias itself.
    Anchored {
        /// Where, counted from one.
        line: usize,
    },
    /// The edited text did not read back as intended. Nothing about the input is known to be wrong.
    Unfaithful,
}

impl fmt::Display for MergeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotYaml {
                line,
                column,
                problem,
            } => write!(f, "not YAML: line {line}, column {column}: {problem}"),
            Self::NotKubeconfig { line, problem } => {
                write!(f, "not a kubeconfig: line {line}: {problem}")
            }
            Self::SeveralDocuments => f.write_str("it holds several YAML documents"),
            Self::Anchored { line } => write!(
                f,
                "line {line}: the entry to replace shares a YAML anchor with other entries"
            ),
            Self::Unfaithful => f.write_str("the entry cannot be added without changing others"),
        }
    }
}

impl Error for MergeError {}

/// Why a kubeconfig file was not written. The file is then as it was before.
#[derive(Debug)]
#[non_exhaustive]
pub enum WriteError {
    /// Its text cannot take the entry.
    Merge {
        /// The kubeconfig.
        path: PathBuf,
        /// Why not.
        source: MergeError,
    },
    /// Its text is not UTF-8.
    NotText {
        /// The kubeconfig.
        path: PathBuf,
    },
    /// There is a directory in its place.
    IsDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// It is a device, a pipe or a socket.
    NotAFile {
        /// The thing.
        path: PathBuf,
    },
    /// The file or its file system does not allow writing.
    ReadOnly {
        /// The kubeconfig.
        path: PathBuf,
    },
    /// This user may not.
    Denied {
        /// The file or directory that refused.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// The file belongs to somebody else, and a replacement could not be given to them.
    Owner {
        /// The kubeconfig.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// Another user has put it into a folder that everybody may write to.
    Planted {
        /// The file or link.
        path: PathBuf,
    },
    /// kubectl or another arcproxy is writing, or one of them died while it was.
    Locked {
        /// The kubeconfig.
        path: PathBuf,
        /// The lock that did not go away.
        lock: PathBuf,
    },
    /// The links lead in a circle.
    SymlinkLoop {
        /// The kubeconfig.
        path: PathBuf,
    },
    /// The disk or the quota is used up.
    DiskFull {
        /// The kubeconfig.
        path: PathBuf,
    },
    /// Something that ignores the lock kept changing the file.
    Changing {
        /// The kubeconfig.
        path: PathBuf,
    },
    /// Any other failure.
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
}

impl WriteError {
    /// Sorts a system error that `path` answered with into the variants above.
    pub(super) fn from_io(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::IsADirectory => Self::IsDirectory { path },
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly { path },
            io::ErrorKind::PermissionDenied => Self::Denied { path, source },
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { path },
            _ if source.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
                Self::SymlinkLoop { path }
            }
            _ => Self::Io { path, source },
        }
    }
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Merge { path, .. } => write!(f, "cannot edit {}", path.display()),
            Self::NotText { path } => write!(f, "{} is not UTF-8 text", path.display()),
            Self::IsDirectory { path } => write!(f, "{} is a directory", path.display()),
            Self::NotAFile { path } => write!(f, "{} is not a regular file", path.display()),
            Self::ReadOnly { path } => write!(f, "{} is read-only", path.display()),
            Self::Denied { path, .. } => write!(f, "no permission for {}", path.display()),
            Self::Owner { path, .. } => write!(f, "cannot keep the owner of {}", path.display()),
            Self::Planted { path } => write!(
                f,
                "{} was put there by another user, in a folder that everybody may write to",
                path.display()
            ),
            Self::Locked { path, lock } => write!(
                f,
                "{} is locked by another program: {} exists",
                path.display(),
                lock.display()
            ),
            Self::SymlinkLoop { path } => {
                write!(f, "the links at {} lead in a circle", path.display())
            }
            Self::DiskFull { path } => write!(f, "no space left to write {}", path.display()),
            Self::Changing { path } => write!(
                f,
                "{} is being changed by a program that does not lock it",
                path.display()
            ),
            Self::Io { path, .. } => write!(f, "cannot write {}", path.display()),
        }
    }
}

impl Error for WriteError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Merge { source, .. } => Some(source),
            Self::Denied { source, .. } | Self::Owner { source, .. } | Self::Io { source, .. } => {
                Some(source)
            }
            Self::NotText { .. }
            | Self::IsDirectory { .. }
            | Self::NotAFile { .. }
            | Self::ReadOnly { .. }
            | Self::Planted { .. }
            | Self::Locked { .. }
            | Self::SymlinkLoop { .. }
            | Self::DiskFull { .. }
            | Self::Changing { .. } => None,
        }
    }
}
