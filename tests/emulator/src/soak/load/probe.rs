//! Looks how long it takes after each fault until a new request goes well.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Load, Shared, small};

/// How often a new request is tried.
const EVERY: Duration = Duration::from_millis(50);
/// How long it is tried.
const LONGEST: Duration = Duration::from_mins(1);
/// How many requests of one probe wait at a time.
const WAITING: usize = 20;

/// Probes after each fault that `over` tells of.
pub(super) fn keep(shared: &Arc<Shared>, mut over: mpsc::UnboundedReceiver<usize>) {
    let own = shared.clone();
    shared.tasks.spawn(async move {
        // The faults' player goes first.
        while let Some(fault) = over.recv().await {
            own.tasks.spawn(probe(own.clone(), fault));
        }
    });
}

async fn probe(shared: Arc<Shared>, fault: usize) {
    let began = Instant::now();
    let done = CancellationToken::new();
    let waiting = Arc::new(tokio::sync::Semaphore::new(WAITING));
    for number in 0.. {
        if done.is_cancelled() || began.elapsed() > LONGEST {
            return;
        }
        if let Ok(permit) = waiting.clone().try_acquire_owned() {
            let (own, done) = (shared.clone(), done.clone());
            shared.tasks.spawn(async move {
                let _permit = permit;
                // Of the lines that are shared.
                if small::get(&own, number % 8, number % small::OBJECTS, Load::Probe).await {
                    own.board.recovered(fault);
                    done.cancel();
                }
            });
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = done.cancelled() => return,
        }
    }
}
