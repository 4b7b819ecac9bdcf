//! Commands that make bytes or sum them up.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::text::read_all;
use super::{Call, Ended, create, open};
use crate::apiserver::runtime::shell::streams::{Input, WriteError};

/// The largest block that `dd` takes.
const BLOCK: u64 = 64 * 1024 * 1024;

impl Call<'_> {
    pub(super) async fn echo(&mut self) -> Ended {
        let mut arguments = self.arguments;
        let (mut newline, mut escapes) = (true, false);
        while let Some((first, rest)) = arguments.split_first() {
            let Some(letters) = first
                .strip_prefix('-')
                .filter(|letters| !letters.is_empty())
                .filter(|letters| letters.chars().all(|letter| "neE".contains(letter)))
            else {
                break;
            };
            newline &= !letters.contains('n');
            escapes |= letters.contains('e');
            arguments = rest;
        }
        let mut text = arguments.join(" ").into_bytes();
        if escapes {
            text = unescape(&text);
        }
        if newline {
            text.push(b'\n');
        }
        self.print(text).await?;
        Ok(0)
    }

    pub(super) async fn printf(&mut self) -> Ended {
        let Some((format, arguments)) = self.arguments.split_first() else {
            return self.complain("usage: printf FORMAT [ARG...]").await;
        };
        let mut arguments = arguments.iter().map(String::as_str).peekable();
        loop {
            let before = arguments.len();
            let text = format_once(&unescape(format.as_bytes()), &mut arguments);
            self.print(text).await?;
            // The format is used again for as long as it takes arguments.
            if arguments.peek().is_none() || arguments.len() == before {
                return Ok(0);
            }
        }
    }

    pub(super) async fn yes(&mut self) -> Ended {
        let line = if self.arguments.is_empty() {
            "y\n".to_owned()
        } else {
            self.arguments.join(" ") + "\n"
        };
        let many = Bytes::from(line.repeat(8192 / line.len() + 1));
        loop {
            self.print(many.clone()).await?;
        }
    }

    pub(super) async fn seq(&mut self) -> Ended {
        let numbers: Result<Vec<i64>, _> = self
            .arguments
            .iter()
            .map(|argument| argument.parse())
            .collect();
        let (first, step, last) = match numbers.as_deref() {
            Ok([last]) => (1, 1, *last),
            Ok([first, last]) => (*first, 1, *last),
            Ok([first, step, last]) if *step != 0 => (*first, *step, *last),
            _ => return self.complain("usage: seq [FIRST [STEP]] LAST").await,
        };
        let mut next = first;
        let mut text = String::new();
        while (step > 0 && next <= last) || (step < 0 && next >= last) {
            text += &next.to_string();
            text.push('\n');
            if text.len() > 8192 {
                self.print(std::mem::take(&mut text)).await?;
            }
            let Some(following) = next.checked_add(step) else {
                break;
            };
            next = following;
        }
        self.print(text).await?;
        Ok(0)
    }

    pub(super) async fn expr(&mut self) -> Ended {
        let expression = self.arguments.join(" ").replace(" = ", " == ");
        match super::super::arithmetic::evaluate(&expression, &|_| None) {
            Ok(value) => {
                self.print(format!("{value}\n")).await?;
                Ok(u8::from(value == 0))
            }
            Err(_) => {
                self.complain("syntax error").await?;
                Ok(2)
            }
        }
    }

    pub(super) async fn dd(&mut self) -> Ended {
        let (mut block, mut count, mut skip) = (512, None, 0_u64);
        let (mut input, mut output, mut quiet) = (None, None, false);
        for argument in self.arguments {
            let (name, value) = argument.split_once('=').unwrap_or((argument, ""));
            let number = size(value);
            match (name, number) {
                ("bs" | "ibs" | "obs", Some(number @ 1..=BLOCK)) => block = number,
                ("count", Some(number)) => count = Some(number),
                ("skip", Some(number)) => skip = number,
                ("if", _) => input = Some(value),
                ("of", _) => output = Some(value),
                ("status", _) => quiet = value == "none",
                ("conv" | "iflag" | "oflag", _) => {}
                _ => return self.complain(format!("bad operand '{argument}'")).await,
            }
        }
        let input = match input {
            None => self.streams.stdin.clone(),
            Some(path) => match open(self.shell, path) {
                Ok(reader) => Input::new(reader),
                Err(error) => {
                    return self.complain(format!("can't open '{path}': {error}")).await;
                }
            },
        };
        let output = match output {
            None => self.streams.stdout.clone(),
            Some(path) => match create(self.shell, path, true, &self.streams) {
                Ok(output) => output,
                Err(error) => {
                    return self.complain(format!("can't open '{path}': {error}")).await;
                }
            },
        };
        let started = Instant::now();
        pass(&input, skip.saturating_mul(block), |_| async {
            Ok::<_, WriteError>(())
        })
        .await?;
        let limit = count.map_or(u64::MAX, |count| count.saturating_mul(block));
        let copied = pass(&input, limit, |chunk| output.write(chunk)).await?;
        if !quiet {
            let (whole, part) = (copied / block, u64::from(copied % block > 0));
            let seconds = started.elapsed().as_secs_f64();
            let report = format!(
                "{whole}+{part} records in\n{whole}+{part} records out\n{copied} bytes copied, {seconds:.6} seconds\n"
            );
            self.streams.stderr.write(report).await?;
        }
        Ok(0)
    }

    pub(super) async fn checksum(&mut self) -> Ended {
        let (_, operands) = self.options();
        let (inputs, failed) = self.inputs(&operands).await?;
        for (name, input) in inputs {
            let mut digest = Sha256::new();
            while let Some(chunk) = input.chunk(usize::MAX).await {
                digest.update(&chunk);
            }
            let digest: String = digest
                .finalize()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            self.print(format!("{digest}  {name}\n")).await?;
        }
        Ok(u8::from(failed))
    }

    pub(super) async fn base64(&mut self) -> Ended {
        let (options, operands) = self.options();
        let operands = if options.contains('w') {
            // The width of `-w 0` is an operand to the letters' parser.
            operands
                .into_iter()
                .filter(|operand| operand.parse::<u32>().is_err())
                .collect()
        } else {
            operands
        };
        let (inputs, failed) = self.inputs(&operands).await?;
        for (_, input) in inputs {
            let mut all = read_all(&input).await.to_vec();
            if options.contains('d') {
                all.retain(|byte| !byte.is_ascii_whitespace());
                match STANDARD.decode(&all) {
                    Ok(decoded) => self.print(decoded).await?,
                    Err(_) => return self.complain("truncated input").await,
                }
                continue;
            }
            let encoded = STANDARD.encode(&all);
            let width = if options.contains('w') {
                usize::MAX
            } else {
                76
            };
            for line in encoded.as_bytes().chunks(width) {
                self.print(line.to_vec()).await?;
                if width != usize::MAX {
                    self.print("\n").await?;
                }
            }
        }
        Ok(u8::from(failed))
    }
}

