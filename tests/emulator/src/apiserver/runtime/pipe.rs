//! Byte pipes between processes, terminals and clients.
//!
//! A pipe holds a handful of chunks and no more: a writer waits until its reader has caught up, so
//! an endless command costs no memory. A pipe whose reader is gone is broken, as under Unix.

use bytes::Bytes;
use tokio::sync::mpsc;

/// The longest chunk that a pipe carries.
const CHUNK: usize = 32 * 1024;

/// A chunk of `/dev/zero`.
static ZEROS: [u8; CHUNK] = [0; CHUNK];

/// How many chunks a pipe holds.
const CHUNKS: usize = 8;

/// The reader has gone away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BrokenPipe;

/// The writing end; clones write to the same pipe, which ends with the last of them.
#[derive(Debug, Clone)]
pub(crate) struct Writer {
    chunks: mpsc::Sender<Bytes>,
}

/// The reading end.
#[derive(Debug)]
pub(crate) struct Reader {
    source: Source,
    rest: Bytes,
}

/// Where a reader's bytes come from once the chunk at hand is used up.
#[derive(Debug)]
enum Source {
    Pipe(mpsc::Receiver<Bytes>),
    Nothing,
    Zeros,
    Noise(u64),
}

/// Makes a pipe.
pub(crate) fn pipe() -> (Writer, Reader) {
    let (sender, receiver) = mpsc::channel(CHUNKS);
    let reader = Reader {
        source: Source::Pipe(receiver),
        rest: Bytes::new(),
    };
    (Writer { chunks: sender }, reader)
}

impl Writer {
    /// Writes all of `bytes`, waiting while the pipe is full.
    ///
    /// Not cancel safe: a dropped write may have written a part.
    pub(crate) async fn write(&self, bytes: impl Into<Bytes>) -> Result<(), BrokenPipe> {
        let mut bytes = bytes.into();
        while !bytes.is_empty() {
            let chunk = bytes.split_to(bytes.len().min(CHUNK));
            self.chunks.send(chunk).await.map_err(|_| BrokenPipe)?;
        }
        Ok(())
    }

    /// Passes one chunk on; an empty one marks an end of input after which the pipe goes on, as
    /// Ctrl+D does on a terminal.
    ///
    /// Cancel safe: a dropped call has passed nothing.
    pub(crate) async fn pass(&self, chunk: Bytes) -> Result<(), BrokenPipe> {
        self.chunks.send(chunk).await.map_err(|_| BrokenPipe)
    }

    /// As [`Writer::write`], for threads that may block.
    pub(crate) fn blocking_write(&self, bytes: &[u8]) -> Result<(), BrokenPipe> {
        for chunk in bytes.chunks(CHUNK) {
            self.chunks
                .blocking_send(Bytes::copy_from_slice(chunk))
                .map_err(|_| BrokenPipe)?;
        }
        Ok(())
    }
}

impl Reader {
    /// A reader of nothing.
    pub(crate) fn empty() -> Self {
        Self::of(Bytes::new())
    }

    /// A reader of `bytes`.
    pub(crate) fn of(bytes: Bytes) -> Self {
        Self {
            source: Source::Nothing,
            rest: bytes,
        }
    }

    /// A reader of zeros without end.
    pub(crate) fn zeros() -> Self {
        Self {
            source: Source::Zeros,
            rest: Bytes::new(),
        }
    }

    /// A reader of bytes that do not compress, without end; the same ones every time.
    pub(crate) fn noise() -> Self {
        Self {
            source: Source::Noise(0x9e37_79b9_7f4a_7c15),
            rest: Bytes::new(),
        }
    }

    /// The next bytes, at most `limit`; `None` at the end of the input.
    ///
    /// Cancel safe.
    pub(crate) async fn chunk(&mut self, limit: usize) -> Option<Bytes> {
        if self.rest.is_empty() {
            self.rest = match &mut self.source {
                Source::Pipe(chunks) => chunks.recv().await?,
                Source::Nothing => return None,
                Source::Zeros => {
                    tokio::task::yield_now().await;
                    Bytes::from_static(&ZEROS)
                }
                Source::Noise(state) => {
                    tokio::task::yield_now().await;
                    noise(state)
                }
            };
        }
        self.take(limit)
    }

