//! Bodies that hold on to their place in the pool until they end, and tell it what they move.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Buf as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};

/// A response's body. Dropping it gives its place in the pool back.
pub type PooledBody = Metered<Incoming>;

/// What a body holds on to; dropping it gives it back.
pub(super) trait Place: std::fmt::Debug + Send + Sync {
    /// The body has moved so many bytes more.
    fn moved(&mut self, bytes: usize);
}

/// A body that tells its place of what it moves, once it has one.
#[derive(Debug)]
pub struct Metered<B> {
    /// None is an empty one.
    body: Option<B>,
    place: Option<Box<dyn Place>>,
}

impl<B: Body> Metered<B> {
    /// A body without a place: one that has a tunnel to itself, or has none yet.
    pub fn new(body: B) -> Self {
        Self {
            body: Some(body),
            place: None,
        }
    }

    /// No body.
    pub(super) fn empty() -> Self {
        Self {
            body: None,
            place: None,
        }
    }

    fn has_ended(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    /// Holds on to `place`, of which a body that has ended already has no need.
    pub(super) fn place(&mut self, place: impl Place + 'static) {
        self.place = (!self.has_ended()).then(|| Box::new(place) as Box<dyn Place>);
    }

    /// The body in `place`.
    pub(super) fn at(body: B, place: impl Place + 'static) -> Self {
        let mut metered = Self::new(body);
        metered.place(place);
        metered
    }
}

impl<B: Body + Unpin> Body for Metered<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let frame = std::task::ready!(Pin::new(body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let (Some(place), Some(data)) = (&mut self.place, frame.data_ref()) {
                    place.moved(data.remaining());
                }
            }
            Some(Err(_)) | None => self.place = None,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.has_ended()
    }

    fn size_hint(&self) -> SizeHint {
        let empty = || SizeHint::with_exact(0);
        self.body.as_ref().map_or_else(empty, Body::size_hint)
    }
}
