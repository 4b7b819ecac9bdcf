//! Which hybrid connections there are, who listens on them, and who waits to be met.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::refusal::Refusal;
use super::websocket::Upgrading;

/// How many listeners one hybrid connection takes.
const MAX_LISTENERS: usize = 25;

/// What the relay tells a listener about a waiting sender; goes over the control channel as it is.
pub(super) type Accept = String;

/// How a listener answers a waiting sender.
#[derive(Debug)]
pub(super) enum Answer {
    Met(Upgrading),
    Refused(Refusal),
}

/// A namespace and a path in it, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Name {
    namespace: String,
    path: String,
}

impl Name {
    fn new(namespace: &str, path: &str) -> Self {
        Self {
            namespace: namespace.to_lowercase(),
            path: path.trim_matches('/').to_lowercase(),
        }
    }

    /// The name itself, then each name above it.
    fn and_above(self) -> impl Iterator<Item = Self> {
        std::iter::successors(Some(self), |name| {
            let (above, _) = name.path.rsplit_once('/')?;
            Some(Self {
                namespace: name.namespace.clone(),
                path: above.to_owned(),
            })
        })
    }
}

/// A hybrid connection, as senders see it.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    listener: Name,
    /// Cancelled when the hybrid connection is deleted.
    pub(super) removed: CancellationToken,
}

/// A listener that waits for senders.
#[derive(Debug, Clone)]
pub(super) struct Listener {
    id: u64,
    /// The host under which the listener reached the relay, and will again.
    pub(super) host: String,
    pub(super) accepts: mpsc::UnboundedSender<Accept>,
}

#[derive(Debug, Default)]
struct State {
    endpoints: HashMap<Name, Endpoint>,
    listeners: HashMap<Name, Vec<Listener>>,
    waiting: HashMap<String, oneshot::Sender<Answer>>,
}

/// The relay's memory.
#[derive(Debug, Default)]
pub(super) struct Registry {
    state: Mutex<State>,
    sequence: AtomicU64,
}

impl Registry {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Creates a hybrid connection, unless it is there.
    pub(super) fn create(&self, namespace: &str, path: &str, listener_path: &str) {
        let name = Name::new(namespace, path);
        let listener = Name::new(namespace, listener_path);
        let mut state = self.state();
        state.listeners.entry(listener.clone()).or_default();
        let endpoint = state.endpoints.entry(name).or_insert_with(|| Endpoint {
            listener: listener.clone(),
            removed: CancellationToken::new(),
        });
        endpoint.listener = listener;
    }

    /// Deletes a hybrid connection; its tunnels end.
    pub(super) fn remove(&self, namespace: &str, path: &str) {
        if let Some(endpoint) = self.state().endpoints.remove(&Name::new(namespace, path)) {
            endpoint.removed.cancel();
        }
    }

    /// The hybrid connection that `path`, less any suffix, leads to.
    pub(super) fn endpoint(&self, namespace: &str, path: &str) -> Option<Endpoint> {
        let state = self.state();
        Name::new(namespace, path)
            .and_above()
            .find_map(|name| state.endpoints.get(&name).cloned())
    }

    /// The listeners on `endpoint`, the one whose turn it is first.
    pub(super) fn listeners(&self, endpoint: &Endpoint) -> Vec<Listener> {
        let mut state = self.state();
        let Some(listeners) = state.listeners.get_mut(&endpoint.listener) else {
            return Vec::new();
        };
        let turns = listeners.clone();
        if !listeners.is_empty() {
            listeners.rotate_left(1);
        }
        turns
    }

    pub(super) fn listener_count(&self) -> usize {
        self.state().listeners.values().map(Vec::len).sum()
    }

    /// Registers a listener; its accepts arrive at the receiver.
    pub(super) fn listen(
        self: &Arc<Self>,
        namespace: &str,
        path: &str,
        host: String,
    ) -> Result<Listening, Refusal> {
        let name = Name::new(namespace, path);
        let mut state = self.state();
        let listeners = state
            .listeners
            .get_mut(&name)
            .ok_or_else(Refusal::no_endpoint)?;
        if listeners.len() >= MAX_LISTENERS {
            return Err(Refusal::new(
                http::StatusCode::FORBIDDEN,
                "QuotaExceeded: The number of listeners for the endpoint has been exceeded.",
            ));
        }
        let (send, accepts) = mpsc::unbounded_channel();
        let id = self.next();
        listeners.push(Listener {
            id,
            host,
            accepts: send,
        });
        Ok(Listening {
            registry: Arc::clone(self),
            name,
            id,
            accepts,
        })
    }

