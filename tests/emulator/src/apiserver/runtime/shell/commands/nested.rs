//! Commands that run other commands.

use super::{Call, Ended, Found, Missing, find, system};
use crate::apiserver::runtime::shell::INTERRUPTED;

impl Call<'_> {
    pub(super) async fn env(&mut self) -> Ended {
        let mut arguments = self.arguments;
        let mut shell = self.shell.clone();
        if self.name == "printenv"
            && let Some(name) = arguments.first()
        {
            let Some(value) = shell.get(name) else {
                return Ok(1);
            };
            self.print(value + "\n").await?;
            return Ok(0);
        }
        while let Some((first, rest)) = arguments.split_first() {
            if first == "-i" {
                shell.variables.clear();
            } else if let Some((name, value)) = first.split_once('=') {
                shell.export(name, Some(value.to_owned()));
            } else {
                return Ok(shell
                    .execute(arguments.to_vec(), self.streams.clone())
                    .await);
            }
            arguments = rest;
        }
        let listed = shell
            .exported()
            .map(|(name, value)| format!("{name}={value}\n"))
            .collect::<Vec<_>>()
            .concat();
        self.print(listed).await?;
        Ok(0)
    }

    pub(super) async fn timeout(&mut self) -> Ended {
        let (limit, command) = match self.arguments {
            [limit, command @ ..] if !command.is_empty() => (limit, command),
            _ => return self.complain("usage: timeout SECS PROG ARGS").await,
        };
        let Some(limit) = system::duration(limit) else {
            return self.complain(format!("invalid number '{limit}'")).await;
        };
        let running = self.shell.execute(command.to_vec(), self.streams.clone());
        // What a killed command leaves is 143; `timeout` says 124 instead.
        Ok(tokio::time::timeout(limit, running).await.unwrap_or(124))
    }

    pub(super) async fn xargs(&mut self) -> Ended {
        let mut command = self.arguments.to_vec();
        let mut each = usize::MAX;
        while command.first().is_some_and(|first| first.starts_with('-')) {
            let option = command.remove(0);
            if option == "-n" && !command.is_empty() {
                each = command.remove(0).parse().unwrap_or(usize::MAX).max(1);
            }
        }
        if command.is_empty() {
            command.push("echo".to_owned());
        }
        let input = super::text::read_all(&self.streams.stdin).await;
        let input = String::from_utf8_lossy(&input).into_owned();
        let words: Vec<String> = input.split_whitespace().map(str::to_owned).collect();
        let mut status = 0;
        for words in words.chunks(each) {
            let line = [command.as_slice(), words].concat();
            let code = self.shell.execute(line, self.streams.clone()).await;
            match code {
                0 => {}
                INTERRUPTED | 127 => return Ok(code),
                _ => status = 123,
            }
        }
        Ok(status)
    }

    pub(super) async fn which(&mut self) -> Ended {
        let mut status = 0;
        for name in self.arguments {
            let path = self.shell.absolute(name);
            match find(&self.shell.container, &path, name) {
                Ok(Found::Command(command)) if !name.contains('/') => {
                    self.print(format!("/bin/{command}\n")).await?;
                }
                Ok(_) => self.print(format!("{path}\n")).await?,
                Err(Missing::NotFound | Missing::NotExecutable) => status = 1,
            }
        }
        Ok(status)
    }
}
