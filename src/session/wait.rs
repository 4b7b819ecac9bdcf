//! Waiting for what Azure is asked for, which can take as long as somebody takes to sign in.

use std::time::Duration;

use tokio::time::timeout;

use crate::error::{Code, Error};

/// How long a request, or a dial for it, waits.
const PATIENCE: Duration = Duration::from_secs(15);

/// Fetches something. Whoever waits for it may go away, such as a kubectl that is interrupted: it
/// goes on, since others want it too and somebody may be signing in for it.
///
/// The end of the runtime ends it; nothing else waits for it then.
pub(super) async fn on_its_own<T: Send + 'static>(
    fetching: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    match tokio::spawn(fetching).await {
        Ok(done) => done,
        Err(error) => Err(Error::new(Code::Unexpected, "a renewal broke").caused_by(&error)),
    }
}

/// Waits for what is fetched [`on_its_own`], as long as a request should.
///
/// # Errors
/// That of the fetch; of the code given once it takes too long for what was named.
pub(super) async fn patiently<T>(
    (code, what): (Code, &str),
    fetching: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    timeout(PATIENCE, fetching).await.unwrap_or_else(|_| {
        let seconds = PATIENCE.as_secs();
        let why = format!("Azure has not given {what} within {seconds} seconds");
        Err(Error::new(code, why).hinted(
            "where arcproxy runs, somebody may be asked to sign in; it is still waited for, so try again after that",
        ))
    })
}
