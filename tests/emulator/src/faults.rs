//! Faults that the emulator plays on demand.
//!
//! One [`Faults`] is shared by every part. A part reads [`Faults::now`] where it acts, so that a
//! change by flag, builder or control endpoint holds from the next action on. Faults that strike
//! what is already open (dropping tunnels) are calls on the part itself.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// The settings of all faults; the default is none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FaultSet {
    /// Entra's token endpoint misbehaves.
    pub entra: ServiceFault,
    /// ARM misbehaves.
    pub arm: ServiceFault,
    /// Sender dials are refused with this HTTP status.
    pub refuse_dials: Option<u16>,
    /// Sender dials are accepted, then nothing is ever answered.
    pub black_hole_dials: bool,
    /// Each tunnel is cut, without a close frame, once it has carried this many bytes.
    pub cut_after_bytes: Option<u64>,
    /// The agent closes its control channel and stays away.
    pub agent_away: bool,
    /// Access tokens live this many seconds.
    pub access_token_seconds: Option<u64>,
    /// Relay tokens live this many seconds.
    pub relay_token_seconds: Option<u64>,
    /// The cloud's clock runs this many seconds ahead of the machine's.
    pub clock_offset_seconds: i64,
    /// Round-trip time that is added to every connection from outside, in milliseconds.
    pub rtt_ms: u64,
    /// Bandwidth of each direction of the link that all connections from outside share, in bits
    /// per second; 0 is without limit.
    pub bandwidth_bits: u64,
    /// kube-aad-proxy answers as for a caller in more than 200 groups.
    pub group_overage: bool,
}

/// How one HTTP service misbehaves.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServiceFault {
    /// Answer with this status instead of the real answer.
    pub status: Option<u16>,
    /// Seconds for the `Retry-After` header of that answer.
    pub retry_after_seconds: Option<u64>,
    /// How many answers the status applies to; without it, all.
    pub times: Option<u32>,
    /// Wait this long before every answer, in milliseconds.
    pub delay_ms: u64,
}

/// The faults in force.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<watch::Sender<FaultSet>>);

impl Faults {
    /// Starts with `set` in force.
    pub fn new(set: FaultSet) -> Self {
        Self(Arc::new(watch::Sender::new(set)))
    }

    /// The faults in force now.
    pub fn now(&self) -> FaultSet {
        self.0.borrow().clone()
    }

    /// Changes the faults in force.
    pub fn update(&self, change: impl FnOnce(&mut FaultSet)) {
        self.0.send_modify(change);
    }

    /// Follows the faults, for a part that has to act on a change while it waits.
    pub fn watch(&self) -> watch::Receiver<FaultSet> {
        self.0.subscribe()
    }

    /// The cloud's time, seconds since 1970.
    pub fn cloud_time(&self) -> u64 {
        let machine = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .expect("the clock stands after 1970")
            .as_secs();
        machine.saturating_add_signed(self.now().clock_offset_seconds)
    }
}
