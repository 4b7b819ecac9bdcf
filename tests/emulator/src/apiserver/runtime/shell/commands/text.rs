//! Commands that pass text on, changed or in part.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{Call, Ended, LINE};
use crate::apiserver::runtime::shell::streams::{Input, WriteError};

/// How many bytes `sort` and `tail` may hold.
const HELD: usize = 64 * 1024 * 1024;

/// What `head` and `tail` are asked for.
struct Extent {
    count: usize,
    bytes: bool,
    /// `+N`: from the N-th on, instead of so many.
    from: bool,
    follow: bool,
}

impl<'a> Call<'a> {
    pub(super) async fn cat(&mut self) -> Ended {
        let (options, operands) = self.options();
        let (inputs, failed) = self.inputs(&operands).await?;
        let mut number = 0;
        for (_, input) in inputs {
            if options.contains('n') {
                while let Some(line) = input.line(LINE).await {
                    number += 1;
                    let mut numbered = format!("{number:6}\t").into_bytes();
                    numbered.extend_from_slice(&line);
                    self.print(numbered).await?;
                }
            }
            while let Some(chunk) = input.chunk(usize::MAX).await {
                self.print(chunk).await?;
            }
        }
        Ok(u8::from(failed))
    }

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

    pub(super) async fn wc(&mut self) -> Ended {
        let (options, operands) = self.options();
        let (inputs, failed) = self.inputs(&operands).await?;
        let several = inputs.len() > 1;
        let mut total = [0_u64; 3];
        for (name, input) in inputs {
            let mut counts = [0_u64; 3];
            let mut inside = false;
            while let Some(chunk) = input.chunk(usize::MAX).await {
                counts[2] += chunk.len() as u64;
                for byte in chunk {
                    counts[0] += u64::from(byte == b'\n');
                    let blank = byte.is_ascii_whitespace();
                    counts[1] += u64::from(inside && blank);
                    inside = !blank;
                }
            }
            counts[1] += u64::from(inside);
            for (sum, count) in total.iter_mut().zip(counts) {
                *sum += count;
            }
            let name = if operands.is_empty() { "" } else { name };
            self.counts(&options, counts, name).await?;
        }
        if several {
            self.counts(&options, total, "total").await?;
        }
        Ok(u8::from(failed))
    }

    async fn counts(&self, options: &str, counts: [u64; 3], name: &str) -> Result<(), WriteError> {
        let wanted: Vec<u64> = ['l', 'w', 'c']
            .into_iter()
            .zip(counts)
            .filter(|(letter, _)| options.is_empty() || options.contains(*letter))
            .map(|(_, count)| count)
            .collect();
        let mut line = match wanted.as_slice() {
            [one] => one.to_string(),
            several => several.iter().map(|count| format!("{count:8}")).collect(),
        };
        if !name.is_empty() {
            line = format!("{line} {name}");
        }
        self.print(line + "\n").await
    }

    pub(super) async fn sort(&mut self) -> Ended {
        let (options, operands) = self.options();
        let (inputs, failed) = self.inputs(&operands).await?;
        let mut lines = Vec::new();
        let mut held = 0;
        for (_, input) in inputs {
            while let Some(mut line) = input.line(LINE).await {
                if !line.ends_with(b"\n") {
                    line.push(b'\n');
                }
                held += line.len();
                if held > HELD {
                    return self.complain("out of memory").await;
                }
                lines.push(line);
            }
        }
        if options.contains('n') {
            lines.sort_by_key(|line| number(line));
        } else {
            lines.sort();
        }
        if options.contains('r') {
            lines.reverse();
        }
        if options.contains('u') {
            lines.dedup();
        }
        self.print(lines.concat()).await?;
        Ok(u8::from(failed))
    }

    pub(super) async fn uniq(&mut self) -> Ended {
        let (options, operands) = self.options();
        let (inputs, failed) = self.inputs(&operands).await?;
        for (_, input) in inputs {
            let mut last: Option<(Vec<u8>, u64)> = None;
            loop {
                let line = input.line(LINE).await;
                if let (Some(line), Some((before, count))) = (&line, &mut last)
                    && line == before
                {
                    *count += 1;
                    continue;
                }
                if let Some((before, count)) = last.take() {
                    let count = if options.contains('c') {
                        format!("{count:7} ")
                    } else {
                        String::new()
                    };
                    self.print([count.into_bytes(), before].concat()).await?;
                }
                let Some(line) = line else { break };
                last = Some((line, 1));
            }
        }
        Ok(u8::from(failed))
    }

