//! `echo` and `printf`.

use super::{Call, Ended};

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
