//! A connection that is begun before anybody asks for it.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::ConnectError;

/// How long the other side can be trusted to keep a connection on which nothing is asked.
const FRESH: Duration = Duration::from_secs(20);

/// Where a connection leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// Room for one connection that is begun ahead. Dropping it ends that connection.
pub(crate) struct Ahead<T>(Mutex<Option<Begun<T>>>);

struct Begun<T> {
    place: Place,
    since: Instant,
    connecting: AbortOnDropHandle<Result<T, ConnectError>>,
}

impl<T: Send + 'static> Ahead<T> {
    /// Begins `connecting`, which leads to `place`; what was begun before is ended. Must be called
    /// within a runtime.
    pub(crate) fn begin(
        &self,
        place: Place,
        connecting: impl Future<Output = Result<T, ConnectError>> + Send + 'static,
    ) {
        *self.lock() = Some(Begun {
            place,
            since: Instant::now(),
            connecting: AbortOnDropHandle::new(tokio::spawn(connecting)),
        });
    }

    /// The connection to `place`, waiting until it is open. `None` if none was begun, if it is too
    /// old, and if it had failed already: the cause may have passed since.
    ///
    /// Cancel safe: dropping the future ends the connection.
    pub(crate) async fn take(&self, place: &Place) -> Option<Result<T, ConnectError>> {
        let begun = self.lock().take_if(|begun| begun.place == *place)?;
        if begun.since.elapsed() >= FRESH {
            return None;
        }
        let is_past = begun.connecting.is_finished();
        match begun.connecting.await {
            Err(_) | Ok(Err(_)) if is_past => None,
            connected => connected.ok(),
        }
    }

    /// Ends what was begun and not taken.
    pub(crate) fn clear(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Begun<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Default for Ahead<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> fmt::Debug for Ahead<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ahead").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use tokio::sync::oneshot;
    use tokio::time::advance;

    use super::*;

    fn place(host: &str) -> Place {
        Place {
            host: host.to_owned(),
            port: 443,
        }
    }

    fn failed() -> Result<u8, ConnectError> {
        let error = io::Error::from(io::ErrorKind::ConnectionReset);
        Err(ConnectError::Tcp("a:443".to_owned(), error))
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_there_once_and_for_its_place_only() {
        let ahead = Ahead::default();
        assert!(ahead.take(&place("a")).await.is_none());
        ahead.begin(place("a"), async { Ok(1) });
        assert!(ahead.take(&place("b")).await.is_none());
        assert!(matches!(ahead.take(&place("a")).await, Some(Ok(1))));
        assert!(ahead.take(&place("a")).await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn an_old_one_is_not_trusted() {
        let ahead = Ahead::default();
        ahead.begin(place("a"), async { Ok(1) });
        advance(FRESH).await;
        assert!(ahead.take(&place("a")).await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_counts_for_those_only_who_waited_for_it() {
        let ahead = Ahead::default();
        ahead.begin(place("a"), async { failed() });
        tokio::task::yield_now().await;
        assert!(ahead.take(&place("a")).await.is_none());
        ahead.begin(place("a"), async {
            tokio::task::yield_now().await;
            failed()
        });
        assert!(matches!(ahead.take(&place("a")).await, Some(Err(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_cleared_ends() {
        let ahead = Ahead::<u8>::default();
        let (open, closed) = oneshot::channel::<()>();
        ahead.begin(place("a"), async {
            let _open = open;
            std::future::pending().await
        });
        ahead.clear();
        assert!(closed.await.is_err());
        assert!(ahead.take(&place("a")).await.is_none());
    }
}
