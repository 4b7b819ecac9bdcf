//! The cluster's agent: listens on the relay and bridges each sender to kube-aad-proxy.

mod bridge;
mod channel;
mod connect;
mod dialect;

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::ClientConfig;
use serde::Serialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use crate::faults::Dialect;

use crate::door::Door;
use crate::faults::Faults;

/// What an agent needs.
#[derive(Clone)]
pub struct AgentConfig {
    /// The relay.
    pub relay: Door,
    /// The relay namespace.
    pub namespace: String,
    /// The path to listen on.
    pub path: String,
    /// How to verify the relay, where TLS leads to it. ALPN is the agent's own business.
    pub tls: ClientConfig,
    /// Where kube-aad-proxy listens.
    pub target: Door,
    /// The faults to play, and the dialect that the next sender has to begin with.
    pub faults: Faults,
    /// Makes a fresh listener token.
    pub token: Arc<dyn Fn() -> String + Send + Sync>,
}

impl fmt::Debug for AgentConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentConfig")
            .field("relay", &self.relay)
            .field("namespace", &self.namespace)
            .field("path", &self.path)
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

/// What an agent has seen since it started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct AgentSeen {
    /// Whether its control channel is open.
    pub listening: bool,
    /// Control channels opened so far.
    pub channels: u64,
    /// Senders that it was told about.
    pub accepts: u64,
    /// Senders that it refused, because their target could not be reached.
    pub refused: u64,
    /// Streams whose preamble it refused.
    pub bad_preambles: u64,
    /// Streams bridged now.
    pub open_streams: u64,
}

/// A running agent. Dropping it ends its control channel and its streams.
#[derive(Debug)]
pub struct Agent {
    config: Arc<AgentConfig>,
    counters: Arc<Counters>,
    listening: watch::Sender<State>,
    run: Mutex<Run>,
    target: watch::Sender<Door>,
}

/// One run of the agent's process, as it were.
#[derive(Debug, Clone, Default)]
struct Run {
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// How the control channel stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Connecting,
    Listening,
    /// The faults keep the agent away.
    Away,
}

#[derive(Debug, Default)]
struct Counters {
    channels: AtomicU64,
    accepts: AtomicU64,
    refused: AtomicU64,
    bad_preambles: AtomicU64,
    open_streams: AtomicU64,
}

impl Agent {
    /// Starts an agent and waits until it listens, or until it is away as the faults want it.
    ///
    /// # Errors
    ///
    /// If the relay cannot be reached, or refuses the listener, at the first attempt. Later on the
    /// agent keeps trying.
    pub async fn start(config: AgentConfig) -> io::Result<Self> {
        let agent = Self {
            target: watch::Sender::new(config.target.clone()),
            config: Arc::new(config),
            counters: Arc::default(),
            listening: watch::Sender::new(State::Connecting),
            run: Mutex::default(),
        };
        agent.begin().await?;
        Ok(agent)
    }

    async fn begin(&self) -> io::Result<()> {
        let run = Run::default();
        let token = run.stop.clone();
        *self.run.lock().unwrap_or_else(PoisonError::into_inner) = run.clone();
        self.listening.send_replace(State::Connecting);
        let listener = channel::Listener {
            config: Arc::clone(&self.config),
            counters: Arc::clone(&self.counters),
            state: self.listening.clone(),
            run: run.clone(),
            target: self.target.subscribe(),
        };
        let mut state = self.listening.subscribe();
        let (failed, failure) = tokio::sync::oneshot::channel();
        run.tasks.spawn(listener.keep_listening(failed));
        tokio::select! {
            error = failure => match error {
                Ok(error) => {
                    token.cancel();
                    Err(error)
                }
                Err(_) => Ok(()),
            },
            // The sender lives as long as the agent.
            _ = state.wait_for(|state| *state != State::Connecting) => Ok(()),
        }
    }

    /// What the agent has seen.
    pub fn seen(&self) -> AgentSeen {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        AgentSeen {
            listening: *self.listening.borrow() == State::Listening,
            channels: read(&self.counters.channels),
            accepts: read(&self.counters.accepts),
            refused: read(&self.counters.refused),
            bad_preambles: read(&self.counters.bad_preambles),
            open_streams: read(&self.counters.open_streams),
        }
    }

    /// Leads the senders that come from now on to `target` instead of kube-aad-proxy.
    pub fn lead_to(&self, target: impl Into<Door>) {
        self.target.send_replace(target.into());
    }

    /// Ends the control channel and all streams, at once.
    pub async fn stop(&self) {
        let run = self
            .run
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        run.stop.cancel();
        run.tasks.close();
        run.tasks.wait().await;
        self.listening.send_replace(State::Connecting);
    }

    /// Stops the agent and starts it again, as when its pod is replaced.
    ///
    /// # Errors
    ///
    /// As [`Agent::start`].
    pub async fn restart(&self) -> io::Result<()> {
        self.stop().await;
        self.begin().await
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.run
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .stop
            .cancel();
    }
}
