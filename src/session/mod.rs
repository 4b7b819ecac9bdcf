//! What is valid now for one cluster, and its refreshing.
//!
//! A [`Session`] holds the relay credentials that new dials use and the `Authorization` that
//! requests carry. [`Session::keep_fresh`] renews both before they end; a renewal that fails while
//! the old value lives is a warning, never the end. Deadlines are wall-clock times, so that a
//! laptop that slept finds them passed.

#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod identity;
mod refresh;
mod wait;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use http::HeaderValue;
use tokio::sync::{Mutex, Notify};
use tokio::time::Instant;

pub use identity::{Identity, TokenSource};

use crate::azure::arm::{Arm, AuthenticationMethod};
use crate::azure::cloud::Cloud;
use crate::azure::id::ClusterId;
use crate::azure::types::CredentialResults;
use crate::clock::Clock;
use crate::error::{Code, Error};
use crate::relay::Rendezvous;
use crate::tunnel::{Access, Credentials, FarSide};

/// What a refusal had fetched is not fetched for another one before it is this old, or a tenth of
/// its life: others would mend nothing.
const JUST_FETCHED: Duration = Duration::from_secs(30);
/// Whoever asks within this time of a failure gets the same one.
const JUST_FAILED: Duration = Duration::from_secs(2);

/// The session with one cluster.
#[derive(Debug)]
pub struct Session {
    id: ClusterId,
    cloud: Cloud,
    arm: Arm,
    clock: Clock,
    identity: Identity,
    lease: RwLock<Lease>,
    /// Held while relay credentials are fetched, so that concurrent wishes fetch once; how the last
    /// fetch failed.
    fetching: Arc<Mutex<Option<Failure>>>,
    /// The cluster has refused a request for what it shows.
    refused: Notify,
}

/// Why something is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    /// It is time: the old value nears its end, or there is none yet.
    Due,
    /// The old value was refused.
    Refused,
}

/// Whether what was fetched at `fetched`, or `fetched_unix` by the server's clock, for a life until
/// `expires` is too new to be fetched anew because it is refused, at `now` by the server's clock.
/// What was fetched before the machine slept is old, though its own time stood still.
fn is_new(fetched: Instant, fetched_unix: u64, expires: u64, now: u64) -> bool {
    let by_wall = Duration::from_secs(now.abs_diff(fetched_unix));
    let life = Duration::from_secs(expires.saturating_sub(fetched_unix));
    fetched.elapsed().max(by_wall) < JUST_FETCHED.min(life / 10)
}

/// Relay credentials and their times.
#[derive(Debug, Clone)]
struct Lease {
    access: Access,
    fetched: Instant,
    /// Seconds since 1970 by the server's clock.
    fetched_unix: u64,
    expires: u64,
    /// It was fetched for the start, or because the one before it was refused.
    is_settled: bool,
}

impl Lease {
    /// Whether another one would be refused as this one is, at `now` by the server's clock.
    fn is_settled(&self, now: u64) -> bool {
        self.is_settled && is_new(self.fetched, self.fetched_unix, self.expires, now)
    }
}

/// How the last attempt at something failed: shared with those who waited for it, so that a
/// service that does not answer is not asked by each of them in turn.
#[derive(Debug)]
struct Failure {
    at: Instant,
    error: Error,
}

impl Failure {
    fn now(error: &Error) -> Self {
        Self {
            at: Instant::now(),
            error: error.clone(),
        }
    }

    fn is_recent(&self) -> bool {
        self.at.elapsed() < JUST_FAILED
    }
}

impl Session {
    /// Opens the session: fetches relay credentials for `method` and readies the identity, side by
    /// side.
    ///
    /// # Errors
    /// Azure refuses or cannot be reached.
    pub async fn open(
        id: ClusterId,
        cloud: Cloud,
        arm: Arm,
        clock: Clock,
        method: AuthenticationMethod,
        identity: impl Future<Output = Result<Identity, Error>>,
    ) -> Result<Self, Error> {
        let identity = async {
            let identity = identity.await?;
            identity.ready(&clock, &id).await?;
            Ok(identity)
        };
        let leasing = fetch(&id, &cloud, &arm, &clock, method, 0);
        let (lease, identity) = tokio::try_join!(leasing, identity)?;
        Ok(Self {
            id,
            cloud,
            arm,
            clock,
            identity,
            lease: RwLock::new(lease),
            fetching: Arc::default(),
            refused: Notify::new(),
        })
    }

    /// The cluster.
    pub fn id(&self) -> &ClusterId {
        &self.id
    }

    /// The `Authorization` for the next request.
    ///
    /// # Errors
    /// The token has ended and a new one cannot be had.
    pub async fn authorization(&self) -> Result<HeaderValue, Error> {
        self.identity.authorization(&self.clock, &self.id).await
    }

