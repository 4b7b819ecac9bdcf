//! Faults that the emulator plays on demand.
//!
//! One [`Faults`] is shared by every part. A part reads [`Faults::now`] where it acts, so that a
//! change by flag, builder or control endpoint holds from the next action on. Faults that strike
//! what is already open (dropping tunnels) are calls on the part itself.
//!
//! How the agent and kube-aad-proxy are set up is no fault, but is changed in the same way, and so
//! it is kept with them.

mod check;

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

pub use check::{Invalid, STATUSES};

/// What stands at the beginning of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// Nothing: the stream is the TCP connection from its first byte.
    #[default]
    Raw,
    /// The preamble of azure-relay-bridge, which names a port.
    Bridge,
}

/// The settings of all faults; the default is none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of its own, named as its flag is"
)]
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
    /// Tunnels stand still: what is sent waits, and is not lost.
    pub stall_tunnels: bool,
    /// kube-aad-proxy breaks each answer off once it has sent so many bytes of its body.
    pub cut_body_after_bytes: Option<u64>,
    /// The relay is gone: whoever connects is reset, tunnels and control channels end.
    pub relay_away: bool,
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
    /// How the agent speaks inside the streams that it accepts from now on.
    pub dialect: Dialect,
    /// kube-aad-proxy offers no HTTP/2 on new connections.
    pub no_h2: bool,
    /// kube-aad-proxy offers no HTTP/1.1 on new connections. With [`no_h2`](Self::no_h2) as well,
    /// which nothing outside the process can bring about, it offers HTTP/1.1 all the same.
    pub no_http1: bool,
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

/// The answer that a [`ServiceFault`] puts in place of the real one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// The status to answer with.
    pub status: StatusCode,
    /// Seconds for the `Retry-After` header.
    pub retry_after_seconds: Option<u64>,
}

/// The faults in force.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<State>);

#[derive(Debug, Default)]
struct State {
    now: watch::Sender<FaultSet>,
    initial: FaultSet,
}

impl Faults {
    /// Starts with `set` in force.
    pub fn new(set: FaultSet) -> Self {
        Self(Arc::new(State {
            now: watch::Sender::new(set.clone()),
            initial: set,
        }))
    }

    /// The faults in force now.
    pub fn now(&self) -> FaultSet {
        self.0.now.borrow().clone()
    }

    /// Changes the faults in force.
    pub fn update(&self, change: impl FnOnce(&mut FaultSet)) {
        self.0.now.send_modify(change);
    }

    /// Puts what `change` makes of the faults in force in their place, with no other change in
    /// between, and gives it.
    ///
    /// # Errors
    ///
    /// That of `change`; the faults stay as they are.
    pub fn try_update<E>(
        &self,
        change: impl FnOnce(&FaultSet) -> Result<FaultSet, E>,
    ) -> Result<FaultSet, E> {
        let mut changed = None;
        self.0.now.send_if_modified(|now| {
            let result = change(now);
            if let Ok(set) = &result {
                now.clone_from(set);
            }
            changed.insert(result).is_ok()
        });
        changed.expect("the change was asked for")
    }

    /// Goes back to the faults that were in force at the start, a limited number of refusals
    /// counted anew, and gives them.
    pub fn reset(&self) -> FaultSet {
        let initial = self.0.initial.clone();
        self.0.now.send_replace(initial.clone());
        initial
    }

    /// Follows the faults, for a part that has to act on a change while it waits.
    pub fn watch(&self) -> watch::Receiver<FaultSet> {
        self.0.now.subscribe()
    }

    /// Plays the fault that `of` picks before one answer: waits its delay, then says what to
    /// refuse the request with, if it is refused. A fault that is limited in number is used up
    /// by one.
    pub async fn strike(&self, of: fn(&mut FaultSet) -> &mut ServiceFault) -> Option<Refusal> {
        let delay = of(&mut self.now()).delay_ms;
        if delay > 0 {
            tokio::time::sleep(Duration::from_millis(delay)).await;
        }
        let mut refusal = None;
        self.0.now.send_if_modified(|set| {
            let fault = of(set);
            refusal = fault.refusal();
            fault.use_up(refusal.is_some())
        });
        refusal
    }

