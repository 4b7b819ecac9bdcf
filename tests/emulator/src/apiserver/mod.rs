//! A small apiserver in memory, enough for kubectl as people use it.
//!
//! A request walks through `handlers`: who calls (`auth`), what about (`request`), whether that
//! is allowed (`authz`), and then the handler of its verb. Objects are plain JSON in `store`;
//! which kinds there are is data (`resources`), and how they merge comes from the schemas of
//! Kubernetes itself (`schema`). `controllers` play the controller manager, the scheduler and the
//! kubelets; `runtime` plays the containers and `remote` the streams into them.

mod auth;
mod authz;
mod clock;
mod controllers;
mod convert;
mod defaults;
mod deletion;
mod discovery;
mod fleet;
mod handlers;
mod openapi;
mod patch;
mod protobuf;
pub mod remote;
mod request;
mod resources;
pub mod runtime;
mod schema;
mod seen;
mod selectors;
mod status;
mod store;
mod table;
mod validate;
mod value;
mod watch;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use seen::{ApiSeen, SeenRequest};

use crate::serve::{Connection, Handler, Http2, Service};
use crate::shape::Shaper;
use crate::tls::{Authority, loopback_names};
use auth::Tokens;
use authz::Authorizer;
use handlers::Uploads;
use runtime::Runtime;
use seen::Seen;
use store::{Key, Store};

/// How long the token of the demo's service account lives, in seconds.
const ACCOUNT_TOKEN_SECONDS: i64 = 365 * 24 * 3600;

/// As a real apiserver has it: frames and windows of 256 KiB, and room for every stream's window.
const HTTP2: Http2 = Http2 {
    stream_window: Some(256 << 10),
    connection_window: Some(250 * (256 << 10)),
    max_streams: Some(250),
    frame: Some(256 << 10),
};

/// How an apiserver is set up.
#[derive(Debug, Clone, Copy, Default)]
pub struct ApiServerConfig {
    /// What random names and UIDs of the demo fleet follow from.
    pub seed: u64,
    /// Where to listen; without it, any free port of 127.0.0.1.
    pub address: Option<SocketAddr>,
}

/// What every request needs.
#[derive(Debug)]
struct Server {
    store: Arc<Store>,
    runtime: Arc<Runtime>,
    tokens: Tokens,
    authorizer: Authorizer,
    seen: Seen,
    uploads: Uploads,
}

impl Server {
    /// A server with an empty store.
    fn new(seed: u64) -> io::Result<Self> {
        let store = Arc::new(Store::new(seed));
        Ok(Self {
            authorizer: Authorizer::new(store.clone()),
            store,
            runtime: Runtime::new(),
            tokens: Tokens::new()?,
            seen: Seen::default(),
            uploads: Uploads::default(),
        })
    }
}

/// A running apiserver with the demo fleet. Dropping it ends its tasks and connections.
#[derive(Debug)]
pub struct ApiServer {
    authority: Authority,
    service: Service,
    server: Arc<Server>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl ApiServer {
    /// Starts an apiserver; the demo fleet runs when this returns.
    pub async fn start(config: ApiServerConfig) -> io::Result<Self> {
        let authority = Authority::new("kubernetes").map_err(io::Error::other)?;
        let names = loopback_names();
        let names: Vec<&str> = names
            .iter()
            .map(String::as_str)
            .chain(["kubernetes", "kubernetes.default", "kubernetes.default.svc"])
            .collect();
        let tls = authority
            .server_config(&names, &["h2", "http/1.1"])
            .map_err(io::Error::other)?;
        let server = Arc::new(Server::new(config.seed)?);
        fleet::settle(&server);

        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let controllers = controllers::run(server.clone());
        let stopping = stop.clone();
        tasks.spawn(async move { stopping.run_until_cancelled(controllers).await });
        tasks.close();

        let address = config
            .address
            .unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let answering = server.clone();
        let new_handler = move |_: &Connection| {
            let server = answering.clone();
            move |request| handlers::answer(server.clone(), request)
        };
        let service =
            Service::start_each(address, tls, Shaper::default(), HTTP2, new_handler).await?;
        Ok(Self {
            authority,
            service,
            server,
            stop,
            tasks,
        })
    }

    /// Where the server listens.
    pub fn address(&self) -> SocketAddr {
        self.service.address()
    }

    /// The URL of the server.
    pub fn url(&self) -> String {
        format!("https://{}", self.address())
    }

    /// The server without a connection: for requests that upgrade nothing.
    pub fn handler(&self) -> Handler {
        let server = self.server.clone();
        Handler::new(move |request| handlers::answer(server.clone(), request))
    }

    /// The authority that signed the server's certificate.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// A token with which anyone can be impersonated and nothing else be done.
    pub fn impersonator_token(&self) -> String {
        self.server.tokens.impersonator().to_owned()
    }

    /// The token of a cluster administrator.
    pub fn admin_token(&self) -> String {
        self.server.tokens.admin().to_owned()
    }

    /// A token of the service account `deployer` in the namespace `demo`, which may edit there
    /// and view everywhere.
    pub fn service_account_token(&self) -> String {
        let account = self
            .server
            .store
            .get("serviceaccounts", &Key::new("demo", "deployer"))
            .unwrap_or_default();
        let now = self.server.store.now().as_second();
        self.server
            .tokens
            .issue(&account, &[], now, ACCOUNT_TOKEN_SECONDS)
    }

    /// A kubeconfig of the cluster administrator that leads straight to the server.
    pub fn admin_kubeconfig(&self) -> String {
        let authority = STANDARD.encode(self.authority.pem());
        format!(
            "apiVersion: v1\n\
             kind: Config\n\
             clusters:\n\
             - name: emulated\n\
             \x20 cluster:\n\
             \x20   server: {url}\n\
             \x20   certificate-authority-data: {authority}\n\
             users:\n\
             - name: admin\n\
             \x20 user:\n\
             \x20   token: {token}\n\
             contexts:\n\
             - name: emulated\n\
             \x20 context:\n\
             \x20   cluster: emulated\n\
             \x20   user: admin\n\
             current-context: emulated\n",
            url = self.url(),
            token = self.server.tokens.admin(),
        )
    }

    /// What the server has been asked so far.
    pub fn seen(&self) -> ApiSeen {
        self.server.seen.now()
    }

    /// Stops the server and waits for its connections and controllers to end.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.service.stop().await;
        self.tasks.wait().await;
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
