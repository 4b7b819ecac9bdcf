//! A session: two loops over one connection, one that reads frames and one that writes them.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, BufReader};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::frame::{Control, FrameError, Head, ResetReason};
use super::headers::Inflater;
use super::stream::{DATA, Opened, Order};
use super::writer::write;

/// The longest control frame, bytes.
const CONTROL: u32 = 64 * 1024;

/// In what pieces long data frames are handed on, bytes.
const PIECE: usize = 16 * 1024;

/// How many pieces wait for the reader of a stream.
const PIECES: usize = 8;

/// How many frames wait for the connection.
const ORDERS: usize = 8;

/// How many streams may be open at once.
const STREAMS: usize = 1000;

/// How long the peer has to close its side once this one has gone away.
const FAREWELL: Duration = Duration::from_mins(1);

/// A SPDY connection. Dropping it cuts it off.
#[derive(Debug)]
pub(crate) struct Connection {
    opened: mpsc::Receiver<Opened>,
    closing: CancellationToken,
    running: AbortOnDropHandle<()>,
}

impl Connection {
    /// Speaks SPDY over `io`.
    pub(crate) fn new<T>(io: T) -> Self
    where
        T: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (opened_sender, opened) = mpsc::channel(ORDERS);
        let closing = CancellationToken::new();
        let closed = closing.clone();
        let running = tokio::spawn(async move {
            if let Err(error) = run(io, opened_sender, closed).await {
                tracing::debug!(%error, "SPDY session ended");
            }
        });
        Self {
            opened,
            closing,
            running: AbortOnDropHandle::new(running),
        }
    }

    /// The next stream that the peer opens; `None` once the session has ended.
    ///
    /// Cancel safe.
    pub(crate) async fn opened(&mut self) -> Option<Opened> {
        self.opened.recv().await
    }

    /// Sends what is queued and a GOAWAY, and waits a while for the peer to close.
    pub(crate) async fn close(self) {
        self.closing.cancel();
        // A session that failed is closed as well.
        let _ = self.running.await;
    }
}

async fn run<T>(io: T, opened: mpsc::Sender<Opened>, closing: CancellationToken) -> io::Result<()>
where
    T: AsyncRead + AsyncWrite + Send + 'static,
{
    let (input, output) = tokio::io::split(io);
    let (control, controls) = mpsc::channel(ORDERS * 8);
    let (orders, ordered) = mpsc::channel(ORDERS);
    let mut reader = Reader {
        input: BufReader::with_capacity(DATA, input),
        inflater: Inflater::new(),
        streams: HashMap::new(),
        last: 0,
        opened,
        control,
        orders,
    };
    let write = write(output, controls, ordered, &closing);
    let read = async {
        let ended = reader.run().await;
        // Streams learn that no more comes; what they have sent still goes out.
        reader.end();
        ended
    };
    tokio::pin!(write);
    tokio::select! {
        read = read => read,
        written = &mut write => {
            written?;
            // The peer closes once it has read everything; closing first could cost it the rest,
            // as unread input turns a close into a reset.
            let farewell = tokio::time::timeout(FAREWELL, reader.discard());
            // Whatever it does or fails to do, the connection ends now.
            let _ = farewell.await;
            Ok(())
        }
    }
}

/// What the reading loop knows of a stream.
#[derive(Debug)]
struct Entry {
    /// Gone once the peer has finished.
    data: Option<mpsc::Sender<Bytes>>,
    reset: CancellationToken,
    alive: Weak<()>,
}

