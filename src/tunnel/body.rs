//! Answers' bodies: each holds on to its place in the pool until it ends, tells it what it moves,
//! and ends with an error unless all of it came.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

/// What a body holds on to; dropping it gives it back.
pub(super) trait Place: fmt::Debug + Send + Sync {
    /// The body has moved so many bytes more.
    fn moved(&mut self, bytes: usize);
}

/// A response's body. Dropping it gives its place in the pool back.
#[derive(Debug)]
pub struct PooledBody {
    body: Incoming,
    place: Option<Box<dyn Place>>,
    /// Whether the body itself knows of its end when it has come, as HTTP/2's does and a chunked
    /// one does not.
    knows_end: bool,
}

/// The answer's end did not come.
#[derive(Debug)]
struct Cut;

impl PooledBody {
    /// A body without a place: one that has a tunnel to itself.
    pub fn new(body: Incoming) -> Self {
        Self {
            body,
            place: None,
            knows_end: false,
        }
    }

    /// An HTTP/2 body in `place`, of which one that has ended already has no need.
    pub(super) fn http2(body: Incoming, place: impl Place + 'static) -> Self {
        Self {
            knows_end: true,
            ..Self::http1(body, place)
        }
    }

    /// An HTTP/1.1 body in `place`.
    pub(super) fn http1(body: Incoming, place: impl Place + 'static) -> Self {
        let place = (!body.is_end_stream()).then(|| Box::new(place) as Box<dyn Place>);
        Self {
            place,
            ..Self::new(body)
        }
    }
}

impl Body for PooledBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let (Some(place), Some(data)) = (&mut self.place, frame.data_ref()) {
                    place.moved(data.len());
                }
            }
            Some(Err(_)) | None => self.place = None,
        }
        // A stream that was reset as if nothing were wrong ends in hyper like one that is whole.
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
        f.write_str("the answer was cut off")
    }
}

impl std::error::Error for Cut {}