    pub(super) async fn tr(&mut self) -> Ended {
        let (options, operands) = self.options();
        let from = set(operands.first().copied().unwrap_or_default());
        let to = set(operands.get(1).copied().unwrap_or_default());
        let delete = options.contains('d');
        if from.is_empty() || (!delete && to.is_empty()) {
            return self.complain("missing operand").await;
        }
        while let Some(chunk) = self.streams.stdin.chunk(usize::MAX).await {
            let changed: Vec<u8> = chunk
                .iter()
                .filter_map(|byte| match from.iter().position(|other| other == byte) {
                    None => Some(*byte),
                    Some(_) if delete => None,
                    Some(at) => Some(to[at.min(to.len() - 1)]),
                })
                .collect();
            self.print(changed).await?;
        }
        Ok(0)
    }

    pub(super) async fn cut(&mut self) -> Ended {
        let mut delimiter = '\t';
        let mut fields: Option<(bool, &str)> = None;
        let mut operands = Vec::new();
        let mut arguments = self.arguments.iter();
        while let Some(argument) = arguments.next() {
            let (option, value) = match argument.split_at_checked(2) {
                Some((option @ ("-d" | "-f" | "-c"), "")) => {
                    (option, arguments.next().map_or("", String::as_str))
                }
                Some((option @ ("-d" | "-f" | "-c"), value)) => (option, value),
                _ => {
                    operands.push(argument.as_str());
                    continue;
                }
            };
            match option {
                "-d" => delimiter = value.chars().next().unwrap_or('\t'),
                option => fields = Some((option == "-c", value)),
            }
        }
        let Some((characters, list)) = fields else {
            return self
                .complain("expected a list of bytes, characters, or fields")
                .await;
        };
        let (inputs, failed) = self.inputs(&operands).await?;
        for (_, input) in inputs {
            while let Some(line) = input.line(LINE).await {
                let line = String::from_utf8_lossy(&line);
                let line = line.trim_end_matches('\n');
                let pieces: Vec<String> = if characters {
                    line.chars().map(String::from).collect()
                } else {
                    line.split(delimiter).map(str::to_owned).collect()
                };
                let chosen: Vec<&str> = pieces
                    .iter()
                    .enumerate()
                    .filter(|(at, _)| selects(list, at + 1))
                    .map(|(_, piece)| piece.as_str())
                    .collect();
                let joint = if characters {
                    String::new()
                } else {
                    delimiter.to_string()
                };
                self.print(chosen.join(&joint) + "\n").await?;
            }
        }
        Ok(u8::from(failed))
    }

    pub(super) async fn rev(&mut self) -> Ended {
        while let Some(line) = self.streams.stdin.line(LINE).await {
            let line = String::from_utf8_lossy(&line);
            let reversed: String = line.trim_end_matches('\n').chars().rev().collect();
            self.print(reversed + "\n").await?;
        }
        Ok(0)
    }

    pub(super) async fn tee(&mut self) -> Ended {
        let (options, operands) = self.options();
        let mut outputs = Vec::new();
        for path in operands {
            let truncate = !options.contains('a');
            match super::create(self.shell, path, truncate, &self.streams) {
                Ok(output) => outputs.push(output),
                Err(error) => return self.complain(format!("{path}: {error}")).await,
            }
        }
        while let Some(chunk) = self.streams.stdin.chunk(usize::MAX).await {
            for output in &outputs {
                output.write(chunk.clone()).await?;
            }
            self.print(chunk).await?;
        }
        Ok(0)
    }
}

/// All of an input, up to what a command may hold.
pub(super) async fn read_all(input: &Input) -> Bytes {
    let mut all = Vec::new();
    while all.len() < HELD {
        let Some(chunk) = input.chunk(usize::MAX).await else {
            break;
        };
        all.extend_from_slice(&chunk);
    }
    all.into()
}

/// The number that a line starts with.
fn number(line: &[u8]) -> i64 {
    let line = String::from_utf8_lossy(line);
    let line = line.trim_start();
    let digits = line
        .char_indices()
        .find(|(at, next)| !(next.is_ascii_digit() || (*at == 0 && *next == '-')))
        .map_or(line.len(), |(at, _)| at);
    line[..digits].parse().unwrap_or(0)
}

/// The bytes that a set of `tr` stands for.
fn set(description: &str) -> Vec<u8> {
    let expanded = description
        .replace("[:upper:]", "A-Z")
        .replace("[:lower:]", "a-z")
        .replace("[:digit:]", "0-9")
        .replace("[:space:]", " \t\n\r")
        .replace("\\n", "\n")
        .replace("\\t", "\t");
    let bytes = expanded.as_bytes();
    let mut set = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if let [low, b'-', high, ..] = bytes[at..] {
            set.extend(low..=high);
            at += 3;
        } else {
            set.push(bytes[at]);
            at += 1;
        }
    }
    set
}

/// Whether a list such as `1,3-5` has `at` in it.
fn selects(list: &str, at: usize) -> bool {
    list.split(',').any(|range| match range.split_once('-') {
        None => range.parse() == Ok(at),
        Some((low, high)) => {
            low.parse().unwrap_or(1) <= at && at <= high.parse().unwrap_or(usize::MAX)
        }
    })
}
