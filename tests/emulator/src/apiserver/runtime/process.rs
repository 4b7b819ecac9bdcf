//! Processes as a client sees them: three streams, a terminal size and an exit code.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::container::Container;
use super::pipe::{Reader, Writer, pipe};
use super::shell::{Input, Output, Shell, Streams};
use super::terminal::{Ends, Size, Terminal, carry};

/// The exit code of what was killed.
pub(super) const KILLED: u8 = 137;

/// A process; dropping it kills it.
#[derive(Debug)]
pub(crate) struct Process {
    /// Its standard input, if it has one; dropping it is the end of the input.
    pub(crate) stdin: Option<Writer>,
    /// Its standard output, or all that its terminal shows.
    pub(crate) stdout: Reader,
    /// Its standard error; without bytes if it has a terminal.
    pub(crate) stderr: Reader,
    /// Where to tell the size of its terminal.
    pub(crate) size: watch::Sender<Size>,
    running: AbortOnDropHandle<u8>,
    stopped: CancellationToken,
}

impl Process {
    /// Starts `arguments` in `container`; `done` hears of the exit code.
    pub(super) fn start(
        container: Arc<Container>,
        arguments: Vec<String>,
        stdin: bool,
        tty: bool,
        done: impl FnOnce(u8) + Send + 'static,
    ) -> Self {
        let stopped = container.stopped.clone();
        let (size, size_told) = watch::channel(Size::default());
        let (interrupts, interrupted) = watch::channel(0);
        let (stdin_writer, stdin_reader) = pipe();
        let (stdout_writer, stdout_reader) = pipe();
        let (stderr_writer, stderr_reader) = pipe();
        let terminal = tty.then(|| Terminal::new(size_told, interrupted));
        let shell = Shell::new(container, terminal.clone());
        let running = async move {
            if tty {
                let (process_input, keys) = pipe();
                let (shown, process_output) = pipe();
                let ends = Ends {
                    client_input: stdin_reader,
                    client_output: stdout_writer,
                    process_input,
                    process_output,
                };
                drop(stderr_writer);
                let streams = Streams {
                    stdin: Input::new(keys),
                    stdout: Output::Pipe(shown.clone()),
                    stderr: Output::Pipe(shown),
                };
                let (code, ()) =
                    futures_util::join!(shell.exec(arguments, streams), carry(ends, interrupts));
                code
            } else {
                let streams = Streams {
                    stdin: Input::new(if stdin { stdin_reader } else { Reader::empty() }),
                    stdout: Output::Pipe(stdout_writer),
                    stderr: Output::Pipe(stderr_writer),
                };
                shell.exec(arguments, streams).await
            }
        };
        let killed = stopped.clone();
        let running = tokio::spawn(async move {
            let code = tokio::select! {
                code = running => code,
                () = killed.cancelled() => KILLED,
            };
            done(code);
            code
        });
        Self {
            stdin: stdin.then_some(stdin_writer),
            stdout: stdout_reader,
            stderr: stderr_reader,
            size,
            running: AbortOnDropHandle::new(running),
            stopped,
        }
    }

    /// Something that only shows what `show` writes, as an attachment to a process that reads
    /// nothing.
    pub(super) fn show<F>(stopped: CancellationToken, show: impl FnOnce(Writer) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (writer, stdout) = pipe();
        let showing = show(writer);
        Self {
            stdin: None,
            stdout,
            stderr: Reader::empty(),
            size: watch::Sender::new(Size::default()),
            running: AbortOnDropHandle::new(tokio::spawn(async move {
                showing.await;
                0
            })),
            stopped,
        }
    }

    /// The exit code, once the process has ended.
    pub(crate) async fn wait(&mut self) -> u8 {
        // A process that cannot be joined was killed.
        (&mut self.running).await.unwrap_or(KILLED)
    }

    /// Cancelled when the pod stops.
    pub(crate) fn stopped(&self) -> CancellationToken {
        self.stopped.clone()
    }
}
