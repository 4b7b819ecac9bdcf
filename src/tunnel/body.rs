//! Bodies that hold on to their place in the pool until they end, and tell it what they move.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use hyper::body::{Body, Frame, Incoming, SizeHint};

/// A response's body. Dropping it gives its place in the pool back.
#[derive(Debug)]
pub struct PooledBody {
    body: Incoming,
    place: Option<Box<dyn Place>>,
}

/// What a body holds on to; dropping it gives it back.
pub(super) trait Place: std::fmt::Debug + Send + Sync {
    /// The body has moved so many bytes more.
    fn moved(&mut self, bytes: usize);
}

/// A request's body that tells a place of what it moves, once it has one.
#[derive(Debug)]
pub(super) struct Metered<B> {
    body: B,
    place: Option<Box<dyn Place>>,
}

impl<B: Body> Metered<B> {
    pub(super) fn new(body: B) -> Self {
        Self { body, place: None }
    }

    /// Goes out from `place`, of which a body without bytes has no need.
    pub(super) fn place(&mut self, place: impl Place + 'static) {
        self.place = (!self.body.is_end_stream()).then(|| Box::new(place) as Box<dyn Place>);
    }
}

impl<B: Body + Unpin> Body for Metered<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        meter(&mut self.place, frame.as_ref());
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Tells the place of `frame`, and lets go of it at the end.
fn meter<D: Buf, E>(place: &mut Option<Box<dyn Place>>, frame: Option<&Result<Frame<D>, E>>) {
    match frame {
        Some(Ok(frame)) => {
            if let (Some(place), Some(data)) = (place, frame.data_ref()) {
                place.moved(data.remaining());
            }
        }
        Some(Err(_)) | None => *place = None,
    }
}

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
        meter(&mut self.place, frame.as_ref());
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