    /// As [`Reader::chunk`], for threads that may block.
    pub(crate) fn blocking_chunk(&mut self, limit: usize) -> Option<Bytes> {
        if self.rest.is_empty() {
            self.rest = match &mut self.source {
                Source::Pipe(chunks) => chunks.blocking_recv()?,
                Source::Nothing => return None,
                Source::Zeros => Bytes::from_static(&ZEROS),
                Source::Noise(state) => noise(state),
            };
        }
        self.take(limit)
    }

    /// Everything up to and including the next newline, or what is left before the end of the
    /// input; `None` at the end. A line longer than `limit` comes in pieces.
    pub(crate) async fn line(&mut self, limit: usize) -> Option<Vec<u8>> {
        let mut line = Vec::new();
        while line.len() < limit {
            let Some(chunk) = self.chunk(limit - line.len()).await else {
                return (!line.is_empty()).then_some(line);
            };
            let Some(newline) = chunk.iter().position(|&byte| byte == b'\n') else {
                line.extend_from_slice(&chunk);
                continue;
            };
            line.extend_from_slice(&chunk[..=newline]);
            self.put_back(chunk.slice(newline + 1..));
            break;
        }
        Some(line)
    }

    /// Returns bytes that were taken but not used; the next read yields them first.
    fn put_back(&mut self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        self.rest = if self.rest.is_empty() {
            bytes
        } else {
            [bytes, std::mem::take(&mut self.rest)].concat().into()
        };
    }

    fn take(&mut self, limit: usize) -> Option<Bytes> {
        // An empty chunk is the mark of a terminal's end of input.
        if self.rest.is_empty() {
            return None;
        }
        Some(self.rest.split_to(self.rest.len().min(limit).min(CHUNK)))
    }
}

impl std::io::Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let Some(chunk) = self.blocking_chunk(buffer.len()) else {
            return Ok(0);
        };
        buffer[..chunk.len()].copy_from_slice(&chunk);
        Ok(chunk.len())
    }
}

impl std::io::Write for Writer {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        let piece = &buffer[..buffer.len().min(CHUNK)];
        self.blocking_write(piece)
            .map_err(|BrokenPipe| std::io::ErrorKind::BrokenPipe)?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A chunk of an xorshift sequence.
fn noise(state: &mut u64) -> Bytes {
    let mut bytes = Vec::with_capacity(CHUNK);
    while bytes.len() < CHUNK {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_come_one_at_a_time_and_leave_the_rest() {
        let (writer, mut reader) = pipe();
        writer
            .write(&b"one\ntw"[..])
            .await
            .expect("the reader is there");
        writer
            .write(&b"o\nrest"[..])
            .await
            .expect("the reader is there");
        drop(writer);
        assert_eq!(reader.line(100).await.as_deref(), Some(&b"one\n"[..]));
        assert_eq!(reader.line(100).await.as_deref(), Some(&b"two\n"[..]));
        assert_eq!(reader.chunk(100).await.as_deref(), Some(&b"rest"[..]));
        assert_eq!(reader.chunk(100).await, None);
    }

    #[tokio::test]
    async fn a_mark_ends_one_read_and_not_the_pipe() {
        let (writer, mut reader) = pipe();
        writer
            .pass(Bytes::new())
            .await
            .expect("the reader is there");
        writer
            .write(&b"more"[..])
            .await
            .expect("the reader is there");
        assert_eq!(reader.chunk(100).await, None);
        assert_eq!(reader.chunk(100).await.as_deref(), Some(&b"more"[..]));
    }

    #[tokio::test]
    async fn a_writer_waits_for_its_reader_and_breaks_without_it() {
        let (writer, reader) = pipe();
        let all = writer.write(vec![0; CHUNK * (CHUNKS + 1)]);
        tokio::pin!(all);
        let waiting = std::future::poll_fn(|context| {
            std::task::Poll::Ready(all.as_mut().poll(context).is_pending())
        });
        assert!(waiting.await, "a full pipe takes no more");
        drop(reader);
        assert_eq!(all.await, Err(BrokenPipe));
    }
}
