//! One stream of a session: headers, a receiving and a sending half.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::frame::ResetReason;
use super::headers::Headers;

/// The longest data frame that is sent, bytes.
pub(super) const DATA: usize = 32 * 1024;

/// What a stream asks the session's writer for.
#[derive(Debug)]
pub(super) enum Order {
    Reply { stream: u32 },
    Reset { stream: u32, reason: ResetReason },
    Ping { id: u32 },
    Data { stream: u32, data: Bytes, fin: bool },
}

/// The stream or its session is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gone;

/// A stream that the peer has opened and that waits for an answer.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(super) id: u32,
    pub(super) headers: Headers,
    pub(super) data: mpsc::Receiver<Bytes>,
    pub(super) control: mpsc::Sender<Order>,
    pub(super) orders: mpsc::Sender<Order>,
    pub(super) reset: CancellationToken,
    pub(super) alive: Arc<()>,
}

impl Opened {
    /// What the peer says of the stream.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }

    /// The peer's number of the stream.
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// Replies, after which the peer sends data.
    pub(crate) async fn accept(self) -> Result<(Receiving, Sending), Gone> {
        let reply = Order::Reply { stream: self.id };
        // Before anything else of this stream is in a queue, as the peer drops data without it.
        self.control.send(reply).await.map_err(|_| Gone)?;
        let receiving = Receiving {
            data: self.data,
            reset: self.reset.clone(),
            _alive: Arc::clone(&self.alive),
        };
        let sending = Sending {
            id: self.id,
            control: self.control,
            orders: self.orders,
            reset: self.reset,
            finished: false,
            _alive: self.alive,
        };
        Ok((receiving, sending))
    }

    /// Resets the stream instead.
    pub(crate) async fn refuse(self) -> Result<(), Gone> {
        let reset = Order::Reset {
            stream: self.id,
            reason: ResetReason::Cancel,
        };
        self.control.send(reset).await.map_err(|_| Gone)
    }
}

/// The half on which the peer sends.
#[derive(Debug)]
pub(crate) struct Receiving {
    data: mpsc::Receiver<Bytes>,
    reset: CancellationToken,
    _alive: Arc<()>,
}

impl Receiving {
    /// The next bytes; `None` once the peer has finished.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// The peer has reset the stream, or the session has ended before the stream.
    pub(crate) async fn data(&mut self) -> Result<Option<Bytes>, Gone> {
        tokio::select! {
            biased;
            () = self.reset.cancelled() => Err(Gone),
            data = self.data.recv() => match data {
                None if self.reset.is_cancelled() => Err(Gone),
                data => Ok(data),
            },
        }
    }
}

/// The half on which this side sends. Dropped before it is finished, it resets the stream.
#[derive(Debug)]
pub(crate) struct Sending {
    id: u32,
    control: mpsc::Sender<Order>,
    orders: mpsc::Sender<Order>,
    reset: CancellationToken,
    finished: bool,
    _alive: Arc<()>,
}

impl Sending {
    /// Sends all of `data`, waiting for room.
    ///
    /// # Errors
    ///
    /// The peer has reset the stream, or the session has ended.
    pub(crate) async fn send(&mut self, mut data: Bytes) -> Result<(), Gone> {
        while !data.is_empty() {
            let data = data.split_to(data.len().min(DATA));
            self.order(data, false).await?;
        }
        Ok(())
    }

    /// Tells the peer that no more comes.
    ///
    /// # Errors
    ///
    /// As [`Sending::send`].
    pub(crate) async fn finish(mut self) -> Result<(), Gone> {
        self.finished = true;
        self.order(Bytes::new(), true).await
    }

    async fn order(&self, data: Bytes, fin: bool) -> Result<(), Gone> {
        let order = Order::Data {
            stream: self.id,
            data,
            fin,
        };
        tokio::select! {
            biased;
            () = self.reset.cancelled() => Err(Gone),
            sent = self.orders.send(order) => sent.map_err(|_| Gone),
        }
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        if !self.finished && !self.reset.is_cancelled() {
            let reset = Order::Reset {
                stream: self.id,
                reason: ResetReason::Cancel,
            };
            // A full queue means a peer that does not read: the end of the session tells it too.
            let _ = self.control.try_send(reset);
        }
    }
}
