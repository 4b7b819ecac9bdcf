//! A body as lines.

use bytes::{Buf as _, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::super::board::Verdict;
use super::request::failed;

/// Reads a body line by line.
#[derive(Debug)]
pub(super) struct Lines {
    body: Incoming,
    read: BytesMut,
}

impl Lines {
    pub(super) fn new(body: Incoming) -> Self {
        Self {
            body,
            read: BytesMut::new(),
        }
    }

    /// The next line without its end; none at the end of the body.
    ///
    /// # Errors
    ///
    /// When the body breaks off, or ends within a line.
    pub(super) async fn next(&mut self) -> Result<Option<BytesMut>, Verdict> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line = self.read.split_to(end);
                self.read.advance(1);
                return Ok(Some(line));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.read.extend_from_slice(data);
                    }
                }
                Some(Err(error)) => return Err(failed(&error)),
                None if self.read.is_empty() => return Ok(None),
                None => return Err(Verdict::Truncated("it ends within a line".to_owned())),
            }
        }
    }
}
