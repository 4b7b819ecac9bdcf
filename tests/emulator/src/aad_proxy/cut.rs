//! An answer that breaks off.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::http::{Body, BodyError};

/// A body that fails once it has given so many bytes, unless it ends before.
pub(super) struct Cut {
    inner: Body,
    left: usize,
}

impl Cut {
    pub(super) fn new(inner: Body, bytes: u64) -> Self {
        let left = usize::try_from(bytes).unwrap_or(usize::MAX);
        Self { inner, left }
    }
}

impl HttpBody for Cut {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.left == 0 {
            let error = io::Error::from(io::ErrorKind::UnexpectedEof);
            return Poll::Ready(Some(Err(error.into())));
        }
        let Some(frame) = ready!(Pin::new(&mut self.inner).poll_frame(cx)) else {
            return Poll::Ready(None);
        };
        let left = self.left;
        let frame = frame?.map_data(|data| data.slice(..data.len().min(left)));
        self.left -= frame.data_ref().map_or(0, Bytes::len);
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.left > 0 && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use http_body_util::BodyExt as _;

    use super::*;
    use crate::http::full;

    #[tokio::test]
    async fn a_longer_body_breaks_off_and_a_shorter_one_does_not() {
        let mut cut = Cut::new(full("12345"), 3);
        let first = cut.frame().await.unwrap().unwrap();
        assert_eq!(first.into_data().unwrap(), "123");
        cut.frame().await.unwrap().unwrap_err();
        let whole = Cut::new(full("12345"), 6).collect().await.unwrap();
        assert_eq!(whole.to_bytes(), "12345");
    }
}
