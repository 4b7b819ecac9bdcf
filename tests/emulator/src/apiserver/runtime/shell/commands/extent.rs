//! The first or the last of a text.

use std::collections::VecDeque;

use super::text::{HELD, read_all};
use super::{Call, Ended, LINE};
use crate::apiserver::runtime::shell::streams::{Input, WriteError};

/// What `head` and `tail` are asked for.
struct Extent {
    count: usize,
    bytes: bool,
    /// `+N`: from the N-th on, instead of so many.
    from: bool,
    follow: bool,
}

impl<'a> Call<'a> {
    pub(super) async fn head(&mut self) -> Ended {
        let (extent, operands) = match self.extent() {
            Ok(parsed) => parsed,
            Err(message) => return self.complain(message).await,
        };
        let (inputs, failed) = self.inputs(&operands).await?;
        for (name, input) in &inputs {
            self.banner(inputs.len(), name).await?;
            let mut left = extent.count;
            while left > 0 {
                if extent.bytes {
                    let Some(chunk) = input.chunk(left).await else {
                        break;
                    };
                    left -= chunk.len();
                    self.print(chunk).await?;
                } else {
                    let Some(line) = input.line(LINE).await else {
                        break;
                    };
                    left -= usize::from(line.ends_with(b"\n"));
                    self.print(line).await?;
                }
            }
        }
        Ok(u8::from(failed))
    }

    pub(super) async fn tail(&mut self) -> Ended {
        let (extent, operands) = match self.extent() {
            Ok(parsed) => parsed,
            Err(message) => return self.complain(message).await,
        };
        let (inputs, failed) = self.inputs(&operands).await?;
        for (name, input) in &inputs {
            self.banner(inputs.len(), name).await?;
            match (extent.from, extent.bytes) {
                (true, bytes) => self.tail_from(input, extent.count, bytes).await?,
                (false, true) => {
                    let all = read_all(input).await;
                    let start = all.len().saturating_sub(extent.count);
                    self.print(all.slice(start..)).await?;
                }
                (false, false) => {
                    let mut lines = VecDeque::new();
                    let mut held = 0;
                    while let Some(line) = input.line(LINE).await {
                        held += line.len();
                        lines.push_back(line);
                        if lines.len() > extent.count || held > HELD {
                            held -= lines.pop_front().map_or(0, |line| line.len());
                        }
                    }
                    self.print(Vec::from(lines).concat()).await?;
                }
            }
        }
        if extent.follow {
            // Files here grow only while somebody types: following one is waiting to be stopped.
            std::future::pending::<()>().await;
        }
        Ok(u8::from(failed))
    }

    async fn tail_from(&self, input: &Input, from: usize, bytes: bool) -> Result<(), WriteError> {
        let mut skip = from.saturating_sub(1);
        while skip > 0 {
            if bytes {
                let Some(chunk) = input.chunk(skip).await else {
                    return Ok(());
                };
                skip -= chunk.len();
            } else {
                if input.line(LINE).await.is_none() {
                    return Ok(());
                }
                skip -= 1;
            }
        }
        while let Some(chunk) = input.chunk(usize::MAX).await {
            self.print(chunk).await?;
        }
        Ok(())
    }

    async fn banner(&self, inputs: usize, name: &str) -> Result<(), WriteError> {
        if inputs > 1 {
            self.print(format!("==> {name} <==\n")).await?;
        }
        Ok(())
    }

    /// `-n N`, `-nN`, `-N`, `-c N` and the operands.
    fn extent(&self) -> Result<(Extent, Vec<&'a str>), String> {
        let mut extent = Extent {
            count: 10,
            bytes: false,
            from: false,
            follow: false,
        };
        let mut operands = Vec::new();
        let mut arguments = self.arguments.iter();
        while let Some(argument) = arguments.next() {
            let Some(option) = argument.strip_prefix('-').filter(|rest| !rest.is_empty()) else {
                operands.push(argument.as_str());
                continue;
            };
            if matches!(option, "f" | "F") {
                extent.follow = true;
                continue;
            }
            let value = match option.strip_prefix(['n', 'c']) {
                Some("") => arguments.next().map(String::as_str),
                Some(value) => Some(value),
                None => Some(option),
            };
            let value = value.ok_or("option requires an argument")?;
            extent.bytes = option.starts_with('c');
            extent.from = value.starts_with('+');
            extent.count = value
                .trim_start_matches(['+', '-'])
                .parse()
                .map_err(|_| format!("invalid number '{value}'"))?;
        }
        Ok((extent, operands))
    }
}
