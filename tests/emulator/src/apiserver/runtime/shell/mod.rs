//! A small POSIX-like shell with the commands that people and kubectl expect in a container.
//!
//! Everything a command line starts runs inside the future of that command line: dropping it is
//! what kills the processes. Nothing is spawned but archive threads, which end with their pipes.

mod arithmetic;
mod builtin;
mod commands;
mod expand;
mod interactive;
mod parse;
mod run;
mod streams;
mod syntax;
mod words;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::container::Container;
use super::terminal::Terminal;

pub(crate) use commands::{Missing, find, names};
pub(crate) use streams::{Input, Output, Streams};

/// How deep scripts may call scripts.
const DEPTH: usize = 16;

/// The status of a command that was interrupted.
pub(crate) const INTERRUPTED: u8 = 130;

/// The state of a shell, or of the process that it is about to start.
#[derive(Debug, Clone)]
pub(crate) struct Shell {
    container: Arc<Container>,
    terminal: Option<Terminal>,
    variables: BTreeMap<String, Variable>,
    directory: String,
    /// `$0`, `$1`, …
    arguments: Vec<String>,
    status: u8,
    depth: usize,
    /// `set -e`
    exit_on_failure: bool,
}

#[derive(Debug, Clone)]
struct Variable {
    value: String,
    exported: bool,
}

/// Why a list of commands ends early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Jump {
    Exit(u8),
    Break,
    Continue,
}

impl Shell {
    /// The state in which a process of `container` starts.
    pub(crate) fn new(container: Arc<Container>, terminal: Option<Terminal>) -> Self {
        let variables = container
            .environment(terminal.is_some())
            .into_iter()
            .map(|(name, value)| {
                (
                    name,
                    Variable {
                        value,
                        exported: true,
                    },
                )
            })
            .collect();
        Self {
            container,
            terminal,
            variables,
            directory: "/".to_owned(),
            arguments: vec!["sh".to_owned()],
            status: 0,
            depth: 0,
            exit_on_failure: false,
        }
    }

    /// Runs `arguments` as a process and returns its exit code.
    pub(crate) async fn exec(mut self, arguments: Vec<String>, streams: Streams) -> u8 {
        let Some(mut terminal) = self.terminal.clone() else {
            return self.execute(arguments, streams).await;
        };
        let watched = terminal.clone();
        let mut running = self.execute(arguments, streams);
        loop {
            tokio::select! {
                biased;
                code = &mut running => return code,
                // A shell in front of the terminal answers for what it has started.
                () = terminal.interrupted() => if !watched.has_foreground() {
                    return INTERRUPTED;
                },
            }
        }
    }

    fn set(&mut self, name: &str, value: String) {
        if let Some(variable) = self.variables.get_mut(name) {
            variable.value = value;
        } else {
            let variable = Variable {
                value,
                exported: false,
            };
            self.variables.insert(name.to_owned(), variable);
        }
    }

    fn export(&mut self, name: &str, value: Option<String>) {
        let variable = self
            .variables
            .entry(name.to_owned())
            .or_insert_with(|| Variable {
                value: String::new(),
                exported: true,
            });
        variable.exported = true;
        if let Some(value) = value {
            variable.value = value;
        }
    }

    fn get(&self, name: &str) -> Option<String> {
        let size = || {
            self.terminal
                .as_ref()
                .map(Terminal::size)
                .unwrap_or_default()
        };
        match name {
            "?" => Some(self.status.to_string()),
            "$" => Some("1".to_owned()),
            "#" => Some((self.arguments.len() - 1).to_string()),
            "@" | "*" => Some(self.arguments[1..].join(" ")),
            "PWD" => Some(self.directory.clone()),
            "COLUMNS" if self.terminal.is_some() => Some(size().columns.to_string()),
            "LINES" if self.terminal.is_some() => Some(size().rows.to_string()),
            name if name.bytes().all(|byte| byte.is_ascii_digit()) => {
                self.arguments.get(name.parse::<usize>().ok()?).cloned()
            }
            name => self
                .variables
                .get(name)
                .map(|variable| variable.value.clone()),
        }
    }

    /// What a command that it starts inherits, sorted by name.
    fn exported(&self) -> impl Iterator<Item = (&str, &str)> {
        self.variables
            .iter()
            .filter(|(_, variable)| variable.exported)
            .map(|(name, variable)| (name.as_str(), variable.value.as_str()))
    }

    /// `path` as seen from the working directory.
    fn absolute(&self, path: &str) -> String {
        super::filesystem::join(&self.directory, path)
    }

    /// The name under which it complains.
    fn name(&self) -> &str {
        let name = &self.arguments[0];
        name.rsplit('/').next().unwrap_or(name)
    }
}

#[cfg(test)]
mod tests;
