//! port-forward over WebSocket: the SPDY session's bytes in binary messages of any size.

use std::sync::Arc;

use bytes::BytesMut;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::forward::{self, Target};
use super::upgrade::{Socket, subprotocol, websocket};
use crate::apiserver::runtime::{PodRef, Runtime};
use crate::http::Body;

pub(super) const PROTOCOL: &str = "SPDY/3.1+portforward.k8s.io";

/// What waits in the tunnel in each direction, bytes.
const BUFFER: usize = 32 * 1024;

/// Answers a port-forward request that wants a WebSocket.
pub(super) fn serve(
    request: Request<Incoming>,
    pod: PodRef,
    runtime: &Arc<Runtime>,
) -> Response<Body> {
    let protocol = match subprotocol(&request, &[PROTOCOL]) {
        Ok(protocol) => protocol,
        Err(refusal) => return *refusal,
    };
    let target = Target::new(pod, runtime);
    websocket(request, protocol, move |socket| async move {
        let (near, far) = tokio::io::duplex(BUFFER);
        let ((), carried) = futures_util::join!(forward::session(near, target), carry(socket, far));
        if let Err(error) = carried {
            tracing::debug!(%error, "a client left its session");
        }
    })
}

/// Carries bytes between the socket and the session until both directions are done.
async fn carry(socket: Socket, session: DuplexStream) -> Result<(), Error> {
    let (mut output, mut input) = socket.split();
    let (mut reader, mut writer) = tokio::io::split(session);
    let up = async {
        while let Some(message) = input.next().await {
            match message? {
                Message::Binary(data) => writer.write_all(&data).await?,
                Message::Close(_) => break,
                _ => {}
            }
        }
        // The session learns that its client is gone.
        writer.shutdown().await?;
        Ok::<_, Error>(())
    };
    let down = async {
        let mut buffer = BytesMut::with_capacity(BUFFER);
        while reader.read_buf(&mut buffer).await? > 0 {
            output
                .send(Message::Binary(buffer.split().freeze()))
                .await?;
            buffer.reserve(BUFFER);
        }
        output.send(Message::Close(None)).await?;
        Ok::<_, Error>(())
    };
    // A direction that fails ends the other one too.
    futures_util::try_join!(up, down).map(|((), ())| ())
}
