//! Answers' bodies: each holds on to its place in the pool until it ends, and tells it what it
//! moves.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Response, Version};
use hyper::body::{Body, Frame, Incoming, SizeHint};

use crate::whole::Whole;

/// What a body holds on to; dropping it gives it back.
pub(super) trait Place: fmt::Debug + Send + Sync {
    /// The body has moved so many bytes more.
    fn moved(&mut self, bytes: usize);
}

/// A response's body. Dropping it gives its place in the pool back.
#[derive(Debug)]
pub struct PooledBody {
    body: Whole,
    place: Option<Box<dyn Place>>,
}

impl PooledBody {
    /// A body without a place: one that has an HTTP/1.1 tunnel to itself.
    pub fn new(body: Incoming) -> Self {
        Self {
            body: Whole::new(body, Version::HTTP_11),
            place: None,
        }
    }

    /// `answer` with its body in `place`, of which one that has ended already has no need.
    pub(super) fn of(answer: Response<Incoming>, place: impl Place + 'static) -> Response<Self> {
        let version = answer.version();
        answer.map(|body| Self {
            place: (!body.is_end_stream()).then(|| Box::new(place) as Box<dyn Place>),
            body: Whole::new(body, version),
        })
    }
}

impl Body for PooledBody {
    type Data = Bytes;
    type Error = <Whole as Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let (Some(place), Some(data)) = (&mut self.place, frame.data_ref()) {
                    place.moved(data.len());
                }
            }
            Some(Err(_)) | None => self.place = None,
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