    /// Takes note that the cluster has answered 401 to a request: its token may have been revoked,
    /// or ends are judged by a clock that has moved. Another token is fetched soon, unless this one
    /// is the answer to an earlier refusal.
    pub fn refused(&self) {
        self.refused.notify_one();
    }

    /// The relay's host and port.
    pub fn relay(&self) -> (String, u16) {
        let rendezvous = self.lease().access.rendezvous;
        (rendezvous.host, rendezvous.port)
    }

    fn lease(&self) -> Lease {
        self.lease
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Fetches relay credentials unless another call has, since `generation`.
    async fn fetch_after(
        self: &Arc<Self>,
        generation: u64,
        reason: Reason,
    ) -> Result<Lease, Error> {
        let mut failure = self.fetching.clone().lock_owned().await;
        let now = self.lease();
        if now.access.generation != generation {
            return Ok(now);
        }
        if let Some(failure) = &*failure
            && failure.is_recent()
        {
            return Err(failure.error.clone());
        }
        let this = self.clone();
        wait::on_its_own(async move {
            let fetched = this.fetch_anew(generation + 1).await;
            *failure = fetched.as_ref().err().map(Failure::now);
            let mut lease = fetched?;
            lease.is_settled = reason == Reason::Refused;
            *this.lease.write().unwrap_or_else(PoisonError::into_inner) = lease.clone();
            Ok(lease)
        })
        .await
    }

    async fn fetch_anew(&self, generation: u64) -> Result<Lease, Error> {
        let method = self.identity.method();
        let Self {
            id,
            cloud,
            arm,
            clock,
            ..
        } = self;
        fetch(id, cloud, arm, clock, method, generation).await
    }
}

#[async_trait]
impl Credentials for Session {
    fn current(&self) -> Access {
        self.lease().access
    }

    async fn renew(self: Arc<Self>, generation: u64) -> Result<Access, Error> {
        let lease = self.lease();
        if lease.is_settled(self.clock.now()) {
            return Ok(lease.access);
        }
        let fetching = self.fetch_after(generation, Reason::Refused);
        let late = (Code::ArmUnreachable, "relay credentials");
        let fetched = wait::patiently(late, fetching).await;
        fetched.map(|lease| lease.access)
    }
}

async fn fetch(
    id: &ClusterId,
    cloud: &Cloud,
    arm: &Arm,
    clock: &Clock,
    method: AuthenticationMethod,
    generation: u64,
) -> Result<Lease, Error> {
    let answer = arm.credentials(id, method).await?;
    let expires = answer.hybrid_connection_config.expiration_time;
    Ok(Lease {
        access: access(answer, cloud, id, generation)?,
        fetched: Instant::now(),
        fetched_unix: clock.now(),
        expires,
        is_settled: true,
    })
}

fn access(
    answer: CredentialResults,
    cloud: &Cloud,
    id: &ClusterId,
    generation: u64,
) -> Result<Access, Error> {
    let unusable = |why: String| {
        let what = format!(
            "the kubeconfig that Azure gave for {} cannot be used",
            id.name
        );
        Error::new(Code::ArmAnswer, what).because(why)
    };
    let kubeconfig = answer
        .kubeconfigs
        .first()
        .ok_or_else(|| unusable("there is none".into()))?;
    let far = kubeconfig.far_end().map_err(unusable)?;
    let authority = far.certificate_authority.as_deref();
    let far_side =
        FarSide::new(&far.server, far.tls_server_name.as_deref(), authority).map_err(unusable)?;
    let config = answer.hybrid_connection_config;
    let (host, port) = cloud.relay(&config.relay)?;
    Ok(Access {
        rendezvous: Rendezvous {
            host,
            port,
            path: config.hybrid_connection_name,
            token: config.token,
        },
        far_side: Arc::new(far_side),
        generation,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    #[tokio::test(start_paused = true)]
    async fn credentials_that_a_refusal_brought_are_not_fetched_again_at_once() {
        let far_side = FarSide::new("http://kube-aad-proxy", None, None).expect("usable");
        let rendezvous = Rendezvous {
            host: "relay.example".to_owned(),
            port: 443,
            path: "p".to_owned(),
            token: Secret::from("t"),
        };
        let mut lease = Lease {
            access: Access {
                rendezvous,
                far_side: Arc::new(far_side),
                generation: 0,
            },
            fetched: Instant::now(),
            fetched_unix: 1_000_000,
            expires: 1_010_800,
            is_settled: true,
        };
        assert!(lease.is_settled(1_000_000));
        // It slept, or somebody set the clock back.
        assert!(!lease.is_settled(1_000_000 + 8 * 3600));
        assert!(!lease.is_settled(1_000_000 - 3600));
        // Nobody had refused the one before it.
        lease.is_settled = false;
        assert!(!lease.is_settled(1_000_000));
        lease.is_settled = true;
        tokio::time::advance(JUST_FETCHED).await;
        assert!(!lease.is_settled(1_000_001));
    }
}
