//! Notices a tunnel whose far side has fallen silent, with one timer for the tunnel.
//!
//! Silence is broken by a ping: soon while a request waits for its answer, later while none does.
//! If nothing at all has come a moment after that, the tunnel is in doubt: new requests take
//! another one, and so do those waiting that may be sent twice. If nothing comes for long, it is
//! dead and everything on it ends with an error. A server may take as long as it likes to answer,
//! since the ping is answered without it; and a slow link may, since any byte counts, as does any
//! of a body that the stream still takes.

use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use super::lane::Load;
use super::pinger::Wishes;
use crate::tunnel::pulse::Pulse;

/// How long the far side may be silent before a ping asks whether it is there,
const IDLE: Duration = Duration::from_secs(5);
/// and while a request waits.
const WAITING: Duration = Duration::from_millis(750);
/// How long after a ping its silence is taken for a doubt, at least: on a path that is slow to
/// answer it is more.
const DOUBT: Duration = Duration::from_secs(1);
/// How long after a ping its silence is taken for death.
const DEATH: Duration = Duration::from_secs(9);

/// The guard of one tunnel.
pub(super) struct Watchdog<F> {
    timer: Pin<Box<Sleep>>,
    pulse: Arc<Pulse>,
    wishes: Arc<Wishes>,
    load: Arc<Load>,
    /// When a ping was sent that has not been answered.
    ping: Option<Instant>,
    patience: Duration,
    /// Called when the tunnel comes into doubt.
    doubted: F,
}

impl<F: Fn()> Watchdog<F> {
    /// A guard of the tunnel with that pulse, where a round trip takes about `round_trip`.
    pub(super) fn new(
        pulse: Arc<Pulse>,
        wishes: Arc<Wishes>,
        load: Arc<Load>,
        round_trip: Duration,
        doubted: F,
    ) -> Self {
        Self {
            timer: Box::pin(sleep_until(pulse.heard() + IDLE)),
            pulse,
            wishes,
            load,
            ping: None,
            patience: patience(round_trip),
            doubted,
        }
    }

    /// Looks after the tunnel. To be called whenever a request goes out, and when woken.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) {
        loop {
            let due = self.due();
            // What is due later is found out when the timer fires.
            if due < self.timer.deadline() {
                self.timer.as_mut().reset(due);
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return;
            }
            self.look(Instant::now());
            let due = self.due();
            self.timer.as_mut().reset(due);
        }
    }

    /// When something is to be done next, if nothing is heard until then.
    fn due(&mut self) -> Instant {
        if let Some(sent) = self.ping {
            let Some(answered) = self.pulse.answered() else {
                return if self.pulse.is_doubted() {
                    self.pulse.taken() + DEATH
                } else {
                    sent + self.patience
                };
            };
            // One answer that was late is forgotten in time.
            self.patience = patience(answered - sent).max(self.patience / 2);
            self.ping = None;
        }
        let heard = self.pulse.heard();
        match self.load.waiting_since() {
            Some(since) => (heard + IDLE).min(heard.max(since) + WAITING),
            None => heard + IDLE,
        }
    }

    fn look(&mut self, now: Instant) {
        if self.due() > now {
            return;
        }
        if self.ping.is_none() {
            self.ping = Some(now);
            self.pulse.ask(now);
            self.wishes.ping();
        } else if !self.pulse.is_doubted() {
            tracing::info!("a tunnel is silent");
            self.pulse.doubt();
            (self.doubted)();
        } else {
            self.wishes.end();
            // It is said once.
            self.pulse.ask(now);
        }
    }
}

/// How long a ping's answer is waited for on a path where one took `round_trip`.
fn patience(round_trip: Duration) -> Duration {
    (3 * round_trip).clamp(DOUBT, DEATH / 2)
}
