//! Running what was parsed: one method for each kind of node, which call each other.

use futures_util::future::{BoxFuture, FutureExt as _, join_all};

use super::commands::{self, Call};
use super::parse::{BOTH, ParseError, parse};
use super::streams::{Input, Output, Streams, WriteError};
use super::syntax::{Command, List, Pipeline, Redirect, Stage, Target, When, Word};
use super::{DEPTH, Jump, Shell};
use crate::apiserver::runtime::pipe::{Reader, pipe};

/// The status of a command whose reader has gone away, as after SIGPIPE.
pub(super) const BROKEN: u8 = 141;

impl Shell {
    /// Runs a script to its end.
    pub(super) async fn script(&mut self, script: &str, streams: &Streams) -> u8 {
        match parse(script) {
            Ok(list) => {
                let ended = self.list(&list, streams).await;
                self.settle(ended)
            }
            Err(error) => self.syntax_error(&error, streams).await,
        }
    }

    pub(super) async fn syntax_error(&mut self, error: &ParseError, streams: &Streams) -> u8 {
        let found = match error {
            ParseError::Incomplete => "end of file",
            ParseError::Unexpected(found) => found,
        };
        let message = format!("{}: syntax error: unexpected \"{found}\"\n", self.name());
        // Nobody is left to tell if standard error is gone.
        let _ = streams.stderr.write(message).await;
        self.status = 2;
        2
    }

    /// The status that is left when a list has ended, by itself or by a jump out of it.
    pub(super) fn settle(&mut self, ended: Result<u8, Jump>) -> u8 {
        self.status = match ended {
            Ok(status) | Err(Jump::Exit(status)) => status,
            Err(Jump::Break | Jump::Continue) => 0,
        };
        self.status
    }

