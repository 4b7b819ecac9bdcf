//! The line that is being typed on a terminal, and the keys that edit it.

use bytes::Bytes;

/// The longest line that can be typed.
const LINE: usize = 4096;

/// The line that is being typed.
#[derive(Debug, Default)]
pub(super) struct Line {
    text: Vec<u8>,
}

/// What a few keys have brought about.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Events {
    pub(super) echo: Vec<u8>,
    /// Lines for the process; an empty one is an end of input.
    pub(super) lines: Vec<Bytes>,
    pub(super) interrupts: usize,
}

impl Line {
    /// Takes what was typed.
    pub(super) fn take(&mut self, keys: &[u8]) -> Events {
        let mut events = Events::default();
        for &key in keys {
            match key {
                0x03 => {
                    self.text.clear();
                    events.lines.clear();
                    events.echo.extend_from_slice(b"^C");
                    events.interrupts += 1;
                }
                0x04 => events.lines.push(std::mem::take(&mut self.text).into()),
                b'\r' | b'\n' => {
                    self.text.push(b'\n');
                    events.echo.extend_from_slice(b"\r\n");
                    events.lines.push(std::mem::take(&mut self.text).into());
                }
                0x7f | 0x08 => {
                    if self.erase() {
                        events.echo.extend_from_slice(b"\x08 \x08");
                    }
                }
                0x15 => {
                    while self.erase() {
                        events.echo.extend_from_slice(b"\x08 \x08");
                    }
                }
                0x17 => {
                    while self.text.last() == Some(&b' ') && self.erase() {
                        events.echo.extend_from_slice(b"\x08 \x08");
                    }
                    while self.text.last().is_some_and(|last| *last != b' ') && self.erase() {
                        events.echo.extend_from_slice(b"\x08 \x08");
                    }
                }
                key if self.text.len() + 1 < LINE => {
                    self.text.push(key);
                    match key {
                        b'\t' | 0x20.. => events.echo.push(key),
                        control => events.echo.extend_from_slice(&[b'^', control | 0x40]),
                    }
                }
                _ => events.echo.push(0x07),
            }
        }
        events
    }

    /// What is left of a line that was not ended.
    pub(super) fn rest(self) -> Bytes {
        self.text.into()
    }

    /// Takes the last character back, however many bytes it has.
    fn erase(&mut self) -> bool {
        let mut erased = false;
        while let Some(byte) = self.text.pop() {
            erased = true;
            if byte & 0xc0 != 0x80 {
                break;
            }
        }
        erased
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_edit_the_line() {
        for (keys, line, echo) in [
            (&b"ls\r"[..], &b"ls\n"[..], &b"ls\r\n"[..]),
            (b"lx\x7fs\r", b"ls\n", b"lx\x08 \x08s\r\n"),
            (b"ab\x15c\n", b"c\n", b"ab\x08 \x08\x08 \x08c\r\n"),
            (b"a bc\x17d\r", b"a d\n", b"a bc\x08 \x08\x08 \x08d\r\n"),
            ("ä\x7f!\r".as_bytes(), b"!\n", "ä\x08 \x08!\r\n".as_bytes()),
        ] {
            let events = Line::default().take(keys);
            assert_eq!(events.lines, [Bytes::copy_from_slice(line)]);
            assert_eq!(events.echo, echo);
        }
    }

    #[test]
    fn an_interrupt_drops_what_was_typed() {
        let mut line = Line::default();
        let events = line.take(b"one\rtw\x03three\r");
        assert_eq!(events.interrupts, 1);
        assert_eq!(events.lines, [Bytes::from_static(b"three\n")]);
    }

    #[test]
    fn an_end_of_input_hands_on_what_is_there() {
        let mut line = Line::default();
        assert_eq!(line.take(b"ab\x04").lines, [Bytes::from_static(b"ab")]);
        assert_eq!(line.take(b"\x04").lines, [Bytes::new()]);
    }
}
