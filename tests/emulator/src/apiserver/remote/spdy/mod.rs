//! SPDY/3.1, the server's side, as far as Kubernetes' clients use it.
//!
//! Follows draft-mbelshe-httpbis-spdy-00 in framing and compression, and moby/spdystream, which is
//! what the clients run, in flow control: it neither sends `WINDOW_UPDATE` nor heeds it, so that
//! backpressure is TCP's. Hence a stream that is not read stops the whole session once its queue is
//! full (head-of-line blocking); in exchange a session holds little: per stream a few chunks
//! that wait to be read, per session a few that wait to be written.

mod dictionary;
mod frame;
mod headers;
mod session;
mod stream;
mod writer;

pub(crate) use session::Connection;
pub(crate) use stream::{Gone, Opened, Receiving, Sending};

#[cfg(test)]
mod tests;
