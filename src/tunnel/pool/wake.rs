//! Waking up: while the machine slept, its tunnels may have gone without a word, and no time has
//! passed for the timers that would notice it.

use super::{Inner, Outgoing, lock};
use crate::clock::Walls;

impl<B: Outgoing> Inner<B> {
    /// Puts the tunnels into doubt that are older than a sleep of the machine; to be called before
    /// one is taken. A clock that somebody set looks the same, and costs a dial.
    pub(super) fn wake(&self) {
        let now = Walls::now();
        // Two clocks drift apart in days: what counts is what happened since the last request.
        let before = std::mem::replace(&mut *lock(&self.walls), now);
        if !now.have_jumped_since(before) {
            return;
        }
        tracing::info!("the clock jumped: the tunnels from before are in doubt");
        for lane in &*lock(&self.lanes) {
            lane.pulse().doubt();
        }
        self.doubt_idle();
    }
}
