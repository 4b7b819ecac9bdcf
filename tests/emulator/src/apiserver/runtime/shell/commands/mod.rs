//! The commands of an image: what its `/bin` holds.

mod archive;
mod columns;
mod data;
mod extent;
mod files;
mod listing;
mod lookup;
mod nested;
mod print;
mod search;
mod system;
mod test;
mod text;

use std::fmt::Display;

use bytes::Bytes;

use super::streams::{Streams, WriteError};
use super::{Shell, interactive};

pub(crate) use lookup::{Found, Missing, find, names};
pub(super) use lookup::{create, open};

/// The longest line that commands take as one.
pub(super) const LINE: usize = 1024 * 1024;

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
