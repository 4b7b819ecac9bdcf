//! A response's body, holding on to its place in the pool until it ends.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

/// A response's body. Dropping it gives its place in the pool back.
#[derive(Debug)]
pub struct PooledBody {
    body: Incoming,
    place: Option<Box<dyn Place>>,
}

/// What a body holds on to; dropping it gives it back.
pub(super) trait Place: std::fmt::Debug + Send + Sync {}

impl PooledBody {
    pub(super) fn new(body: Incoming, place: Box<dyn Place>) -> Self {
        // Most answers are read to the end at once; an empty one has no end to wait for.
        let place = (!body.is_end_stream()).then_some(place);
        Self { body, place }
    }

    /// A body that holds on to nothing: its tunnel ends with it.
    pub fn alone(body: Incoming) -> Self {
        Self { body, place: None }
    }
}

impl Body for PooledBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        if frame.is_none() || frame.as_ref().is_some_and(Result::is_err) {
            self.place = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
