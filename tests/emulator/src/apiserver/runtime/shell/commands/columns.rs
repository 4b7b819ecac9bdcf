//! Commands that change lines from within.

use super::{Call, Ended, LINE};

impl Call<'_> {
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
