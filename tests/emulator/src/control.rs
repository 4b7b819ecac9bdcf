//! The control endpoint: changing faults, the dialect and the offered versions of HTTP, dropping
//! tunnels, and reading what was seen, from outside the process.
//!
//! Plain HTTP on a loopback port. Its path begins with a random token, which is all that keeps
//! other users of the machine out.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::arm::RELAY;
use crate::emulator::{DEMO_CLUSTER, LISTENER_TOKEN_SECONDS, Parts};
use crate::faults::FaultSet;
use crate::http::{Body, empty, json as answer_json};
use crate::names::random_hex;
use crate::relay::Cut;
use crate::request::read_body;
use crate::serve::Break;

/// Why nobody can set the seed of a running emulator.
const SEED_IS_FIXED: &str = "the seed holds from the start to the end: \
    the ids that were made from it are in use";

/// The running endpoint. Dropping it closes it.
#[derive(Debug)]
pub(crate) struct Control {
    url: String,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// The body of `POST /tunnels/drop`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DropTunnels {
    how: How,
    /// Only one of them.
    #[serde(default)]
    one: bool,
}

/// The body of `POST /aad-proxy/break`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BreakConnections {
    how: BreakHow,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum BreakHow {
    GoAway,
    InFrame,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum How {
    Reset,
    BlackHole,
    InFrame,
    InMessage,
    Close(u16),
}

impl Control {
    /// Starts the endpoint for `parts`.
    pub(crate) async fn start(parts: Arc<Parts>) -> io::Result<Self> {
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
        let token = random_hex::<16>();
        let url = format!("http://{}/{token}", listener.local_addr()?);
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let (stopping, connections) = (stop.clone(), tasks.clone());
        tasks.spawn(async move {
            loop {
                let accepted = tokio::select! {
                    () = stopping.cancelled() => break,
                    accepted = listener.accept() => accepted,
                };
                let Ok((tcp, _)) = accepted else { continue };
                let (stopping, parts, token) =
                    (stopping.clone(), Arc::clone(&parts), token.clone());
                connections.spawn(async move {
                    tokio::select! {
                        () = stopping.cancelled() => {}
                        () = serve(tcp, parts, token) => {}
                    }
                });
            }
        });
        tasks.close();
        Ok(Self { url, stop, tasks })
    }

    /// Its address, token included.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Stops it and waits for its connections to end.
    pub(crate) async fn stop(&self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn serve(tcp: TcpStream, parts: Arc<Parts>, token: String) {
    let service = service_fn(move |request| {
        let (parts, token) = (Arc::clone(&parts), token.clone());
        async move { Ok::<_, Infallible>(answer(&parts, &token, request).await) }
    });
    let served = http1::Builder::new().serve_connection(TokioIo::new(tcp), service);
    if let Err(error) = served.await {
        tracing::debug!(%error, "control connection ended");
    }
}

async fn answer(parts: &Parts, token: &str, request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let path = head
        .uri
        .path()
        .strip_prefix('/')
        .and_then(|path| path.strip_prefix(token));
    let Some(path) = path else {
        return refuse(StatusCode::NOT_FOUND, "there is nothing here");
    };
    let Some(body) = read_body(body).await else {
        return refuse(StatusCode::BAD_REQUEST, "the body is too long or broke off");
    };
    match (&head.method, path) {
        (&Method::GET, "/faults") => answer_json(StatusCode::OK, &parts.faults.now()),
        (&Method::PUT, "/faults") => faults(parts, &body, |_, whole| Value::Object(whole)),
        (&Method::PATCH, "/faults") => faults(parts, &body, |now, patch| {
            // A patch of null takes a field away, which is its default again.
            let mut patched = json!(now);
            json_patch::merge(&mut patched, &Value::Object(patch));
            patched
        }),
        (&Method::DELETE, "/faults") => answer_json(StatusCode::OK, &parts.faults.reset()),
        (&Method::POST, "/tunnels/drop") => match serde_json::from_slice::<DropTunnels>(&body) {
            Ok(drop) => {
                let cut = match drop.how {
                    How::Reset => Cut::Reset,
                    How::BlackHole => Cut::BlackHole,
                    How::InFrame => Cut::InFrame,
                    How::InMessage => Cut::InMessage,
                    How::Close(code) => Cut::Close(code),
                };
                if drop.one {
                    parts.relay.drop_tunnel(cut);
                } else {
                    parts.relay.drop_tunnels(cut);
                }
                done()
            }
            Err(error) => unreadable(&error),
        },
        (&Method::POST, "/aad-proxy/break") => {
            match serde_json::from_slice::<BreakConnections>(&body) {
                Ok(wanted) => {
                    let how = match wanted.how {
                        BreakHow::GoAway => Break::GoAway,
                        BreakHow::InFrame => Break::InFrame,
                    };
                    for site in parts.sites.values() {
                        site.aad_proxy.break_connections(how);
                    }
                    done()
                }
                Err(error) => unreadable(&error),
            }
        }
        (&Method::POST, "/agent/restart") => restart(parts).await,
        (&Method::GET, "/seed") => answer_json(StatusCode::OK, &json!({ "seed": parts.seed })),
        (_, "/seed") => refuse(StatusCode::METHOD_NOT_ALLOWED, SEED_IS_FIXED),
        (&Method::GET, "/seen") => answer_json(StatusCode::OK, &parts.seen()),
        (&Method::GET, "/listener") => listener(parts),
        (
            _,
            "/faults" | "/tunnels/drop" | "/aad-proxy/break" | "/agent/restart" | "/seen"
            | "/listener",
        ) => refuse(StatusCode::METHOD_NOT_ALLOWED, "not with this method"),
        _ => refuse(StatusCode::NOT_FOUND, "there is nothing here"),
    }
}

/// Puts in force what `combine` makes of the faults now and of `body`, a JSON object, if that can
/// be played.
fn faults(
    parts: &Parts,
    body: &[u8],
    combine: impl FnOnce(&FaultSet, Map<String, Value>) -> Value,
) -> Response<Body> {
    let body = match serde_json::from_slice(body) {
        Ok(body) => body,
        Err(error) => return unreadable(&error),
    };
    let changed = parts.faults.try_update(|now| {
        let set: FaultSet =
            serde_json::from_value(combine(now, body)).map_err(|error| error.to_string())?;
        set.check().map_err(|invalid| invalid.to_string())?;
        Ok(set)
    });
    match changed {
        Ok(set) => answer_json(StatusCode::OK, &set),
        Err::<_, String>(why) => refuse(StatusCode::BAD_REQUEST, &why),
    }
}

/// Answers a request whose body is of no use.
fn unreadable(error: &serde_json::Error) -> Response<Body> {
    refuse(StatusCode::BAD_REQUEST, &error.to_string())
}

async fn restart(parts: &Parts) -> Response<Body> {
    for (name, site) in &parts.sites {
        if let Err(error) = site.agent.restart().await {
            let what = format!("the agent of {name} did not come back: {error}");
            return refuse(StatusCode::INTERNAL_SERVER_ERROR, &what);
        }
    }
    done()
}

/// What somebody else's listener needs to take the place of the demo cluster's agent.
fn listener(parts: &Parts) -> Response<Body> {
    let cluster = parts.arm.clusters().iter().find(|c| c.name == DEMO_CLUSTER);
    let (Some(cluster), Some(site)) = (cluster, parts.sites.get(DEMO_CLUSTER)) else {
        return refuse(StatusCode::NOT_FOUND, "the demo cluster has no agent");
    };
    let path = &cluster.listener_path;
    let expires = parts.faults.cloud_time() + LISTENER_TOKEN_SECONDS;
    let value = json!({
        "url": format!("wss://{RELAY}.{}/$hc/{path}", parts.arm.relay_suffix()),
        "token": parts.relay.listener_token(RELAY, path, expires),
        "target": site.aad_proxy.address(),
    });
    answer_json(StatusCode::OK, &value)
}

fn done() -> Response<Body> {
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

fn refuse(status: StatusCode, message: &str) -> Response<Body> {
    answer_json(status, &json!({ "error": message }))
}