/// Hands at most `limit` bytes of `input` to `take` and returns how many there were.
async fn pass<F, R, E>(input: &Input, limit: u64, take: F) -> Result<u64, E>
where
    F: Fn(Bytes) -> R,
    R: Future<Output = Result<(), E>>,
{
    let mut passed = 0;
    while passed < limit {
        let left = usize::try_from(limit - passed).unwrap_or(usize::MAX);
        let Some(chunk) = input.chunk(left).await else {
            break;
        };
        passed += chunk.len() as u64;
        take(chunk).await?;
    }
    Ok(passed)
}

/// A number with a suffix such as `k` or `M`.
fn size(text: &str) -> Option<u64> {
    let digits = text
        .find(|next: char| !next.is_ascii_digit())
        .unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let factor = match &text[digits..] {
        "" | "c" => 1,
        "k" | "K" | "kB" | "KiB" => 1 << 10,
        "m" | "M" | "MB" | "MiB" => 1 << 20,
        "g" | "G" | "GB" | "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(factor)
}

/// `text` with its backslash escapes replaced.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut output = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            output.push(byte);
            continue;
        }
        let Some((&escaped, after)) = rest.split_first() else {
            output.push(b'\\');
            break;
        };
        rest = after;
        let digits = |radix: u32, most: usize, rest: &[u8]| {
            rest.iter()
                .take(most)
                .take_while(|digit| char::from(**digit).is_digit(radix))
                .count()
        };
        let (radix, count) = match escaped {
            b'x' => (16, digits(16, 2, rest)),
            b'0' => (8, digits(8, 3, rest)),
            _ => (0, 0),
        };
        if radix != 0 {
            let value = rest[..count].iter().fold(0_u32, |value, digit| {
                value * radix + char::from(*digit).to_digit(radix).unwrap_or(0)
            });
            // As in C, what does not fit into a byte loses its upper bits.
            output.push(value.to_le_bytes()[0]);
            rest = &rest[count..];
            continue;
        }
        match escaped {
            b'n' => output.push(b'\n'),
            b't' => output.push(b'\t'),
            b'r' => output.push(b'\r'),
            b'a' => output.push(7),
            b'b' => output.push(8),
            b'e' => output.push(27),
            b'\\' => output.push(b'\\'),
            other => output.extend_from_slice(&[b'\\', other]),
        }
    }
    output
}

/// One use of a `printf` format.
fn format_once<'a>(format: &[u8], arguments: &mut impl Iterator<Item = &'a str>) -> Vec<u8> {
    let mut output = Vec::new();
    let mut rest = format;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            output.push(byte);
            continue;
        }
        let length = rest
            .iter()
            .take_while(|next| next.is_ascii_digit() || matches!(next, b'-' | b'.'))
            .count();
        let flags = String::from_utf8_lossy(&rest[..length]).into_owned();
        let Some(&conversion) = rest.get(length) else {
            break;
        };
        rest = &rest[length + 1..];
        let text = match conversion {
            b'%' => "%".to_owned(),
            b'd' | b'i' | b'u' => {
                let number: i64 = arguments.next().unwrap_or("0").parse().unwrap_or(0);
                number.to_string()
            }
            b'x' => {
                let number: i64 = arguments.next().unwrap_or("0").parse().unwrap_or(0);
                format!("{number:x}")
            }
            b'c' => arguments
                .next()
                .unwrap_or_default()
                .chars()
                .take(1)
                .collect(),
            _ => arguments.next().unwrap_or_default().to_owned(),
        };
        let zero = flags.starts_with('0') && conversion != b's';
        let width = flags
            .trim_start_matches('-')
            .split('.')
            .next()
            .and_then(|width| width.parse::<usize>().ok())
            .unwrap_or(0)
            .min(1024);
        let padded = match (flags.starts_with('-'), zero) {
            (true, _) => format!("{text:<width$}"),
            (false, true) => format!("{text:0>width$}"),
            (false, false) => format!("{text:>width$}"),
        };
        output.extend_from_slice(padded.as_bytes());
    }
    output
}
