//! port-forward over WebSocket without SPDY: each port has a data channel and an error channel,
//! numbered by the first byte of every message. Clients other than kubectl speak this.
//!
//! Both channels of a port begin with its number, two bytes, low one first. All ports share the
//! socket: one that does not read holds up the others.

use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::{SinkExt as _, StreamExt as _};
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

use super::forward::Target;
use super::status::bad_request;
use super::upgrade::{Socket, subprotocol, websocket};
use crate::apiserver::runtime::{PodRef, Runtime};
use crate::http::Body;

const PROTOCOL: &str = "v4.channel.k8s.io";

/// Messages that wait in each direction.
const WAITING: usize = 16;

/// What is read from a port at once, bytes.
const BUFFER: usize = 32 * 1024;

/// Answers a port-forward request that wants numbered channels.
pub(super) fn serve(
    request: Request<Incoming>,
    pod: PodRef,
    runtime: &Arc<Runtime>,
) -> Response<Body> {
    let protocol = match subprotocol(&request, &[PROTOCOL]) {
        Ok(protocol) => protocol,
        Err(refusal) => return *refusal,
    };
    let Some(ports) = ports(request.uri().query().unwrap_or_default()) else {
        return bad_request("query parameter \"ports\" is required");
    };
    let target = Target::new(pod, runtime);
    websocket(request, protocol, move |socket| {
        session(socket, ports, target)
    })
}

/// The ports that a query names, all at once or one by one.
fn ports(query: &str) -> Option<Vec<u16>> {
    let named: Vec<u16> = url::form_urlencoded::parse(query.as_bytes())
        .filter(|(name, _)| name == "ports")
        .flat_map(|(_, value)| value.split(',').map(str::to_owned).collect::<Vec<_>>())
        .map(|port| port.parse().ok().filter(|port| *port > 0))
        .collect::<Option<_>>()?;
    // Two channels each, numbered in one byte.
    (!named.is_empty() && named.len() <= 127).then_some(named)
}

fn message(channel: usize, data: &[u8]) -> Message {
    let mut message = BytesMut::with_capacity(data.len() + 1);
    message.put_u8(u8::try_from(channel).expect("there are at most 254 channels"));
    message.put_slice(data);
    Message::Binary(message.freeze())
}

async fn session(socket: Socket, ports: Vec<u16>, target: Target) {
    let (mut output, mut input) = socket.split();
    let (sender, mut outgoing) = mpsc::channel::<Message>(WAITING);
    let mut uploads = Vec::new();
    let mut forwards = JoinSet::new();
    for (index, port) in ports.into_iter().enumerate() {
        let (upload, arriving) = mpsc::channel(WAITING);
        uploads.push(upload);
        forwards.spawn(forward(
            target.clone(),
            index,
            port,
            arriving,
            sender.clone(),
        ));
    }
    drop(sender);
    let receiving = async {
        while let Some(Ok(message)) = input.next().await {
            if message.is_close() {
                break;
            }
            let data = message.into_data();
            let Some((&channel, _)) = data.split_first() else {
                continue;
            };
            // Nothing is due on the error channels, which have the odd numbers.
            if channel % 2 == 0
                && let Some(upload) = uploads.get(usize::from(channel / 2))
            {
                // A port that has ended takes nothing more.
                let _ = upload.send(data.slice(1..)).await;
            }
        }
    };
    let sending = async {
        while let Some(message) = outgoing.recv().await {
            if output.send(message).await.is_err() {
                return;
            }
        }
        // A client that is gone needs no goodbye.
        let _ = output.send(Message::Close(None)).await;
    };
    tokio::select! {
        () = receiving => {}
        () = sending => {}
        () = target.stopped() => {}
    }
    forwards.shutdown().await;
}

async fn forward(
    target: Target,
    index: usize,
    port: u16,
    mut arriving: mpsc::Receiver<Bytes>,
    sender: mpsc::Sender<Message>,
) {
    let (data, error) = (2 * index, 2 * index + 1);
    for channel in [data, error] {
        if sender
            .send(message(channel, &port.to_le_bytes()))
            .await
            .is_err()
        {
            return;
        }
    }
    let stream = match target.connect(port) {
        Ok(stream) => stream,
        Err(words) => {
            // As above: whoever is gone is not told.
            let _ = sender.send(message(error, words.as_bytes())).await;
            return;
        }
    };
    let (mut reader, mut writer) = tokio::io::split(stream);
    let up = async {
        while let Some(bytes) = arriving.recv().await {
            if writer.write_all(&bytes).await.is_err() {
                break;
            }
        }
    };
    let down = async {
        let mut buffer = vec![0; BUFFER];
        while let Ok(count @ 1..) = reader.read(&mut buffer).await {
            if sender.send(message(data, &buffer[..count])).await.is_err() {
                return;
            }
        }
    };
    // The channels have no half-close: the port's end is the end.
    tokio::select! {
        () = down => {}
        () = async { up.await; std::future::pending().await } => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_come_together_or_one_by_one() {
        assert_eq!(ports("ports=80,443"), Some(vec![80, 443]));
        assert_eq!(ports("ports=80&ports=443"), Some(vec![80, 443]));
        for query in ["", "ports=", "ports=0", "ports=x", "ports=70000"] {
            assert_eq!(ports(query), None, "{query}");
        }
    }
}