    /// Waits to be met under a fresh id, made from the sender's own.
    pub(super) fn wait(self: &Arc<Self>, tracking_id: &str) -> Waiting {
        let (send, answer) = oneshot::channel();
        let id = format!("{tracking_id}_G{}", self.next());
        self.state().waiting.insert(id.clone(), send);
        Waiting {
            registry: Arc::clone(self),
            id,
            answer,
        }
    }

    /// The sender that waits under `id`; nobody else can meet it any more.
    pub(super) fn take_waiting(&self, id: &str) -> Option<oneshot::Sender<Answer>> {
        self.state().waiting.remove(id)
    }

    fn next(&self) -> u64 {
        self.sequence.fetch_add(1, Ordering::Relaxed)
    }
}

/// A registered listener, until it is dropped.
#[derive(Debug)]
pub(super) struct Listening {
    registry: Arc<Registry>,
    name: Name,
    id: u64,
    pub(super) accepts: mpsc::UnboundedReceiver<Accept>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        if let Some(listeners) = self.registry.state().listeners.get_mut(&self.name) {
            listeners.retain(|listener| listener.id != self.id);
        }
    }
}

/// A sender that waits to be met, until it is dropped.
#[derive(Debug)]
pub(super) struct Waiting {
    registry: Arc<Registry>,
    pub(super) id: String,
    pub(super) answer: oneshot::Receiver<Answer>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.registry.state().waiting.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    #[test]
    fn a_suffix_leads_to_its_endpoint() {
        let registry = Registry::default();
        registry.create("contoso", "clusters/a/1", "clusters/a");
        let found = |path| registry.endpoint("CONTOSO", path).is_some();
        assert!(found("clusters/A/1"));
        assert!(found("clusters/a/1/x/y"));
        assert!(!found("clusters/a"));
        assert!(!found("clusters/a/11"));
        assert!(registry.endpoint("fabrikam", "clusters/a/1").is_none());
        registry.remove("contoso", "clusters/a/1");
        assert!(!found("clusters/a/1"));
    }

    #[test]
    fn listeners_take_turns_and_leave() {
        let registry = Arc::new(Registry::default());
        registry.create("n", "p/1", "p");
        let endpoint = registry.endpoint("n", "p/1").unwrap();
        assert!(registry.listeners(&endpoint).is_empty());
        let first = registry.listen("n", "p", "one".to_owned()).unwrap();
        let _second = registry.listen("n", "P/", "two".to_owned()).unwrap();
        let turn = || registry.listeners(&endpoint)[0].host.clone();
        assert_eq!([turn(), turn(), turn()], ["one", "two", "one"]);
        drop(first);
        assert_eq!([turn(), turn()], ["two", "two"]);
        assert_eq!(registry.listener_count(), 1);
    }

    #[test]
    fn the_twenty_sixth_listener_is_refused() {
        let registry = Arc::new(Registry::default());
        registry.create("n", "p", "p");
        let listen = || registry.listen("n", "p", String::new());
        let all: Vec<_> = (0..25).map(|_| listen().unwrap()).collect();
        assert_eq!(listen().unwrap_err().status, http::StatusCode::FORBIDDEN);
        drop(all);
        assert!(listen().is_ok());
        assert!(registry.listen("n", "q", String::new()).is_err());
    }

    #[test]
    fn a_sender_is_met_once_and_only_while_it_waits() {
        let registry = Arc::new(Registry::default());
        let waiting = registry.wait("id");
        let id = waiting.id.clone();
        assert!(registry.take_waiting(&id).is_some());
        assert!(registry.take_waiting(&id).is_none());
        let waiting = registry.wait("id");
        let id = waiting.id.clone();
        drop(waiting);
        assert!(registry.take_waiting(&id).is_none());
    }
}
