//! What the relay has seen.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

/// What the relay has seen since it started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RelaySeen {
    /// Dials by senders, refused ones included.
    pub dials: u64,
    /// Dials whose TLS handshake resumed an earlier session.
    pub resumed: u64,
    /// Dials that were refused.
    pub refused: u64,
    /// Tunnels open now.
    pub open_tunnels: u64,
    /// Tunnels opened so far.
    pub tunnels_total: u64,
    /// Bytes carried from senders to listeners.
    pub bytes_up: u64,
    /// Bytes carried from listeners to senders.
    pub bytes_down: u64,
    /// Listeners connected now.
    pub listeners: u64,
    /// Listener tokens renewed over the control channel.
    pub renewals: u64,
    /// WebSocket pings received, on tunnels and control channels.
    pub pings: u64,
}

/// The live counts.
#[derive(Debug, Default)]
pub(super) struct Counters {
    dials: AtomicU64,
    resumed: AtomicU64,
    refused: AtomicU64,
    open_tunnels: Arc<AtomicU64>,
    tunnels_total: AtomicU64,
    bytes_up: AtomicU64,
    bytes_down: AtomicU64,
    renewals: AtomicU64,
    pings: AtomicU64,
}

impl Counters {
    pub(super) fn dial(&self, resumed: bool) {
        self.dials.fetch_add(1, Ordering::Relaxed);
        self.resumed
            .fetch_add(u64::from(resumed), Ordering::Relaxed);
    }

    pub(super) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn renewed(&self) {
        self.renewals.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn ping(&self) {
        self.pings.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn carried(&self, up: bool, bytes: u64) {
        let counter = if up { &self.bytes_up } else { &self.bytes_down };
        counter.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts a tunnel as open until the guard is dropped.
    pub(super) fn open_tunnel(&self) -> OpenTunnel {
        self.tunnels_total.fetch_add(1, Ordering::Relaxed);
        self.open_tunnels.fetch_add(1, Ordering::Relaxed);
        OpenTunnel(Arc::clone(&self.open_tunnels))
    }

    pub(super) fn seen(&self, listeners: u64) -> RelaySeen {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        RelaySeen {
            dials: read(&self.dials),
            resumed: read(&self.resumed),
            refused: read(&self.refused),
            open_tunnels: read(&self.open_tunnels),
            tunnels_total: read(&self.tunnels_total),
            bytes_up: read(&self.bytes_up),
            bytes_down: read(&self.bytes_down),
            listeners,
            renewals: read(&self.renewals),
            pings: read(&self.pings),
        }
    }
}

/// One open tunnel.
#[derive(Debug)]
pub(super) struct OpenTunnel(Arc<AtomicU64>);

impl Drop for OpenTunnel {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
