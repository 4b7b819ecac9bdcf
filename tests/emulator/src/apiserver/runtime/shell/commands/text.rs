//! Commands that pass text on, changed or in part.

use bytes::Bytes;

use super::{Call, Ended, LINE};
use crate::apiserver::runtime::shell::streams::{Input, WriteError};

/// How many bytes a command may hold.
pub(super) const HELD: usize = 64 * 1024 * 1024;

impl Call<'_> {
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
            several => several
                .iter()
                .map(|count| format!("{count:8}"))
                .collect::<Vec<_>>()
                .concat(),
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
