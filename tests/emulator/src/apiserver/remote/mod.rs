//! `exec`, `attach` and `port-forward`: a connection upgraded to streams.
//!
//! exec and attach speak the channel protocols over WebSocket and the stream protocols over
//! SPDY/3.1; port-forward speaks SPDY/3.1, plain or inside a WebSocket, and channels. Refusals before the
//! upgrade are those of an apiserver in front of a kubelet. A session ends with its client, with
//! what it serves, or with the pod.

mod channels;
mod forward;
mod options;
mod port_channels;
mod session;
mod spdy;
mod status;
mod streams;
mod tunnel;
mod upgrade;

use std::sync::Arc;

use http::{Request, Response, StatusCode, header};
use hyper::body::Incoming;

use super::runtime::{PodRef, Runtime};
use crate::http::Body;
use options::Options;
use session::Wanted;
use status::{bad_request, plain};

/// Which of a pod's subresources is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remote {
    /// Run a command in a container.
    Exec,
    /// Join a container's main process.
    Attach,
    /// Connect to ports of a pod.
    PortForward,
}

/// Answers a request for `kind` of `pod`. After an upgrade the session runs on by itself.
#[expect(
    clippy::unused_async,
    reason = "the apiserver awaits every one of its handlers"
)]
pub async fn serve(
    kind: Remote,
    pod: PodRef,
    request: Request<Incoming>,
    runtime: Arc<Runtime>,
) -> Response<Body> {
    let headers = request.headers();
    if !options::upgrades(headers) {
        return bad_request("Upgrade request required");
    }
    let websocket = options::has_token(headers, header::UPGRADE, "websocket");
    let Some(containers) = runtime.containers(&pod.uid) else {
        return plain(
            StatusCode::NOT_FOUND,
            format!("pod not found (\"{}_{}\")", pod.name, pod.namespace),
        );
    };
    if kind == Remote::PortForward {
        let tunnelled =
            options::has_token(headers, header::SEC_WEBSOCKET_PROTOCOL, tunnel::PROTOCOL);
        return if websocket && tunnelled {
            tunnel::serve(request, pod, &runtime)
        } else if websocket {
            port_channels::serve(request, pod, &runtime)
        } else {
            forward::serve(request, pod, &runtime)
        };
    }
    let options = Options::parse(request.uri().query().unwrap_or_default());
    let container = match choose(&options, &containers, &pod) {
        Ok(container) => container,
        Err(refusal) => return *refusal,
    };
    if !options.stdin && !options.stdout && !options.stderr {
        return plain(
            StatusCode::BAD_REQUEST,
            "you must specify at least 1 of stdin, stdout, stderr",
        );
    }
    let wanted = Wanted {
        kind,
        uid: pod.uid,
        container,
        options,
    };
    if websocket {
        channels::serve(request, wanted, &runtime)
    } else {
        streams::serve(request, wanted, &runtime)
    }
}

/// The container that is meant, as an apiserver chooses.
fn choose(
    options: &Options,
    containers: &[String],
    pod: &PodRef,
) -> Result<String, Box<Response<Body>>> {
    let refuse = |message: String| Err(Box::new(bad_request(message)));
    match (&options.container, containers) {
        (Some(name), _) if containers.contains(name) => Ok(name.clone()),
        (Some(name), _) => refuse(format!(
            "container {name} is not valid for pod {}",
            pod.name
        )),
        (None, [only]) => Ok(only.clone()),
        (None, _) => refuse(format!(
            "a container name must be specified for pod {}, choose one of: [{}]",
            pod.name,
            containers.join(" ")
        )),
    }
}
