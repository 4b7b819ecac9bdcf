//! A sender and a listener that have met: frames flow between them until one leaves, or until the
//! relay ends it.
//!
//! The relay answers pings itself. A frame is handed on before the next is read, so that a reader
//! that stalls stops its writer; nothing is buffered but what the sockets hold.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_util::sync::CancellationToken;

use super::websocket::{Stream, Upgrading, WebSocket, farewell};
use super::{Cut, Order, Shared};
use crate::serve::Connection;

/// How long both sides may take to finish their upgrade.
const UPGRADE: Duration = Duration::from_secs(10);

/// One end of a tunnel.
struct Leg {
    socket: WebSocket,
    connection: Connection,
}

/// The two ends, in the words of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Sender,
    Listener,
}

/// Why a tunnel ends.
#[derive(Debug)]
enum End {
    /// A side said goodbye.
    Closed(Side, Option<CloseFrame>),
    /// A side went without a word.
    Gone(Side),
    /// The relay ends it.
    Cut(Cut),
    /// The relay ends it within the frame of these bytes, which were on their way to a side.
    Torn(Side, Bytes),
    /// The relay itself ends.
    Stopped,
}

/// Runs the tunnel between two sides that have agreed to meet.
pub(super) async fn run(
    shared: Arc<Shared>,
    sender: Upgrading,
    listener: Upgrading,
    removed: CancellationToken,
    mut cuts: watch::Receiver<Option<Order>>,
) {
    let upgraded = async { tokio::try_join!(sender.websocket(), listener.websocket()) };
    let upgraded = tokio::select! {
        () = shared.stop.cancelled() => return,
        upgraded = tokio::time::timeout(UPGRADE, upgraded) => upgraded,
    };
    let Ok(Ok((sender, listener))) = upgraded else {
        return;
    };
    let _open = shared.counters.open_tunnel();
    let meter = Meter::new(&shared);
    let (sender_leg, listener_leg) = (sender.1, listener.1);
    let (mut to_sender, mut from_sender) = sender.0.split();
    let (mut to_listener, mut from_listener) = listener.0.split();
    let end = tokio::select! {
        end = forward(&mut from_sender, &mut to_listener, Side::Sender, &meter) => end,
        end = forward(&mut from_listener, &mut to_sender, Side::Listener, &meter) => end,
        () = meter.idle(shared.limits.idle) => End::Cut(Cut::Close(CloseCode::Away.into())),
        () = removed.cancelled() => End::Cut(Cut::Close(CloseCode::Away.into())),
        cut = cut_at_once(&mut cuts, &meter) => End::Cut(cut),
        () = shared.stop.cancelled() => End::Stopped,
    };
    let (Ok(sender), Ok(listener)) = (
        from_sender.reunite(to_sender),
        from_listener.reunite(to_listener),
    ) else {
        return;
    };
    let sender = Leg {
        socket: sender,
        connection: sender_leg,
    };
    let listener = Leg {
        socket: listener,
        connection: listener_leg,
    };
    tracing::debug!(?end, "tunnel ends");
    tokio::select! {
        () = finish(end, sender, listener, &mut cuts) => {}
        () = shared.stop.cancelled() => {}
    }
}

/// The next cut. Never, once the relay is gone.
pub(super) async fn next_cut(cuts: &mut watch::Receiver<Option<Order>>) -> Cut {
    loop {
        if cuts.changed().await.is_err() {
            return std::future::pending().await;
        }
        let cut = cuts.borrow_and_update().as_ref().and_then(Order::take);
        if let Some(cut) = cut {
            return cut;
        }
    }
}

/// The next cut that waits for no message. One that does is for the meter to make.
async fn cut_at_once(cuts: &mut watch::Receiver<Option<Order>>, meter: &Meter<'_>) -> Cut {
    loop {
        match next_cut(cuts).await {
            cut @ (Cut::InFrame | Cut::InMessage) => meter.arm(cut),
            cut => return cut,
        }
    }
}

async fn finish(end: End, sender: Leg, listener: Leg, cuts: &mut watch::Receiver<Option<Order>>) {
    match end {
        End::Closed(side, frame) => {
            let (closed, other) = sides(side, sender, listener);
            let goodbye = frame.unwrap_or_else(|| close_frame(CloseCode::Normal));
            tokio::join!(
                farewell(closed.socket, None),
                farewell(other.socket, Some(goodbye)),
            );
        }
        End::Gone(side) => {
            let (gone, other) = sides(side, sender, listener);
            drop(gone);
            farewell(other.socket, Some(close_frame(CloseCode::Away))).await;
        }
        End::Cut(Cut::Close(code)) => {
            let frame = close_frame(CloseCode::from(code));
            tokio::join!(
                farewell(sender.socket, Some(frame.clone())),
                farewell(listener.socket, Some(frame)),
            );
        }
        End::Cut(Cut::Reset | Cut::InFrame | Cut::InMessage) => reset(&sender, &listener),
        End::Torn(side, bytes) => {
            let (mut to, _) = sides(side, sender, listener);
            // A side that has gone sees no difference.
            let _ = to.socket.get_mut().write_all(&torn(&bytes)).await;
            let _ = to.socket.get_mut().flush().await;
        }
        End::Cut(Cut::BlackHole) => {
            let connections = [sender.connection, listener.connection];
            let swallowing = async {
                tokio::join!(
                    swallow(sender.socket.into_inner()),
                    swallow(listener.socket.into_inner()),
                );
            };
            // A tunnel that is silent can still be cut.
            let cutting = async {
                loop {
                    match next_cut(cuts).await {
                        Cut::BlackHole | Cut::InFrame | Cut::InMessage => {}
                        Cut::Close(_) => return,
                        // Said before the sockets are dropped with the other branch.
                        Cut::Reset => {
                            return connections.iter().for_each(Connection::reset_on_drop);
                        }
                    }
                }
            };
            tokio::select! {
                () = swallowing => {}
                () = cutting => {}
            }
        }
        End::Stopped => {}
    }
}

