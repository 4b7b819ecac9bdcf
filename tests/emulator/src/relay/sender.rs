//! The sender's side: a dial, from its token to its meeting with a listener.

use std::fmt::Write as _;
use std::sync::Arc;

use http::header::HeaderMap;
use http::{Request, Response};
use hyper::body::Incoming;
use serde_json::{Map, Value, json};

use super::address::Address;
use super::refusal::{Refusal, Tracking};
use super::registry::{Answer, Listener, Waiting};
use super::sas::Right;
use super::websocket::{Upgrading, offered_protocol, switching_protocols};
use super::{Shared, tunnel};
use crate::http::Body;

/// Answers a sender's dial once a listener has met it, or will not.
pub(super) async fn connect(
    shared: &Arc<Shared>,
    mut request: Request<Incoming>,
    address: &Address,
    tracking: &Tracking,
) -> Result<Response<Body>, Refusal> {
    let faults = shared.faults.now();
    if let Some(status) = faults.refuse_dials {
        return Err(Refusal::by_fault(status));
    }
    let endpoint = shared
        .registry
        .endpoint(&address.namespace, &address.path)
        .ok_or_else(Refusal::no_endpoint)?;
    shared
        .keys
        .check(
            address.token.as_deref(),
            Right::Send,
            &address.namespace,
            &address.path,
            shared.faults.cloud_time(),
        )
        .map_err(|denial| Refusal::from_denial(&denial, &tracking.resource))?;
    let sender = Upgrading::of(&mut request).ok_or_else(Refusal::no_endpoint)?;
    let response = switching_protocols(&request, offered_protocol(&request));
    if faults.black_hole_dials {
        shared.clone().spawn(black_hole(Arc::clone(shared), sender));
        return Ok(response);
    }
    // Taken before the wait: a cut or a deletion in the meantime is not to be missed.
    let cuts = shared.cuts.subscribe();
    let waiting = shared.registry.wait(&tracking.id);
    let listeners = shared.registry.listeners(&endpoint);
    let announced = listeners.iter().any(|listener| {
        let accept = accept_message(address, listener, &waiting, request.headers(), tracking);
        listener.accepts.send(accept).is_ok()
    });
    if !announced {
        return Err(Refusal::no_listener());
    }
    let listener = meet(shared, waiting).await?;
    shared.clone().spawn(tunnel::run(
        Arc::clone(shared),
        sender,
        listener,
        endpoint.removed,
        cuts,
    ));
    Ok(response)
}

/// Waits for the listener's answer.
async fn meet(shared: &Shared, mut waiting: Waiting) -> Result<Upgrading, Refusal> {
    match tokio::time::timeout(shared.limits.rendezvous, &mut waiting.answer).await {
        Ok(Ok(Answer::Met(listener))) => Ok(listener),
        Ok(Ok(Answer::Refused(refusal))) => Err(refusal),
        Ok(Err(_)) | Err(_) => Err(Refusal::timeout()),
    }
}

/// Takes the dial and never answers on it.
async fn black_hole(shared: Arc<Shared>, sender: Upgrading) {
    let Ok((socket, _)) = sender.websocket().await else {
        return;
    };
    let _open = shared.counters.open_tunnel();
    tokio::select! {
        () = tunnel::swallow(socket.into_inner()) => {}
        () = shared.stop.cancelled() => {}
    }
}

/// What a listener is told.
fn accept_message(
    address: &Address,
    listener: &Listener,
    waiting: &Waiting,
    headers: &HeaderMap,
    tracking: &Tracking,
) -> String {
    let mut rendezvous = format!("wss://{}/$hc/{}?", listener.host, address.raw_path);
    if !address.query.is_empty() {
        rendezvous.push_str(&address.query);
        rendezvous.push('&');
    }
    // Writing to a string cannot fail.
    let _ = write!(rendezvous, "sb-hc-action=accept&sb-hc-id={}", waiting.id);
    let id = address.id.as_deref().unwrap_or(&tracking.id);
    json!({"accept": {
        "address": rendezvous,
        "id": id,
        "connectHeaders": connect_headers(headers),
    }})
    .to_string()
}

/// The sender's headers in the spelling that listeners look for. The token is the relay's alone.
fn connect_headers(headers: &HeaderMap) -> Map<String, Value> {
    let mut all = Map::new();
    for name in headers.keys() {
        if name == "servicebusauthorization" {
            continue;
        }
        let values: Vec<_> = headers
            .get_all(name)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()))
            .collect();
        all.insert(spell(name.as_str()), Value::String(values.join(", ")));
    }
    all
}

/// `sec-websocket-key` as `Sec-WebSocket-Key`.
fn spell(name: &str) -> String {
    let words: Vec<_> = name
        .split('-')
        .map(|word| {
            if word == "websocket" {
                return "WebSocket".to_owned();
            }
            let mut letters = word.chars();
            let first = letters.next().map(|first| first.to_ascii_uppercase());
            first.into_iter().chain(letters).collect()
        })
        .collect();
    words.join("-")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    #[test]
    fn headers_pass_without_the_token() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("host", "contoso.localhost"),
            ("sec-websocket-key", "key"),
            ("x-trace", "1"),
            ("x-trace", "2"),
            ("servicebusauthorization", "SharedAccessSignature"),
        ] {
            let name: http::HeaderName = name.parse().unwrap();
            headers.append(name, value.parse().unwrap());
        }
        assert_eq!(
            Value::Object(connect_headers(&headers)),
            json!({"Host": "contoso.localhost", "Sec-WebSocket-Key": "key", "X-Trace": "1, 2"})
        );
    }
}
