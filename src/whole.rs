//! Bodies that end with an error unless all of them came.
//!
//! An HTTP/2 stream that is reset as if nothing were wrong (`NO_ERROR`) ends in hyper like one that
//! is whole. Passed on like that, half a body would be a body.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Version;
use hyper::body::{Body, Frame, Incoming, SizeHint};

/// A message's body as it comes.
#[derive(Debug)]
pub struct Whole {
    body: Incoming,
    /// Whether the body itself knows of its end when it has come, as HTTP/2's does and a chunked
    /// one does not.
    knows_end: bool,
}

/// The body's end did not come.
#[derive(Debug)]
struct Cut;

impl Whole {
    /// The body of a message that came over HTTP of `version`.
    pub fn new(body: Incoming, version: Version) -> Self {
        Self {
            body,
            knows_end: version == Version::HTTP_2,
        }
    }
}

impl Body for Whole {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if frame.is_none() && self.knows_end && !self.body.is_end_stream() {
            return Poll::Ready(Some(Err(Cut.into())));
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the body was cut off")
    }
}

impl Error for Cut {}