/// A frame with half of what its head announces.
fn torn(bytes: &Bytes) -> Vec<u8> {
    // Final, binary, and without a mask, as servers send.
    let mut frame = vec![0x82];
    match (u8::try_from(bytes.len()), u16::try_from(bytes.len())) {
        (Ok(length @ ..126), _) => frame.push(length),
        (_, Ok(length)) => {
            frame.push(126);
            frame.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            frame.push(127);
            frame.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&bytes[..bytes.len() / 2]);
    frame
}

fn reset(sender: &Leg, listener: &Leg) {
    sender.connection.reset_on_drop();
    listener.connection.reset_on_drop();
}

fn sides(first: Side, sender: Leg, listener: Leg) -> (Leg, Leg) {
    match first {
        Side::Sender => (sender, listener),
        Side::Listener => (listener, sender),
    }
}

fn close_frame(code: CloseCode) -> CloseFrame {
    let reason = match code {
        CloseCode::Away => "The connection was closed by the remote endpoint.",
        CloseCode::Error => "The service encountered an error.",
        _ => "",
    };
    CloseFrame {
        code,
        reason: reason.into(),
    }
}

/// Reads and discards until the peer leaves. The peer is never answered.
pub(super) async fn swallow(mut stream: Stream) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(1..) = stream.read(&mut buffer).await {}
}

/// Hands on what `side` sends until it stops.
async fn forward(
    from: &mut SplitStream<WebSocket>,
    to: &mut SplitSink<WebSocket, Message>,
    side: Side,
    meter: &Meter<'_>,
) -> End {
    let other = match side {
        Side::Sender => Side::Listener,
        Side::Listener => Side::Sender,
    };
    loop {
        // Small messages that are there together leave together.
        let message = if let Some(message) = from.next().now_or_never() {
            message
        } else {
            if to.flush().await.is_err() {
                return End::Gone(other);
            }
            from.next().await
        };
        meter.touch();
        match message {
            Some(Ok(mut message @ (Message::Binary(_) | Message::Text(_)))) => {
                meter.moving().await;
                if meter.armed() == Some(Cut::InFrame) {
                    // What stands before it arrives whole.
                    let _ = to.flush().await;
                    return End::Torn(other, message.into_data());
                }
                let cut = meter.carry(side, &mut message);
                if to.feed(message).await.is_err() {
                    return End::Gone(other);
                }
                if cut {
                    // The cut follows, whether or not the last bytes went.
                    let _ = to.flush().await;
                    return End::Cut(Cut::Reset);
                }
            }
            Some(Ok(Message::Close(frame))) => {
                // Whoever closed has a right to have its last bytes delivered.
                let _ = to.flush().await;
                return End::Closed(side, frame);
            }
            Some(Ok(Message::Ping(_))) => meter.shared.counters.ping(),
            Some(Ok(Message::Pong(_) | Message::Frame(_))) => {}
            Some(Err(_)) | None => return End::Gone(side),
        }
    }
}

/// What a tunnel has carried, and when.
struct Meter<'a> {
    shared: &'a Shared,
    start: Instant,
    /// Milliseconds after the start.
    last_frame: AtomicU64,
    carried: AtomicU64,
    /// The cut that waits for the next message.
    armed: Mutex<Option<Cut>>,
}

impl<'a> Meter<'a> {
    fn new(shared: &'a Shared) -> Self {
        Self {
            shared,
            start: Instant::now(),
            last_frame: AtomicU64::new(0),
            carried: AtomicU64::new(0),
            armed: Mutex::default(),
        }
    }

    /// Lets `cut` happen with the next message.
    fn arm(&self, cut: Cut) {
        *self.armed.lock().unwrap_or_else(PoisonError::into_inner) = Some(cut);
    }

    fn armed(&self) -> Option<Cut> {
        *self.armed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while the faults let tunnels stand still.
    async fn moving(&self) {
        if self.shared.faults.now().stall_tunnels {
            let mut faults = self.shared.faults.watch();
            // They live as long as the relay.
            let _ = faults.wait_for(|faults| !faults.stall_tunnels).await;
        }
    }

    fn touch(&self) {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_frame.store(now, Ordering::Relaxed);
    }

    /// Counts `message`. If the faults cut the tunnel within it, shortens it and says so.
    fn carry(&self, side: Side, message: &mut Message) -> bool {
        let mut bytes = message.len() as u64;
        let before = self.carried.fetch_add(bytes, Ordering::Relaxed);
        let limit = match self.armed() {
            // Half of this one.
            Some(Cut::InMessage) => Some(before + bytes / 2),
            _ => self.shared.faults.now().cut_after_bytes,
        };
        let cut = limit.filter(|limit| before.saturating_add(bytes) >= *limit);
        if let Some(limit) = cut {
            bytes = limit.saturating_sub(before);
            let data = std::mem::replace(message, Message::Binary(Bytes::new())).into_data();
            let keep = usize::try_from(bytes).unwrap_or(usize::MAX).min(data.len());
            *message = Message::Binary(data.slice(..keep));
        }
        self.shared.counters.carried(side == Side::Sender, bytes);
        cut.is_some()
    }

    /// Returns once no frame has come from either side for `limit`.
    async fn idle(&self, limit: Duration) {
        loop {
            let last = Duration::from_millis(self.last_frame.load(Ordering::Relaxed));
            let end = self.start + last + limit;
            if end <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(end).await;
        }
    }
}
