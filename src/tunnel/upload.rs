//! Requests' bodies: each tells its tunnel what it moves, and one that is small is kept until the
//! answer comes, since a request that the far side has not acted upon may be sent again.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use hyper::body::{Body, Frame, SizeHint};

use super::body::Place;

/// The largest body that is kept. kubectl's are smaller, but for uploads and huge objects.
const KEPT: usize = 64 << 10;

/// The body of a request on its way out.
#[derive(Debug)]
pub(super) struct Upload<B> {
    source: Source<B>,
    place: Option<Box<dyn Place>>,
    kept: Option<Kept>,
}

#[derive(Debug)]
enum Source<B> {
    Given(B),
    /// All of it, from an earlier attempt.
    Kept(Bytes),
}

/// What has gone by of a body, as long as it is small.
#[derive(Debug, Clone, Default)]
pub(super) struct Kept(Arc<Mutex<Parts>>);

#[derive(Debug, Default)]
struct Parts {
    data: Vec<Bytes>,
    length: usize,
    is_whole: bool,
    is_too_large: bool,
}

impl<B: Body<Data = Bytes> + Unpin> Upload<B> {
    pub(super) fn new(body: B) -> Self {
        Self {
            source: Source::Given(body),
            place: None,
            kept: None,
        }
    }

    /// A body that consists of `bytes`.
    pub(super) fn whole(bytes: Bytes) -> Self {
        Self {
            source: Source::Kept(bytes),
            place: None,
            kept: None,
        }
    }

    /// Goes out in `place`, of which a body that has ended already has no need.
    pub(super) fn place(&mut self, place: impl Place + 'static) {
        self.place = (!self.is_end_stream()).then(|| Box::new(place) as Box<dyn Place>);
    }

    /// Keeps what goes by. `None` if that is more than is kept, as far as the body tells.
    pub(super) fn keep(&mut self) -> Option<Kept> {
        if self.size_hint().lower() > KEPT as u64 {
            return None;
        }
        let kept = Kept::default();
        self.kept = Some(kept.clone());
        Some(kept)
    }
}

impl Kept {
    /// All of the body, if all of it went by and was kept.
    pub(super) fn whole(&self) -> Option<Bytes> {
        let parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !parts.is_whole || parts.is_too_large {
            return None;
        }
        match &parts.data[..] {
            [one] => Some(one.clone()),
            many => Some(many.concat().into()),
        }
    }

    /// Takes note of a frame, or of the body's end.
    fn pass(&self, frame: Option<&Frame<Bytes>>, is_last: bool) {
        let mut parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(frame) = frame else {
            parts.is_whole = true;
            return;
        };
        let data = frame.data_ref();
        parts.length += data.map_or(0, Bytes::len);
        // Trailers are not kept.
        parts.is_too_large |= data.is_none() || parts.length > KEPT;
        if parts.is_too_large {
            parts.data = Vec::new();
        } else if let Some(data) = data {
            parts.data.push(data.clone());
        }
        parts.is_whole = is_last;
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Upload<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let body = match &mut self.source {
            Source::Given(body) => body,
            Source::Kept(bytes) if bytes.is_empty() => return Poll::Ready(None),
            Source::Kept(bytes) => {
                return Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes)))));
            }
        };
        let frame = std::task::ready!(Pin::new(body).poll_frame(cx));
        if let Some(kept) = &self.kept {
            match &frame {
                Some(Ok(frame)) => kept.pass(Some(frame), self.is_end_stream()),
                None => kept.pass(None, true),
                Some(Err(_)) => {}
            }
        }
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
        match &self.source {
            Source::Given(body) => body.is_end_stream(),
            Source::Kept(bytes) => bytes.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Given(body) => body.size_hint(),
            Source::Kept(bytes) => SizeHint::with_exact(bytes.len() as u64),
        }
    }
}
