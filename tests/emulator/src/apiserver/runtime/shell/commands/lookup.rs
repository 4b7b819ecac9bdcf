//! What is behind a name: an executable, or a file to read or write.

use crate::apiserver::runtime::container::Container;
use crate::apiserver::runtime::filesystem::FsError;
use crate::apiserver::runtime::pipe::Reader;
use crate::apiserver::runtime::shell::Shell;
use crate::apiserver::runtime::shell::streams::{Output, Streams};

/// How an executable name is to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// By the command of this name.
    Command(&'static str),
    /// By a shell that reads this text.
    Script(String),
}

/// Why a name cannot be executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// There is no such file.
    NotFound,
    /// There is, and its mode forbids to execute it.
    NotExecutable,
}

impl Missing {
    /// The complaint of `shell` about `name`.
    pub(in crate::apiserver::runtime::shell) fn words(self, shell: &str, name: &str) -> String {
        match (self, shell) {
            (Self::NotFound, "bash") => format!("bash: {name}: command not found\n"),
            (Self::NotFound, _) => format!("sh: {name}: not found\n"),
            (Self::NotExecutable, _) => format!("{shell}: {name}: Permission denied\n"),
        }
    }

    /// The status of a command that could not be run.
    pub(in crate::apiserver::runtime::shell) fn status(self) -> u8 {
        match self {
            Self::NotFound => 127,
            Self::NotExecutable => 126,
        }
    }
}

const NAMES: [&str; 63] = [
    "[",
    "ash",
    "base64",
    "basename",
    "bash",
    "cat",
    "chmod",
    "clear",
    "cp",
    "cut",
    "date",
    "dd",
    "df",
    "dirname",
    "du",
    "echo",
    "egrep",
    "env",
    "expr",
    "false",
    "find",
    "grep",
    "head",
    "hostname",
    "id",
    "kill",
    "ln",
    "ls",
    "mkdir",
    "mktemp",
    "mv",
    "nproc",
    "printenv",
    "printf",
    "ps",
    "pwd",
    "realpath",
    "rev",
    "rm",
    "rmdir",
    "seq",
    "sh",
    "sha256sum",
    "sleep",
    "sort",
    "stat",
    "stty",
    "tail",
    "tar",
    "tee",
    "test",
    "timeout",
    "touch",
    "tr",
    "true",
    "tty",
    "uname",
    "uniq",
    "wc",
    "which",
    "whoami",
    "xargs",
    "yes",
];

/// The names of all commands.
pub(crate) fn names() -> &'static [&'static str] {
    &NAMES
}

/// Finds what executes `name`, whose absolute path, if it is one, is `path`.
pub(crate) fn find(container: &Container, path: &str, name: &str) -> Result<Found, Missing> {
    let known = |name: &str| NAMES.iter().find(|known| **known == name).copied();
    if !name.contains('/') {
        return known(name)
            .filter(|_| container.has_tools())
            .map(Found::Command)
            .ok_or(Missing::NotFound);
    }
    let (directory, file) = path.rsplit_once('/').unwrap_or(("", path));
    let standard = matches!(
        directory,
        "/bin" | "/sbin" | "/usr/bin" | "/usr/sbin" | "/usr/local/bin"
    );
    if let (true, true, Some(command)) = (standard, container.has_tools(), known(file)) {
        return Ok(Found::Command(command));
    }
    let metadata = container
        .files
        .metadata(path)
        .map_err(|_| Missing::NotFound)?;
    if metadata.is_directory() || metadata.mode & 0o111 == 0 {
        return Err(Missing::NotExecutable);
    }
    let text = container.files.read(path).map_err(|_| Missing::NotFound)?;
    Ok(Found::Script(String::from_utf8_lossy(&text).into_owned()))
}

/// Opens `path` for reading.
pub(in crate::apiserver::runtime::shell) fn open(
    shell: &Shell,
    path: &str,
) -> Result<Reader, FsError> {
    let path = shell.absolute(path);
    match path.as_str() {
        "/dev/zero" => Ok(Reader::zeros()),
        "/dev/random" | "/dev/urandom" => Ok(Reader::noise()),
        path => shell.container.files.read(path).map(Reader::of),
    }
}

/// Opens `path` for writing.
pub(in crate::apiserver::runtime::shell) fn create(
    shell: &Shell,
    path: &str,
    truncate: bool,
    streams: &Streams,
) -> Result<Output, FsError> {
    let path = shell.absolute(path);
    match path.as_str() {
        "/dev/null" | "/dev/zero" => Ok(Output::Null),
        "/dev/stdout" | "/dev/tty" => Ok(streams.stdout.clone()),
        "/dev/stderr" => Ok(streams.stderr.clone()),
        _ => {
            shell.container.files.create(&path, truncate)?;
            Ok(Output::File {
                files: shell.container.files.clone(),
                path,
            })
        }
    }
}
