//! What the fuzz targets call: every reader of what others wrote, and what must hold of what it
//! makes of that.
//!
//! Only built with `--cfg fuzzing`, which `tests/fuzz/run` sets and nothing else: the shipped binary
//! has none of it. Each part of the house keeps its own targets beside what they call, in a module
//! of this name.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::{Builder, Runtime};

use crate::{azure, kubeconfig, net, proxy, relay, remembered, session, tunnel};

/// Takes any bytes; panics where a law is broken.
pub type Target = fn(&[u8]);

/// The targets by their names, which are those of the folders of their corpora.
pub const TARGETS: [(&str, Target); 14] = [
    ("arm", azure::fuzzing::arm),
    ("challenge", azure::fuzzing::challenge),
    ("cloud", azure::fuzzing::cloud),
    ("connect", net::fuzzing::connect),
    ("far_side", session::fuzzing::far_side),
    ("files", files),
    ("gate", proxy::fuzzing::gate),
    ("issuer", net::fuzzing::issuer),
    ("key_file", azure::login::fuzzing::key_file),
    ("lease", session::fuzzing::lease),
    ("merge", kubeconfig::fuzzing::merge),
    ("relay", stream),
    ("tokens", azure::login::fuzzing::tokens),
    ("web_proxy", net::fuzzing::web_proxy),
];

/// Files of az's and of our own that another run, or somebody, left.
fn files(data: &[u8]) {
    azure::fuzzing::az(data);
    azure::login::fuzzing::kept(data);
    remembered::fuzzing(data);
}

/// What comes through the relay: frames, and what is in them.
fn stream(data: &[u8]) {
    relay::fuzzing::frames(data);
    tunnel::fuzzing::dialect(data);
}

/// The target called `name`.
pub fn target(name: &str) -> Option<Target> {
    let (_, target) = TARGETS.iter().find(|(known, _)| *known == name)?;
    Some(*target)
}

/// Runs what waits for nothing but its own wire.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: RefCell<Runtime> = RefCell::new(
            Builder::new_current_thread().enable_all().build().expect("a runtime"),
        );
    }
    RUNTIME.with_borrow(|runtime| runtime.block_on(future))
}

/// A connection whose other side says `input`, a few bytes at a time, and then ends. It says
/// nothing before it is told something, whatever that is, if it is [`Wire::asked`].
#[derive(Debug)]
pub(crate) struct Wire {
    input: Vec<u8>,
    read: usize,
    piece: usize,
    waits: bool,
    reader: Option<Waker>,
}

impl Wire {
    /// The other side says `input` in pieces of `piece` bytes, or all at once for 0.
    pub(crate) fn new(input: impl Into<Vec<u8>>, piece: u8) -> Self {
        let piece = if piece == 0 { usize::MAX } else { piece.into() };
        Self {
            input: input.into(),
            read: 0,
            piece,
            waits: false,
            reader: None,
        }
    }

    /// The other side answers.
    pub(crate) fn asked(self) -> Self {
        Self {
            waits: true,
            ..self
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.waits {
            self.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let left = &self.input[self.read..];
        let length = left.len().min(self.piece).min(buf.remaining());
        buf.put_slice(&left[..length]);
        self.read += length;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.waits = false;
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