    pub(super) fn list<'a>(
        &'a mut self,
        list: &'a List,
        streams: &'a Streams,
    ) -> BoxFuture<'a, Result<u8, Jump>> {
        async move {
            let mut status = 0;
            for (at, (when, pipeline)) in list.0.iter().enumerate() {
                let runs = match when {
                    When::Always => true,
                    When::Succeeded => self.status == 0,
                    When::Failed => self.status != 0,
                };
                if !runs {
                    status = self.status;
                    continue;
                }
                status = self.pipeline(pipeline, streams).await?;
                self.status = status;
                let tested = pipeline.negated
                    || list
                        .0
                        .get(at + 1)
                        .is_some_and(|(when, _)| *when != When::Always);
                if self.exit_on_failure && status != 0 && !tested {
                    return Err(Jump::Exit(status));
                }
            }
            Ok(status)
        }
        .boxed()
    }

    async fn pipeline(&mut self, pipeline: &Pipeline, streams: &Streams) -> Result<u8, Jump> {
        let status = if let [stage] = pipeline.stages.as_slice() {
            self.stage(stage, streams.clone()).await?
        } else {
            self.stages(&pipeline.stages, streams).await
        };
        Ok(if pipeline.negated {
            u8::from(status == 0)
        } else {
            status
        })
    }

    /// Runs all stages at once, each in a shell of its own.
    async fn stages(&mut self, stages: &[Stage], streams: &Streams) -> u8 {
        let mut running = Vec::new();
        let mut stdin = streams.stdin.clone();
        for (at, stage) in stages.iter().enumerate() {
            let (stdout, next) = if at + 1 == stages.len() {
                (streams.stdout.clone(), Input::new(Reader::empty()))
            } else {
                let (writer, reader) = pipe();
                (Output::Pipe(writer), Input::new(reader))
            };
            let streams = Streams {
                stdin: std::mem::replace(&mut stdin, next),
                stdout,
                stderr: streams.stderr.clone(),
            };
            let mut shell = self.clone();
            // The streams end with their stage, which is how its neighbours learn of it.
            running.push(async move {
                let ended = shell.stage(stage, streams).await;
                shell.settle(ended)
            });
        }
        join_all(running).await.last().copied().unwrap_or(0)
    }

    async fn stage(&mut self, stage: &Stage, mut streams: Streams) -> Result<u8, Jump> {
        for redirect in &stage.redirects {
            if let Err(message) = self.redirect(redirect, &mut streams).await {
                return Ok(self.complain(&message, &streams).await);
            }
        }
        match &stage.command {
            Command::Simple { assignments, words } => {
                self.simple(assignments, words, streams).await
            }
            Command::If {
                branches,
                otherwise,
            } => {
                for (condition, body) in branches {
                    if self.condition(condition, &streams).await? == 0 {
                        return self.list(body, &streams).await;
                    }
                }
                self.list(otherwise, &streams).await
            }
            Command::Loop {
                until,
                condition,
                body,
            } => {
                let mut status = 0;
                loop {
                    // A loop of nothing but builtins must still let others run.
                    tokio::task::yield_now().await;
                    if (self.condition(condition, &streams).await? == 0) == *until {
                        return Ok(status);
                    }
                    match self.list(body, &streams).await {
                        Ok(ended) => status = ended,
                        Err(Jump::Continue) => {}
                        Err(Jump::Break) => return Ok(0),
                        Err(exit) => return Err(exit),
                    }
                }
            }
            Command::For { name, words, body } => {
                let values = match self.expand(words, &streams).await {
                    Ok(values) => values,
                    Err(message) => return Ok(self.complain(&message, &streams).await),
                };
                let mut status = 0;
                for value in values {
                    self.set(name, value);
                    match self.list(body, &streams).await {
                        Ok(ended) => status = ended,
                        Err(Jump::Continue) => {}
                        Err(Jump::Break) => break,
                        Err(exit) => return Err(exit),
                    }
                }
                Ok(status)
            }
            Command::Subshell(list) => {
                let mut shell = self.clone();
                let ended = shell.list(list, &streams).await;
                Ok(shell.settle(ended))
            }
            Command::Group(list) => self.list(list, &streams).await,
        }
    }

    /// A list whose failure is an answer and not an error.
    async fn condition(&mut self, list: &List, streams: &Streams) -> Result<u8, Jump> {
        let exits = std::mem::replace(&mut self.exit_on_failure, false);
        let ended = self.list(list, streams).await;
        self.exit_on_failure = exits;
        ended
    }

    async fn redirect(&mut self, redirect: &Redirect, streams: &mut Streams) -> Result<(), String> {
        let output = match &redirect.target {
            Target::Read(word) => {
                let path = self.expand_whole(word, streams).await?;
                let reader = commands::open(self, &path)
                    .map_err(|error| format!("can't open {path}: {error}"))?;
                streams.stdin = Input::new(reader);
                return Ok(());
            }
            Target::Duplicate(1) => streams.stdout.clone(),
            Target::Duplicate(2) => streams.stderr.clone(),
            Target::Duplicate(0) if redirect.descriptor == 0 => return Ok(()),
            Target::Duplicate(other) => return Err(format!("{other}: Bad file descriptor")),
            Target::Write(word) | Target::Append(word) => {
                let path = self.expand_whole(word, streams).await?;
                let truncate = matches!(redirect.target, Target::Write(_));
                commands::create(self, &path, truncate, streams)
                    .map_err(|error| format!("can't create {path}: {error}"))?
            }
        };
        match redirect.descriptor {
            1 => streams.stdout = output,
            2 => streams.stderr = output,
            BOTH => {
                streams.stdout = output.clone();
                streams.stderr = output;
            }
            other => return Err(format!("{other}: Bad file descriptor")),
        }
        Ok(())
    }

    async fn simple(
        &mut self,
        assignments: &[(String, Word)],
        words: &[Word],
        streams: Streams,
    ) -> Result<u8, Jump> {
        let arguments = match self.expand(words, &streams).await {
            Ok(arguments) => arguments,
            Err(message) => return Ok(self.complain(&message, &streams).await),
        };
        let mut values = Vec::new();
        let substituted = std::mem::replace(&mut self.status, 0);
        for (name, word) in assignments {
            match self.expand_whole(word, &streams).await {
                Ok(value) => values.push((name, value)),
                Err(message) => return Ok(self.complain(&message, &streams).await),
            }
        }
        let Some(name) = arguments.first() else {
            for (name, value) in values {
                self.set(name, value);
            }
            // `x=$(false)` fails as its substitution does.
            return Ok(self.status);
        };
        self.status = substituted;
        if let Some(ended) = self.builtin(name, &arguments[1..], &streams).await {
            return ended;
        }
        let mut process = self.clone();
        for (name, value) in values {
            process.export(name, Some(value));
        }
        Ok(process.execute(arguments, streams).await)
    }

    /// Runs an executable, not a builtin, and returns its status.
    pub(super) fn execute(
        &mut self,
        arguments: Vec<String>,
        streams: Streams,
    ) -> BoxFuture<'_, u8> {
        async move {
            let Some(name) = arguments.first().cloned() else {
                return 0;
            };
            if self.depth >= DEPTH {
                let message = format!(
                    "{}: {name}: Resource temporarily unavailable\n",
                    self.name()
                );
                let _ = streams.stderr.write(message).await;
                return 126;
            }
            self.depth += 1;
            let status = match commands::find(&self.container, &self.absolute(&name), &name) {
                Ok(commands::Found::Command(command)) => {
                    let mut call = Call::new(self, command, &arguments[1..], streams.clone());
                    match call.run().await {
                        Ok(status) => status,
                        Err(WriteError::Broken) => BROKEN,
                        Err(WriteError::File(error)) => {
                            let message = format!("{command}: write error: {error}\n");
                            let _ = streams.stderr.write(message).await;
                            1
                        }
                    }
                }
                Ok(commands::Found::Script(script)) => {
                    self.arguments = arguments;
                    self.script(&script, &streams).await
                }
                Err(missing) => {
                    let message = missing.words(self.name(), &name);
                    let _ = streams.stderr.write(message).await;
                    missing.status()
                }
            };
            self.depth -= 1;
            status
        }
        .boxed()
    }

    pub(super) async fn complain(&mut self, message: &str, streams: &Streams) -> u8 {
        let message = format!("{}: {message}\n", self.name());
        // Nobody is left to tell if standard error is gone.
        let _ = streams.stderr.write(message).await;
        1
    }
}
