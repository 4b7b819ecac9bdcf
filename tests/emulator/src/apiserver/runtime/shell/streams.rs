//! The three standard streams of a command.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Mutex;

use crate::apiserver::runtime::filesystem::{FileSystem, FsError};
use crate::apiserver::runtime::pipe::{BrokenPipe, Reader, Writer};

/// Standard input, output and error.
#[derive(Debug, Clone)]
pub(crate) struct Streams {
    pub(crate) stdin: Input,
    pub(crate) stdout: Output,
    pub(crate) stderr: Output,
}

/// Something to read from; clones share the place in it, as processes share an open file.
#[derive(Debug, Clone)]
pub(crate) struct Input(Arc<Mutex<Reader>>);

/// Something to write to.
#[derive(Debug, Clone)]
pub(crate) enum Output {
    /// A pipe, a terminal or a client.
    Pipe(Writer),
    /// The end of a file.
    File {
        /// The container's files.
        files: Arc<FileSystem>,
        /// Where the file is, absolute.
        path: String,
    },
    /// Nowhere.
    Null,
}

/// Why nothing more can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WriteError {
    /// The reader is gone: the writing process ends silently.
    Broken,
    /// The file cannot be written.
    File(FsError),
}

impl From<BrokenPipe> for WriteError {
    fn from(BrokenPipe: BrokenPipe) -> Self {
        Self::Broken
    }
}

impl From<FsError> for WriteError {
    fn from(error: FsError) -> Self {
        Self::File(error)
    }
}

impl Input {
    /// Reads from `reader`.
    pub(crate) fn new(reader: Reader) -> Self {
        Self(Arc::new(Mutex::new(reader)))
    }

    /// The next bytes, at most `limit`; `None` at the end.
    pub(crate) async fn chunk(&self, limit: usize) -> Option<Bytes> {
        self.0.lock().await.chunk(limit).await
    }

    /// The next line, in pieces of `limit` if it is longer.
    pub(crate) async fn line(&self, limit: usize) -> Option<Vec<u8>> {
        self.0.lock().await.line(limit).await
    }

    /// The reader, for a thread that may block.
    pub(crate) fn blocking(&self) -> tokio::sync::MutexGuard<'_, Reader> {
        self.0.blocking_lock()
    }
}

impl Output {
    /// Writes all of `bytes`.
    pub(crate) async fn write(&self, bytes: impl Into<Bytes>) -> Result<(), WriteError> {
        match self {
            Self::Pipe(writer) => Ok(writer.write(bytes).await?),
            // A command that never waits for a reader must still let others run.
            Self::File { files, path } => {
                tokio::task::yield_now().await;
                Ok(files.append(path, &bytes.into())?)
            }
            Self::Null => {
                tokio::task::yield_now().await;
                Ok(())
            }
        }
    }

    /// As [`Output::write`], for threads that may block.
    pub(crate) fn blocking_write(&self, bytes: &[u8]) -> Result<(), WriteError> {
        match self {
            Self::Pipe(writer) => Ok(writer.blocking_write(bytes)?),
            Self::File { files, path } => Ok(files.append(path, bytes)?),
            Self::Null => Ok(()),
        }
    }
}
