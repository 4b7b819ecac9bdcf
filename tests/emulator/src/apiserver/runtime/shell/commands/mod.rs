//! The commands of an image: what its `/bin` holds.

mod archive;
mod data;
mod files;
mod listing;
mod nested;
mod search;
mod system;
mod test;
mod text;

use std::fmt::Display;

use bytes::Bytes;

use super::streams::{Output, Streams, WriteError};
use super::{Shell, interactive};
use crate::apiserver::runtime::container::Container;
use crate::apiserver::runtime::filesystem::FsError;
use crate::apiserver::runtime::pipe::Reader;

/// The longest line that commands take as one.
pub(super) const LINE: usize = 1024 * 1024;

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
    pub(super) fn words(self, shell: &str, name: &str) -> String {
        match (self, shell) {
            (Self::NotFound, "bash") => format!("bash: {name}: command not found\n"),
            (Self::NotFound, _) => format!("sh: {name}: not found\n"),
            (Self::NotExecutable, _) => format!("{shell}: {name}: Permission denied\n"),
        }
    }

    /// The status of a command that could not be run.
    pub(super) fn status(self) -> u8 {
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
pub(super) fn open(shell: &Shell, path: &str) -> Result<Reader, FsError> {
    let path = shell.absolute(path);
    match path.as_str() {
        "/dev/zero" => Ok(Reader::zeros()),
        "/dev/random" | "/dev/urandom" => Ok(Reader::noise()),
        path => shell.container.files.read(path).map(Reader::of),
    }
}

/// Opens `path` for writing.
pub(super) fn create(
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

/// What a command ends with: its status, unless it could not write.
type Ended = Result<u8, WriteError>;

/// One run of a command.
pub(super) struct Call<'a> {
    shell: &'a mut Shell,
    name: &'static str,
    arguments: &'a [String],
    streams: Streams,
}

impl<'a> Call<'a> {
    pub(super) fn new(
        shell: &'a mut Shell,
        name: &'static str,
        arguments: &'a [String],
        streams: Streams,
    ) -> Self {
        Self {
            shell,
            name,
            arguments,
            streams,
        }
    }

    /// Runs the command to its end.
    pub(super) async fn run(&mut self) -> Ended {
        match self.name {
            "true" | "kill" => Ok(0),
            "false" => Ok(1),
            "sh" | "ash" | "bash" => {
                interactive::shell(self.shell, self.name, self.arguments, &self.streams).await
            }
            "env" | "printenv" => self.env().await,
            "timeout" => self.timeout().await,
            "xargs" => self.xargs().await,
            "which" => self.which().await,
            "find" => self.find().await,
            "echo" => self.echo().await,
            "printf" => self.printf().await,
            "yes" => self.yes().await,
            "seq" => self.seq().await,
            "expr" => self.expr().await,
            "dd" => self.dd().await,
            "sha256sum" => self.checksum().await,
            "base64" => self.base64().await,
            "cat" => self.cat().await,
            "head" => self.head().await,
            "tail" => self.tail().await,
            "wc" => self.wc().await,
            "grep" | "egrep" => self.grep().await,
            "sort" => self.sort().await,
            "uniq" => self.uniq().await,
            "tr" => self.tr().await,
            "cut" => self.cut().await,
            "rev" => self.rev().await,
            "tee" => self.tee().await,
            "ls" => self.ls().await,
            "stat" => self.stat().await,
            "du" => self.du().await,
            "df" => self.df().await,
            "mkdir" => self.mkdir().await,
            "rm" | "rmdir" => self.rm().await,
            "touch" => self.touch().await,
            "cp" => self.cp().await,
            "mv" => self.mv().await,
            "ln" => self.ln().await,
            "chmod" => self.chmod().await,
            "mktemp" => self.mktemp().await,
            "tar" => self.tar().await,
            "test" | "[" => self.test().await,
            _ => self.system().await,
        }
    }

    async fn print(&self, text: impl Into<Bytes>) -> Result<(), WriteError> {
        self.streams.stdout.write(text).await
    }

    /// Writes a complaint and returns the status of a failure.
    async fn complain(&self, message: impl Display) -> Ended {
        let message = format!("{}: {message}\n", self.name);
        self.streams.stderr.write(message).await?;
        Ok(1)
    }

    /// The options given as letters, and the other arguments.
    fn options(&self) -> (String, Vec<&'a str>) {
        let mut letters = String::new();
        let mut operands = Vec::new();
        let mut only_operands = false;
        for argument in self.arguments {
            match argument.strip_prefix('-') {
                _ if only_operands => operands.push(argument.as_str()),
                Some("-") => only_operands = true,
                Some("") | None => operands.push(argument.as_str()),
                Some(long) if long.starts_with('-') => {}
                Some(short) => letters.push_str(short),
            }
        }
        (letters, operands)
    }

    /// The readers that `operands` name; standard input for `-` or if there are none. What cannot
    /// be opened is complained about and left out, which the flag tells.
    async fn inputs(
        &self,
        operands: &[&'a str],
    ) -> Result<(Vec<(&'a str, super::Input)>, bool), WriteError> {
        if operands.is_empty() {
            return Ok((vec![("-", self.streams.stdin.clone())], false));
        }
        let mut inputs = Vec::new();
        let mut failed = false;
        for &operand in operands {
            if matches!(operand, "-" | "/dev/stdin") {
                inputs.push((operand, self.streams.stdin.clone()));
                continue;
            }
            match open(self.shell, operand) {
                Ok(reader) => inputs.push((operand, super::Input::new(reader))),
                Err(error) => {
                    self.complain(format!("{operand}: {error}")).await?;
                    failed = true;
                }
            }
        }
        Ok((inputs, failed))
    }
}
