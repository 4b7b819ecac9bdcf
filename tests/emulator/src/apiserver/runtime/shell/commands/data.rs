//! Commands that make bytes or sum them up.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::text::read_all;
use super::{Call, Ended, create, open};
use crate::apiserver::runtime::shell::arithmetic::evaluate;
use crate::apiserver::runtime::shell::streams::{Input, WriteError};

/// The largest block that `dd` takes.
const BLOCK: u64 = 64 * 1024 * 1024;

impl Call<'_> {
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
        let Ok(value) = evaluate(&expression, &|_| None) else {
            self.complain("syntax error").await?;
            return Ok(2);
        };
        self.print(format!("{value}\n")).await?;
        Ok(u8::from(value == 0))
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
            let digest = digest
                .finalize()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<Vec<_>>()
                .concat();
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