    /// The cloud's time, seconds since 1970.
    pub fn cloud_time(&self) -> u64 {
        let machine = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .expect("the clock stands after 1970")
            .as_secs();
        machine.saturating_add_signed(self.0.now.borrow().clock_offset_seconds)
    }
}

impl ServiceFault {
    /// What a request that arrives now is refused with.
    fn refusal(&self) -> Option<Refusal> {
        let status = StatusCode::from_u16(self.status?).ok()?;
        (self.times != Some(0)).then_some(Refusal {
            status,
            retry_after_seconds: self.retry_after_seconds,
        })
    }

    /// Counts one refusal, if there was one and they are counted; says whether that changed
    /// anything.
    fn use_up(&mut self, refused: bool) -> bool {
        match &mut self.times {
            Some(left) if refused => {
                *left -= 1;
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_counted_fault_is_used_up() {
        let faults = Faults::new(FaultSet {
            arm: ServiceFault {
                status: Some(429),
                retry_after_seconds: Some(7),
                times: Some(2),
                ..ServiceFault::default()
            },
            ..FaultSet::default()
        });
        let refused = Some(Refusal {
            status: StatusCode::TOO_MANY_REQUESTS,
            retry_after_seconds: Some(7),
        });
        assert_eq!(faults.strike(|set| &mut set.arm).await, refused);
        assert_eq!(faults.strike(|set| &mut set.entra).await, None);
        assert_eq!(faults.strike(|set| &mut set.arm).await, refused);
        assert_eq!(faults.strike(|set| &mut set.arm).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_service_waits_before_it_answers() {
        let faults = Faults::default();
        faults.update(|set| set.entra.delay_ms = 250);
        let start = tokio::time::Instant::now();
        assert_eq!(faults.strike(|set| &mut set.entra).await, None);
        assert_eq!(start.elapsed(), Duration::from_millis(250));
    }

    #[test]
    fn the_cloud_clock_runs_off_by_the_offset() {
        let faults = Faults::default();
        let before = faults.cloud_time();
        faults.update(|set| set.clock_offset_seconds = -3600);
        assert!(faults.cloud_time() < before - 3500);
    }

    #[tokio::test]
    async fn a_reset_leads_back_to_the_start() {
        let initial = FaultSet {
            dialect: Dialect::Bridge,
            entra: ServiceFault {
                status: Some(503),
                times: Some(1),
                ..ServiceFault::default()
            },
            ..FaultSet::default()
        };
        let faults = Faults::new(initial.clone());
        assert!(faults.strike(|set| &mut set.entra).await.is_some());
        assert!(faults.strike(|set| &mut set.entra).await.is_none());
        faults.update(|set| set.dialect = Dialect::Raw);
        assert_eq!(faults.reset(), initial);
        assert_eq!(faults.now(), initial);
        assert!(faults.strike(|set| &mut set.entra).await.is_some());
    }

    #[test]
    fn a_change_that_fails_changes_nothing() {
        let faults = Faults::default();
        let watched = faults.watch();
        let refused = faults.try_update(|_| Err::<FaultSet, _>("no"));
        assert_eq!(refused, Err("no"));
        assert!(!watched.has_changed().expect("the faults are there"));
        let rtt_ms = 7;
        let wanted = FaultSet {
            rtt_ms,
            ..faults.now()
        };
        let changed = faults.try_update(|_| Ok::<_, ()>(wanted.clone()));
        assert_eq!(changed.as_ref(), Ok(&wanted));
        assert_eq!(faults.now(), wanted);
        assert!(watched.has_changed().expect("the faults are there"));
    }

    #[test]
    fn unknown_fields_are_named() {
        let error = serde_json::from_str::<FaultSet>(r#"{"agent_awaay":true}"#)
            .expect_err("the field does not exist");
        assert!(error.to_string().contains("agent_awaay"), "{error}");
    }
}