struct Reader<R> {
    input: BufReader<R>,
    inflater: Inflater,
    streams: HashMap<u32, Entry>,
    last: u32,
    opened: mpsc::Sender<Opened>,
    control: mpsc::Sender<Order>,
    orders: mpsc::Sender<Order>,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    async fn run(&mut self) -> io::Result<()> {
        loop {
            let mut head = [0; Head::LENGTH];
            match self.input.read_exact(&mut head).await {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                read => read?,
            };
            match Head::parse(head).map_err(io::Error::other)? {
                Head::Data {
                    stream,
                    fin,
                    length,
                } => self.data(stream, fin, length).await?,
                Head::Control {
                    kind,
                    flags,
                    length,
                } => {
                    if length > CONTROL {
                        return Err(io::Error::other(FrameError::TooLong));
                    }
                    let mut payload = vec![0; usize::try_from(length).unwrap_or_default()];
                    self.input.read_exact(&mut payload).await?;
                    let frame = Control::parse(kind, flags, &payload, &mut self.inflater)
                        .map_err(io::Error::other)?;
                    if !self.control(frame).await {
                        return Ok(());
                    }
                }
            }
        }
    }

    async fn data(&mut self, stream: u32, fin: bool, length: u32) -> io::Result<()> {
        let mut left = usize::try_from(length).map_err(io::Error::other)?;
        while left > 0 {
            let mut piece = BytesMut::zeroed(left.min(PIECE));
            self.input.read_exact(&mut piece).await?;
            left -= piece.len();
            let entry = self.streams.get(&stream);
            if let Some(Entry {
                data: Some(data),
                reset,
                ..
            }) = entry
                && !reset.is_cancelled()
            {
                // Nobody reads a stream that is dropped: its data goes nowhere.
                let _ = data.send(piece.freeze()).await;
            }
        }
        if fin {
            self.finish(stream);
        }
        Ok(())
    }

    /// Handles a control frame; `false` ends the session.
    async fn control(&mut self, frame: Control) -> bool {
        match frame {
            Control::SynStream {
                stream,
                headers,
                fin,
            } => {
                // Clients' streams are odd and grow.
                if stream % 2 == 0 || stream <= self.last {
                    return self.reset(stream, ResetReason::ProtocolError).await;
                }
                self.last = stream;
                self.streams
                    .retain(|_, entry| entry.alive.strong_count() > 0);
                if self.streams.len() >= STREAMS {
                    return self.reset(stream, ResetReason::RefusedStream).await;
                }
                let (sender, data) = mpsc::channel(PIECES);
                let (reset, alive) = (CancellationToken::new(), Arc::new(()));
                let entry = Entry {
                    data: (!fin).then_some(sender),
                    reset: reset.clone(),
                    alive: Arc::downgrade(&alive),
                };
                self.streams.insert(stream, entry);
                let opened = Opened {
                    id: stream,
                    headers,
                    data,
                    control: self.control.clone(),
                    orders: self.orders.clone(),
                    reset,
                    alive,
                };
                self.opened.send(opened).await.is_ok()
            }
            Control::Headers { stream, fin } => {
                if fin {
                    self.finish(stream);
                }
                true
            }
            Control::Reset { stream } => {
                if let Some(entry) = self.streams.remove(&stream) {
                    entry.reset.cancel();
                }
                true
            }
            // An even ping would be an answer to one of this side, which sends none.
            Control::Ping { id } => {
                id % 2 == 0 || self.control.send(Order::Ping { id }).await.is_ok()
            }
            // No more streams come, but those that are open go on.
            Control::GoAway | Control::Ignored => true,
        }
    }

    fn finish(&mut self, stream: u32) {
        if let Some(entry) = self.streams.get_mut(&stream) {
            entry.data = None;
        }
    }

    async fn reset(&mut self, stream: u32, reason: ResetReason) -> bool {
        let reset = Order::Reset { stream, reason };
        self.control.send(reset).await.is_ok()
    }

    /// Ends every stream that the peer has not finished.
    fn end(&mut self) {
        for entry in self.streams.values() {
            entry.reset.cancel();
        }
        self.streams.clear();
    }

    /// Reads to the end of the connection without looking.
    async fn discard(&mut self) -> io::Result<()> {
        self.end();
        let mut buffer = vec![0; PIECE];
        while self.input.read(&mut buffer).await? > 0 {}
        Ok(())
    }
}
