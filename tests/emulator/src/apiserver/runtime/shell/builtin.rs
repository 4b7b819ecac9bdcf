//! Commands that change the shell itself.

use super::parse::parse;
use super::streams::Streams;
use super::{Jump, Shell, commands};

impl Shell {
    /// Runs a command that changes the shell itself.
    pub(super) async fn builtin(
        &mut self,
        name: &str,
        arguments: &[String],
        streams: &Streams,
    ) -> Option<Result<u8, Jump>> {
        let first = arguments.first().map(String::as_str);
        Some(match name {
            "cd" => {
                let home = self.get("HOME").unwrap_or_else(|| "/".to_owned());
                let to = match first {
                    Some("-") => self.get("OLDPWD").unwrap_or_else(|| "/".to_owned()),
                    Some(path) => path.to_owned(),
                    None => home,
                };
                let path = self.absolute(&to);
                match self.container.files.metadata(&path) {
                    Ok(metadata) if metadata.is_directory() => {
                        let left = std::mem::replace(&mut self.directory, path);
                        self.set("OLDPWD", left);
                        Ok(0)
                    }
                    Ok(_) => Ok(self
                        .complain(&format!("cd: can't cd to {to}: Not a directory"), streams)
                        .await),
                    Err(error) => Ok(self
                        .complain(&format!("cd: can't cd to {to}: {error}"), streams)
                        .await),
                }
            }
            "exit" => Err(Jump::Exit(match first {
                None => self.status,
                // Exit codes are the low eight bits, whatever a script asks for.
                Some(code) => code
                    .parse::<i64>()
                    .map_or(2, |code| code.rem_euclid(256).try_into().unwrap_or(2)),
            })),
            "break" => Err(Jump::Break),
            "continue" => Err(Jump::Continue),
            "export" | "readonly" => {
                for argument in arguments {
                    let (name, value) = match argument.split_once('=') {
                        Some((name, value)) => (name, Some(value.to_owned())),
                        None => (argument.as_str(), None),
                    };
                    self.export(name, value);
                }
                if arguments.is_empty() {
                    let listed = self
                        .exported()
                        .map(|(name, value)| format!("export {name}='{value}'\n"))
                        .collect::<Vec<_>>()
                        .concat();
                    return Some(Ok(u8::from(streams.stdout.write(listed).await.is_err())));
                }
                Ok(0)
            }
            "unset" => {
                for name in arguments {
                    self.variables.remove(name);
                }
                Ok(0)
            }
            "set" => {
                for option in arguments {
                    match option.as_str() {
                        option if option.starts_with('-') && option.contains('e') => {
                            self.exit_on_failure = true;
                        }
                        option if option.starts_with('+') && option.contains('e') => {
                            self.exit_on_failure = false;
                        }
                        _ => {}
                    }
                }
                Ok(0)
            }
            "shift" => {
                let failed = self.arguments.len() < 2;
                if !failed {
                    self.arguments.remove(1);
                }
                Ok(u8::from(failed))
            }
            "read" => Ok(self.read(arguments, streams).await),
            "eval" => {
                let script = arguments.join(" ");
                match parse(&script) {
                    Ok(list) => self.list(&list, streams).await,
                    Err(error) => Ok(self.syntax_error(&error, streams).await),
                }
            }
            "exec" if arguments.is_empty() => Ok(0),
            "exec" => {
                let mut process = self.clone();
                Err(Jump::Exit(
                    process.execute(arguments.to_vec(), streams.clone()).await,
                ))
            }
            ":" | "trap" | "umask" | "wait" | "ulimit" | "alias" => Ok(0),
            _ => return None,
        })
    }

    /// `read NAME…`: a line, its last name taking what is left.
    async fn read(&mut self, arguments: &[String], streams: &Streams) -> u8 {
        let names: Vec<&String> = arguments
            .iter()
            .filter(|argument| !argument.starts_with('-'))
            .collect();
        let Some(line) = streams.stdin.line(commands::LINE).await else {
            return 1;
        };
        let line = String::from_utf8_lossy(&line).into_owned();
        let mut rest = line.trim();
        for (at, name) in names.iter().enumerate() {
            let (value, left) = if at + 1 == names.len() {
                (rest, "")
            } else {
                rest.split_once(char::is_whitespace).unwrap_or((rest, ""))
            };
            self.set(name, value.to_owned());
            rest = left.trim_start();
        }
        0
    }
}
