//! The control channel: opening it again whenever it ends, and hearing about senders.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::{Error, Message};
use url::form_urlencoded;
use uuid::Uuid;

use super::connect::{self, WebSocket};
use super::{AgentConfig, Counters, Run, State, bridge};
use crate::door::Door;
use crate::faults::FaultSet;

const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LAST_BACKOFF: Duration = Duration::from_secs(5);

/// How often the agent pings its control channel.
const PING: Duration = Duration::from_secs(30);

/// A message from the relay.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
enum FromRelay {
    Accept { address: String },
}

/// What keeps the control channel.
#[derive(Debug, Clone)]
pub(super) struct Listener {
    pub(super) config: Arc<AgentConfig>,
    pub(super) counters: Arc<Counters>,
    pub(super) state: watch::Sender<State>,
    pub(super) run: Run,
    pub(super) target: watch::Receiver<Door>,
}

impl Listener {
    /// Keeps a control channel open until the run ends. The failure of the first attempt goes to
    /// `failed`, and is the last.
    pub(super) async fn keep_listening(self, failed: oneshot::Sender<io::Error>) {
        let stop = self.run.stop.clone();
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.listen_again_and_again(failed) => {}
        }
    }

    async fn listen_again_and_again(self, failed: oneshot::Sender<io::Error>) {
        let mut failed = Some(failed);
        let mut faults = self.config.faults.watch();
        let mut backoff = FIRST_BACKOFF;
        loop {
            if faults.borrow_and_update().agent_away {
                self.state.send_replace(State::Away);
                if wait_for(&mut faults, false).await.is_none() {
                    return;
                }
            }
            self.state.send_replace(State::Connecting);
            match self.open().await {
                Ok((socket, token)) => {
                    failed = None;
                    backoff = FIRST_BACKOFF;
                    self.counters.channels.fetch_add(1, Ordering::Relaxed);
                    self.state.send_replace(State::Listening);
                    tokio::select! {
                        ended = self.serve(socket, token) => {
                            tracing::debug!(?ended, "control channel ended");
                        }
                        // Dropping the socket closes the channel.
                        _ = wait_for(&mut faults, true) => {}
                    }
                }
                Err(error) => {
                    if let Some(failed) = failed.take() {
                        // Whoever started the agent may have given up.
                        let _ = failed.send(io::Error::other(error));
                        return;
                    }
                    tokio::time::sleep(backoff).await;
                    backoff = (backoff * 2).min(LAST_BACKOFF);
                }
            }
        }
    }

    async fn open(&self) -> Result<(WebSocket, String), Error> {
        let token = (self.config.token)();
        let address = format!(
            "wss://{}/$hc/{}?sb-hc-action=listen&sb-hc-id={}",
            connect::host(&self.config),
            self.config.path,
            Uuid::new_v4()
        );
        let headers = [("ServiceBusAuthorization", token.as_str())];
        let socket = connect::open(&self.config, &address, &headers).await?;
        Ok((socket, token))
    }

    /// Serves one control channel until it ends.
    async fn serve(&self, mut socket: WebSocket, token: String) -> Result<(), Error> {
        let mut ping = tokio::time::interval_at(Instant::now() + PING, PING);
        let mut renewal = self.renewal(&token);
        loop {
            tokio::select! {
                message = socket.next() => match message {
                    Some(Ok(Message::Text(text))) => self.message(&text),
                    Some(Ok(Message::Close(_))) | None => return Ok(()),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(error),
                },
                _ = ping.tick() => socket.send(Message::Ping(bytes::Bytes::new())).await?,
                () = tokio::time::sleep_until(renewal) => {
                    let token = (self.config.token)();
                    let renew = json!({"renewToken": {"token": token}});
                    socket.send(Message::text(renew.to_string())).await?;
                    renewal = self.renewal(&token);
                }
            }
        }
    }

    /// When to renew `token`: after four fifths of what is left of it, at least a second.
    fn renewal(&self, token: &str) -> Instant {
        let end = token
            .split('&')
            .find_map(|field| field.strip_prefix("se="))
            .and_then(|end| end.parse::<u64>().ok())
            .unwrap_or(u64::MAX);
        let left = end.saturating_sub(self.config.faults.cloud_time());
        // The second that has begun may be over. A token without an end in sight is renewed daily.
        let wait = Duration::from_secs(left.saturating_sub(1).min(24 * 60 * 60)) * 4 / 5;
        Instant::now() + wait.max(Duration::from_secs(1))
    }

    fn message(&self, text: &str) {
        let Ok(FromRelay::Accept { address }) = serde_json::from_str(text) else {
            tracing::debug!(text, "message from the relay is not known");
            return;
        };
        self.counters.accepts.fetch_add(1, Ordering::Relaxed);
        let listener = self.clone();
        self.run.tasks.spawn(async move {
            let stop = listener.run.stop.clone();
            tokio::select! {
                () = stop.cancelled() => {}
                ended = listener.accept(&address) => if let Err(error) = ended {
                    tracing::debug!(%error, "rendezvous failed");
                },
            }
        });
    }

    /// Meets the sender at `address`, or refuses it if the target is not there.
    async fn accept(&self, address: &str) -> Result<(), Error> {
        let target = self.target.borrow().clone();
        let target = match target.open().await {
            Ok(target) => target,
            Err(error) => {
                self.counters.refused.fetch_add(1, Ordering::Relaxed);
                return self.refuse(address, &error).await;
            }
        };
        let socket = connect::open(&self.config, address, &[]).await?;
        let _open = Open::new(&self.counters);
        let dialect = self.config.faults.now().dialect;
        bridge::run(socket, target, dialect, &self.counters).await;
        Ok(())
    }

    async fn refuse(&self, address: &str, error: &io::Error) -> Result<(), Error> {
        let description = format!("The target could not be reached: {error}.");
        let refusal = form_urlencoded::Serializer::new(String::new())
            .append_pair("sb-hc-statusCode", "502")
            .append_pair("sb-hc-statusDescription", &description)
            .finish();
        match connect::open(&self.config, &format!("{address}&{refusal}"), &[]).await {
            // That is how a refusal is acknowledged.
            Err(Error::Http(response)) if response.status() == http::StatusCode::GONE => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Ok(()),
        }
    }
}

/// Waits until the agent has to be `away`, or not; `None` once the faults are gone.
async fn wait_for(faults: &mut watch::Receiver<FaultSet>, away: bool) -> Option<()> {
    let waited = faults.wait_for(|faults| faults.agent_away == away).await;
    waited.ok().map(drop)
}

/// Counts a stream as open until it is dropped.
struct Open<'a>(&'a Counters);

impl<'a> Open<'a> {
    fn new(counters: &'a Counters) -> Self {
        counters.open_streams.fetch_add(1, Ordering::Relaxed);
        Self(counters)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open_streams.fetch_sub(1, Ordering::Relaxed);
    }
}
