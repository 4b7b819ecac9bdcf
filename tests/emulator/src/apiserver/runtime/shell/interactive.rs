//! `sh` itself: with a script, from a file, or reading commands as they come.

use super::commands::{LINE, open};
use super::parse::{ParseError, parse};
use super::streams::{Streams, WriteError};
use super::{INTERRUPTED, Jump, Shell};

/// Runs `sh` with `arguments`.
pub(super) async fn shell(
    parent: &Shell,
    name: &str,
    arguments: &[String],
    streams: &Streams,
) -> Result<u8, WriteError> {
    let mut shell = parent.clone();
    shell.variables.retain(|_, variable| variable.exported);
    shell.status = 0;
    shell.exit_on_failure = false;
    let mut arguments = arguments;
    let mut command = false;
    while let Some((option, rest)) = arguments
        .split_first()
        .filter(|(option, _)| option.len() > 1 && option.starts_with('-'))
    {
        arguments = rest;
        if option == "--" {
            break;
        }
        // `--login` and its like change nothing here.
        if !option.starts_with("--") {
            command |= option.contains('c');
            shell.exit_on_failure |= option.contains('e');
        }
    }
    shell.arguments = vec![name.to_owned()];
    if command {
        let Some((script, rest)) = arguments.split_first() else {
            let message = format!("{name}: -c requires an argument\n");
            streams.stderr.write(message).await?;
            return Ok(2);
        };
        if !rest.is_empty() {
            shell.arguments = rest.to_vec();
        }
        return Ok(shell.script(script, streams).await);
    }
    if let Some(path) = arguments.first() {
        let mut reader = match open(&shell, path) {
            Ok(reader) => reader,
            Err(error) => {
                let message = format!("{name}: can't open '{path}': {error}\n");
                streams.stderr.write(message).await?;
                return Ok(2);
            }
        };
        let mut script = Vec::new();
        while let Some(line) = reader.line(LINE).await {
            script.extend_from_slice(&line);
            if script.len() > LINE {
                break;
            }
        }
        shell.arguments = arguments.to_vec();
        return Ok(shell
            .script(&String::from_utf8_lossy(&script), streams)
            .await);
    }
    shell.converse(streams).await
}

impl Shell {
    /// Reads commands from standard input and runs each once it is complete.
    async fn converse(&mut self, streams: &Streams) -> Result<u8, WriteError> {
        let mut terminal = self.terminal.clone();
        let _foreground = terminal.as_ref().map(super::Terminal::take_foreground);
        let mut script = String::new();
        loop {
            if terminal.is_some() {
                let prompt = self.prompt(!script.is_empty());
                streams.stdout.write(prompt).await?;
            }
            let line = if let Some(terminal) = &mut terminal {
                tokio::select! {
                    biased;
                    () = terminal.interrupted() => {
                        script.clear();
                        streams.stdout.write("\n").await?;
                        self.status = INTERRUPTED;
                        continue;
                    }
                    line = streams.stdin.line(LINE) => line,
                }
            } else {
                streams.stdin.line(LINE).await
            };
            let Some(line) = line else {
                if terminal.is_some() {
                    streams.stdout.write("\n").await?;
                }
                if !script.is_empty() {
                    return Ok(self.script(&script, streams).await);
                }
                return Ok(self.status);
            };
            script += &String::from_utf8_lossy(&line);
            let list = match parse(&script) {
                Err(ParseError::Incomplete) if script.len() <= LINE => continue,
                parsed => parsed,
            };
            script.clear();
            let list = match list {
                Ok(list) => list,
                Err(error) => {
                    let status = self.syntax_error(&error, streams).await;
                    if terminal.is_some() {
                        continue;
                    }
                    return Ok(status);
                }
            };
            let running = self.list(&list, streams);
            let ended = if let Some(terminal) = &mut terminal {
                terminal.forget_interrupts();
                tokio::select! {
                    biased;
                    () = terminal.interrupted() => None,
                    ended = running => Some(ended),
                }
            } else {
                Some(running.await)
            };
            match ended {
                None => {
                    self.status = INTERRUPTED;
                    streams.stdout.write("\n").await?;
                }
                Some(Err(Jump::Exit(status))) => return Ok(status),
                Some(ended) => {
                    self.settle(ended);
                }
            }
        }
    }

    fn prompt(&self, goes_on: bool) -> String {
        if goes_on {
            return "> ".to_owned();
        }
        if self.name() == "bash" {
            format!("root@{}:{}# ", self.container.pod.name, self.directory)
        } else {
            format!("{} # ", self.directory)
        }
    }
}
