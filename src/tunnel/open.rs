//! Opening a stream to kube-aad-proxy: relay, dialect, inner TLS.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use http::StatusCode;
use rustls::ClientConfig;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use super::dialect::{self, Dialect, DialectMemory, FirstBytes};
use super::far_side::FarTls;
use super::pulse::{Felt, Pulse};
use super::{Access, Connect, Credentials, FarSide, Io, TunnelError};
use crate::relay::DialError;

/// How long the dialect and the inner TLS may take together.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// How long an attempt has before another one begins beside it.
const SLOW: Duration = Duration::from_secs(3);
/// How long an attempt has that is not the first, before the next but one takes its place.
const BESIDE: Duration = Duration::from_secs(6);

/// What the stream is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Ordinary requests, over HTTP/2 where the far side offers it.
    Requests,
    /// One upgrade, over HTTP/1.1.
    Upgrade,
}

/// A stream that is ready for HTTP.
pub(super) struct Opened {
    pub(super) stream: Box<dyn Io>,
    pub(super) is_h2: bool,
    pub(super) far_side: Arc<FarSide>,
    /// The far side's signs of life.
    pub(super) pulse: Arc<Pulse>,
    /// How long the far side took to shake hands: a round trip and some more.
    pub(super) round_trip: Duration,
}

/// Opens streams to one cluster's kube-aad-proxy.
#[derive(Debug)]
pub struct Opener {
    connect: Arc<dyn Connect>,
    credentials: Arc<dyn Credentials>,
    dialect: DialectMemory,
}

impl Opener {
    /// An opener that meets the agent through `connect` with `credentials`.
    pub fn new(connect: Arc<dyn Connect>, credentials: Arc<dyn Credentials>) -> Self {
        Self {
            connect,
            credentials,
            dialect: DialectMemory::default(),
        }
    }

    /// Opens one. An attempt that is slow may be stuck in what has passed since, an agent that was
    /// replaced or a network that was away: others begin beside it, one after the other, and the
    /// first to end counts. The first attempt keeps all its time, since the path may be a slow one;
    /// when that is over, those that are under way may still come about.
    ///
    /// Cancel safe: dropping the future closes whatever was open.
    pub(super) async fn open(&self, purpose: Purpose) -> Result<Opened, TunnelError> {
        let mut attempts = FuturesUnordered::new();
        let (mut lasts, mut late) = (Duration::MAX, None);
        loop {
            if late.is_none() {
                attempts.push(self.attempt(purpose, lasts));
                lasts = BESIDE;
            }
            let ended = async {
                while let Some(attempt) = attempts.next().await {
                    match attempt {
                        Ok(Err(error)) if error.is_late() => late = Some(error),
                        Ok(done) => return done,
                        // Another one has taken its place.
                        Err(_) => {}
                    }
                }
                match late.take() {
                    Some(error) => Err(error),
                    None => std::future::pending().await,
                }
            };
            if let Ok(done) = timeout(SLOW, ended).await {
                return done;
            }
        }
    }

    /// A refusal that stale credentials explain renews them and tries again, once. Each try is
    /// given up after `lasts`, and a renewal is not: it serves the other attempts, too.
    async fn attempt(
        &self,
        purpose: Purpose,
        lasts: Duration,
    ) -> Result<Result<Opened, TunnelError>, Elapsed> {
        let access = self.credentials.current();
        match timeout(lasts, self.open_with(&access, purpose)).await? {
            Err(error) if may_be_stale(&error) => {
                let renewed = match self.credentials.clone().renew(access.generation).await {
                    Ok(renewed) if renewed.generation == access.generation => {
                        return Ok(Err(error));
                    }
                    Ok(renewed) => renewed,
                    Err(error) => return Ok(Err(TunnelError::Credentials(Arc::new(error)))),
                };
                timeout(lasts, self.open_with(&renewed, purpose)).await
            }
            done => Ok(done),
        }
    }

    async fn open_with(&self, access: &Access, purpose: Purpose) -> Result<Opened, TunnelError> {
        let dialect = self.dialect.now();
        if let Some(opened) = self.open_as(access, purpose, dialect).await? {
            return Ok(opened);
        }
        // An agent that was replaced may have another dialect than the one before it.
        let other = dialect.other();
        tracing::debug!(dialect = ?other, "the agent speaks the other dialect");
        self.dialect.remember(other);
        let opened = self.open_as(access, purpose, other).await?;
        opened.ok_or_else(|| {
            let why = "the agent's bridge refuses with and without a preamble";
            TunnelError::Bridge(Arc::new(io::Error::other(why)))
        })
    }

    /// `None` where the far side turned out to speak the other dialect.
    async fn open_as(
        &self,
        access: &Access,
        purpose: Purpose,
        dialect: Dialect,
    ) -> Result<Option<Opened>, TunnelError> {
        let far_side = &access.far_side;
        let stream = self
            .connect
            .connect(&access.rendezvous)
            .await
            .map_err(|error| TunnelError::Dial(Arc::new(error)))?;
        let mut stream = Felt::new(stream);
        let (pulse, began) = (stream.pulse(), Instant::now());
        let shaking = async {
            if dialect == Dialect::Bridge {
                let greeted = dialect::greet(&mut stream, &far_side.port).await;
                if !greeted.map_err(|error| TunnelError::Bridge(Arc::new(error)))? {
                    return Ok(None);
                }
            }
            let Some(tls) = &far_side.tls else {
                return Ok(Some((Box::new(stream) as Box<dyn Io>, false)));
            };
            secure(stream, tls, purpose).await
        };
        let shaken = timeout(HANDSHAKE_DEADLINE, shaking)
            .await
            .map_err(|_| TunnelError::Deadline("the TLS handshake inside the tunnel"))??;
        if let Some((_, is_h2)) = &shaken {
            let relay = &access.rendezvous.host;
            tracing::info!(relay, ?purpose, ?dialect, h2 = is_h2, "tunnel opened");
        }
        Ok(shaken.map(|(stream, is_h2)| Opened {
            stream,
            is_h2,
            far_side: far_side.clone(),
            pulse,
            round_trip: began.elapsed(),
        }))
    }
}

async fn secure(
    stream: Felt<Box<dyn Io>>,
    tls: &FarTls,
    purpose: Purpose,
) -> Result<Option<(Box<dyn Io>, bool)>, TunnelError> {
    let config: &Arc<ClientConfig> = match purpose {
        Purpose::Requests => &tls.requests,
        Purpose::Upgrade => &tls.upgrades,
    };
    let connecting = TlsConnector::from(config.clone())
        .connect(tls.name.clone(), FirstBytes::new(stream))
        .into_fallible();
    match connecting.await {
        Ok(stream) => {
            let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            Ok(Some((Box::new(stream), is_h2)))
        }
        Err((_, stream)) if stream.is_bridge_refusal() => Ok(None),
        Err((error, _)) => Err(TunnelError::Tls(Arc::new(error))),
    }
}

/// A 401 or 404 can mean that the signature or the hybrid connection's name is of yesterday, and a
/// certificate that does not verify, that the authority is.
fn may_be_stale(error: &TunnelError) -> bool {
    match error {
        TunnelError::Dial(error) => matches!(
            **error,
            DialError::Refused {
                status: StatusCode::UNAUTHORIZED | StatusCode::NOT_FOUND,
                ..
            }
        ),
        TunnelError::Tls(_) => error.is_certificate(),
        _ => false,
    }
}
