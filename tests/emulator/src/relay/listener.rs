//! The listener's side: the control channel, and meeting or refusing a sender.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use serde::Deserialize;
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::Shared;
use super::address::Address;
use super::refusal::{Refusal, Tracking};
use super::registry::{Answer, Listening};
use super::sas::Right;
use super::websocket::{Upgrading, farewell, offered_protocol, switching_protocols};
use crate::faults::FaultSet;
use crate::http::Body;
use crate::serve::Connection;

/// How often a control channel's token is looked at. The cloud's clock can be moved while a
/// channel is open, so that no timer set in advance would do.
const TOKEN_CHECK: Duration = Duration::from_secs(1);

/// Answers a listener that opens its control channel.
pub(super) fn listen(
    shared: &Arc<Shared>,
    mut request: Request<Incoming>,
    address: &Address,
    tracking: &Tracking,
) -> Result<Response<Body>, Refusal> {
    let host = with_port(&address.host, &request);
    let token_end = check(shared, address, address.token.as_deref())
        .map_err(|denial| Refusal::from_denial(&denial, &tracking.resource))?;
    let listening = shared
        .registry
        .listen(&address.namespace, &address.path, host)?;
    let upgrading = Upgrading::of(&mut request).ok_or_else(Refusal::no_endpoint)?;
    let response = switching_protocols(&request, offered_protocol(&request));
    let channel = Channel {
        shared: Arc::clone(shared),
        address: address.clone(),
        tracking: tracking.clone(),
        listening,
        token_end,
    };
    shared.clone().spawn(channel.run(upgrading));
    Ok(response)
}

/// Answers a listener that comes to meet a sender, or to refuse it.
pub(super) fn accept(
    shared: &Arc<Shared>,
    mut request: Request<Incoming>,
    address: &Address,
) -> Result<Response<Body>, Refusal> {
    let not_valid = || Refusal::new(StatusCode::FORBIDDEN, "The rendezvous URL is not valid.");
    let waiting = address
        .id
        .as_deref()
        .and_then(|id| shared.registry.take_waiting(id))
        .ok_or_else(not_valid)?;
    if let Some((status, description)) = &address.refusal {
        // A sender that has gone needs no answer.
        let _ = waiting.send(Answer::Refused(Refusal::by_listener(status, description)));
        return Err(Refusal::new(StatusCode::GONE, "The sender was refused."));
    }
    let upgrading = Upgrading::of(&mut request).ok_or_else(not_valid)?;
    let response = switching_protocols(&request, offered_protocol(&request));
    waiting
        .send(Answer::Met(upgrading))
        .map_err(|_| not_valid())?;
    Ok(response)
}

fn check(
    shared: &Shared,
    address: &Address,
    token: Option<&str>,
) -> Result<u64, super::sas::Denial> {
    shared.keys.check(
        token,
        Right::Listen,
        &address.namespace,
        &address.path,
        shared.faults.cloud_time(),
    )
}

/// The host under which the listener can come again, with the port that it came to.
fn with_port(host: &str, request: &Request<Incoming>) -> String {
    let has_port = host
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    match request.extensions().get::<Connection>() {
        Some(connection) if !has_port => format!("{host}:{}", connection.local.port()),
        _ => host.to_owned(),
    }
}

/// Returns once the relay is to be away. Faults that are gone change nothing any more.
async fn relay_away(faults: &mut watch::Receiver<FaultSet>) {
    let waited = faults.wait_for(|faults| faults.relay_away).await.map(drop);
    if waited.is_err() {
        std::future::pending::<()>().await;
    }
}

/// A message from the listener.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
enum FromListener {
    RenewToken { token: String },
}

/// A listener's control channel.
struct Channel {
    shared: Arc<Shared>,
    address: Address,
    tracking: Tracking,
    listening: Listening,
    token_end: u64,
}

impl Channel {
    async fn run(mut self, upgrading: Upgrading) {
        let Ok((mut socket, _)) = upgrading.websocket().await else {
            return;
        };
        let mut token_check = tokio::time::interval(TOKEN_CHECK);
        let mut goodbye = None;
        let mut faults = self.shared.faults.watch();
        loop {
            tokio::select! {
                () = self.shared.stop.cancelled() => return,
                () = relay_away(&mut faults) => return,
                accept = self.listening.accepts.recv() => {
                    let Some(accept) = accept else { break };
                    if socket.send(Message::text(accept)).await.is_err() {
                        break;
                    }
                }
                message = socket.next() => match message {
                    Some(Ok(Message::Text(text))) => {
                        if let Err(frame) = self.message(&text) {
                            goodbye = Some(frame);
                            break;
                        }
                    }
                    Some(Ok(Message::Ping(_))) => self.shared.counters.ping(),
                    Some(Ok(Message::Close(_)) | Err(_)) | None => break,
                    Some(Ok(_)) => {}
                },
                _ = token_check.tick() => {
                    if self.shared.faults.cloud_time() >= self.token_end {
                        goodbye = Some(self.policy("The security token has expired."));
                        break;
                    }
                }
            }
        }
        // Whoever dials from now on finds no listener here.
        drop(self.listening);
        farewell(socket, goodbye).await;
    }

    fn message(&mut self, text: &str) -> Result<(), CloseFrame> {
        // What the relay does not know it leaves alone.
        let Ok(FromListener::RenewToken { token }) = serde_json::from_str(text) else {
            return Ok(());
        };
        match check(&self.shared, &self.address, Some(&token)) {
            Ok(end) => {
                self.token_end = end;
                self.shared.counters.renewed();
                Ok(())
            }
            Err(denial) => {
                let refusal = Refusal::from_denial(&denial, &self.tracking.resource);
                Err(self.policy(&refusal.text))
            }
        }
    }

    /// A close for a token that does not do, short enough for a control frame.
    fn policy(&self, text: &str) -> CloseFrame {
        let mut reason = format!("{text} TrackingId:{}", self.tracking.id);
        reason.truncate(123);
        CloseFrame {
            code: CloseCode::Policy,
            reason: reason.into(),
        }
    }
}
