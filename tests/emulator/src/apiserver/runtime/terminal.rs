//! A terminal between a client and the processes of a container.
//!
//! The discipline of a terminal in its usual, canonical mode: input is echoed and handed on by the
//! line, a few control characters edit it, Ctrl+C interrupts, Ctrl+D ends the input, and output
//! gets its carriage returns.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{BufMut as _, Bytes, BytesMut};
use tokio::sync::watch;

use super::line::Line;
use super::pipe::{Reader, Writer};

/// How much input waits for a process that does not read.
const TYPED_AHEAD: usize = 64 * 1024;

/// What a terminal can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    /// Characters in a line.
    pub(crate) columns: u16,
    /// Lines.
    pub(crate) rows: u16,
}

impl Default for Size {
    fn default() -> Self {
        Self {
            columns: 80,
            rows: 24,
        }
    }
}

/// What processes see of their terminal.
#[derive(Debug, Clone)]
pub(crate) struct Terminal {
    size: watch::Receiver<Size>,
    interrupts: watch::Receiver<u64>,
    shells: Arc<AtomicUsize>,
}

/// An interactive shell that answers interrupts itself, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Foreground(Arc<AtomicUsize>);

impl Drop for Foreground {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Terminal {
    /// A terminal of which the size and the interrupts come from elsewhere.
    pub(crate) fn new(size: watch::Receiver<Size>, interrupts: watch::Receiver<u64>) -> Self {
        Self {
            size,
            interrupts,
            shells: Arc::default(),
        }
    }

    /// The size that the client has last told.
    pub(crate) fn size(&self) -> Size {
        *self.size.borrow()
    }

    /// Waits for the next Ctrl+C that this clone has not seen.
    ///
    /// Cancel safe.
    pub(crate) async fn interrupted(&mut self) {
        if self.interrupts.changed().await.is_err() {
            // Without a client nobody presses a key any more.
            std::future::pending::<()>().await;
        }
    }

    /// Forgets the interrupts so far.
    pub(crate) fn forget_interrupts(&mut self) {
        self.interrupts.mark_unchanged();
    }

    /// Makes an interactive shell the one to answer interrupts.
    pub(crate) fn take_foreground(&self) -> Foreground {
        self.shells.fetch_add(1, Ordering::Relaxed);
        Foreground(Arc::clone(&self.shells))
    }

    /// Whether an interactive shell answers interrupts.
    pub(crate) fn has_foreground(&self) -> bool {
        self.shells.load(Ordering::Relaxed) > 0
    }
}

/// The four ends that a terminal sits between.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) client_input: Reader,
    pub(crate) client_output: Writer,
    pub(crate) process_input: Writer,
    pub(crate) process_output: Reader,
}

/// Carries bytes both ways until the process has ended or the client has gone away.
pub(crate) async fn carry(ends: Ends, interrupts: watch::Sender<u64>) {
    let Ends {
        client_input,
        client_output,
        process_input,
        mut process_output,
    } = ends;
    let echo = client_output.clone();
    let output = async move {
        while let Some(chunk) = process_output.chunk(usize::MAX).await {
            if client_output.write(with_returns(&chunk)).await.is_err() {
                break;
            }
        }
    };
    let input = async move {
        type_in(client_input, echo, process_input, &interrupts).await;
        // The interrupts' sender stays until the end: a terminal without input still has a size.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = output => {}
        () = input => {}
    }
}

async fn type_in(mut keys: Reader, echo: Writer, process: Writer, interrupts: &watch::Sender<u64>) {
    let mut line = Line::default();
    let mut waiting: VecDeque<Bytes> = VecDeque::new();
    let mut size = 0;
    loop {
        let next = waiting.front().cloned();
        tokio::select! {
            typed = keys.chunk(usize::MAX), if size < TYPED_AHEAD => {
                let Some(typed) = typed else {
                    break;
                };
                let events = line.take(&typed);
                if !events.echo.is_empty() && echo.write(events.echo).await.is_err() {
                    return;
                }
                if events.interrupts > 0 {
                    waiting.clear();
                    size = 0;
                    interrupts.send_modify(|count| *count += 1);
                }
                size += events.lines.iter().map(Bytes::len).sum::<usize>();
                waiting.extend(events.lines);
            }
            passed = process.pass(next.unwrap_or_default()), if !waiting.is_empty() => {
                if passed.is_err() {
                    return;
                }
                size -= waiting.pop_front().map_or(0, |line| line.len());
            }
        }
    }
    waiting.extend(Some(line.rest()).filter(|rest| !rest.is_empty()));
    for line in waiting {
        if process.pass(line).await.is_err() {
            return;
        }
    }
}

fn with_returns(bytes: &[u8]) -> Bytes {
    let mut output = BytesMut::with_capacity(bytes.len() + 16);
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        match line.strip_suffix(b"\n") {
            Some(text) => {
                output.put_slice(text);
                output.put_slice(b"\r\n");
            }
            None => output.put_slice(line),
        }
    }
    output.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_gets_carriage_returns() {
        assert_eq!(
            with_returns(b"one\ntwo\n\nthree"),
            "one\r\ntwo\r\n\r\nthree"
        );
    }
}
