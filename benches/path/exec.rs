//! A command in a pod, over WebSocket as kubectl runs it.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use http::{HeaderValue, header};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::Result;
use crate::kubeconfig::Endpoint;

const PATH: &str = "/api/v1/namespaces/demo/pods/shell/exec\
    ?container=shell&command=echo&command=out&stdout=true&stderr=true";
const PROTOCOL: HeaderValue = HeaderValue::from_static("v5.channel.k8s.io");
/// The channel of a command's output.
const STDOUT: u8 = 1;

/// The time from the request to the first byte of the command's output. The local connection is
/// there already.
pub(crate) async fn first_output(endpoint: &Endpoint) -> Result<Duration> {
    let peer = &endpoint.peer;
    let stream = peer.secure(peer.dial().await?, "http/1.1").await?;
    let url = format!("wss://{}{}{PATH}", peer.address, endpoint.prefix);
    let mut request = url.into_client_request()?;
    let headers = request.headers_mut();
    headers.insert(header::AUTHORIZATION, endpoint.authorization.clone());
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, PROTOCOL);
    let started = Instant::now();
    let (mut messages, _) = tokio_tungstenite::client_async(request, stream).await?;
    while let Some(message) = messages.next().await {
        if let Message::Binary(data) = message?
            && data.first() == Some(&STDOUT)
            && data.len() > 1
        {
            return Ok(started.elapsed());
        }
    }
    Err("the command ended without output".into())
}
