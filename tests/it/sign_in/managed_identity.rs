//! A managed identity, from services like those that Azure runs beside an app and in Cloud Shell.
//! A virtual machine's service has a fixed address that cannot be played.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use super::{DEMO, PODS, Variables, variables};
use crate::harness::{Ran, World};

/// What the service got: a request's head and its body.
type Asked = Arc<Mutex<Vec<(Parts, String)>>>;

/// A service on this machine.
struct Service {
    url: String,
    asked: Asked,
    _serving: AbortOnDropHandle<()>,
}

impl Service {
    /// Gives each answer in turn, and the last one for ever.
    async fn start(answers: Vec<(StatusCode, Value)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/token", listener.local_addr().unwrap());
        let (asked, answers) = (Asked::default(), Arc::new(answers));
        let noted = Arc::clone(&asked);
        let serving = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (answers, noted) = (Arc::clone(&answers), Arc::clone(&noted));
                let service = service_fn(move |request| {
                    answer(Arc::clone(&answers), Arc::clone(&noted), request)
                });
                let _ = http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            }
        });
        Self {
            url,
            asked,
            _serving: AbortOnDropHandle::new(serving),
        }
    }

    fn times(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    fn app(&self) -> Variables {
        variables([
            ("IDENTITY_ENDPOINT", &self.url),
            ("IDENTITY_HEADER", "the-identity-header"),
        ])
    }

    fn cloud_shell(&self) -> Variables {
        variables([("MSI_ENDPOINT", &self.url)])
    }
}

async fn answer(
    answers: Arc<Vec<(StatusCode, Value)>>,
    noted: Asked,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let body = String::from_utf8(body.to_vec()).unwrap();
    let mut noted = noted.lock().unwrap();
    let (status, answer) = &answers[noted.len().min(answers.len() - 1)];
    noted.push((head, body));
    let mut response = Response::new(Full::from(answer.to_string()));
    *response.status_mut() = *status;
    Ok(response)
}

impl World {
    /// A token for ARM as the identity's service gives it.
    fn identity_token(&self) -> (StatusCode, Value) {
        let entra = self.emulator.entra();
        let demo = entra.credentials(arc_emulator::entra::DemoApp::Demo);
        let end = self.emulator.faults().cloud_time() + 3600;
        let token = entra.keys().sign(&json!({
            "aud": "https://management.azure.com",
            "iss": entra.issuer(),
            "exp": end,
            "oid": demo.object_id,
            "appid": demo.client_id,
        }));
        let answer = json!({
            "access_token": token,
            "expires_on": end.to_string(),
            "resource": "https://management.azure.com",
            "token_type": "Bearer",
        });
        (StatusCode::OK, answer)
    }

    /// Runs arcproxy as the service account, with no other identity than a managed one.
    async fn as_service_account(&self, variables: &Variables, arguments: &[&str]) -> Ran {
        let mut command = self.signing_in(variables, arguments);
        command
            .env_remove("AZURE_CLIENT_ID")
            .env("PATH", path_without_az())
            .env("ARCPROXY_TOKEN", self.service_account_token());
        Ran::of(&mut command).await
    }
}

/// The PATH as far as no Azure tool is on it.
fn path_without_az() -> std::ffi::OsString {
    let path = std::env::var_os("PATH").unwrap();
    let folders = std::env::split_paths(&path);
    let without =
        folders.filter(|folder| !["az", "azd"].iter().any(|name| folder.join(name).exists()));
    std::env::join_paths(without).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_reaches_the_cluster_as_a_service_account() {
    let world = World::new().await;
    // It is not ready at once.
    let early = (StatusCode::TOO_MANY_REQUESTS, json!({}));
    let service = Service::start(vec![early, world.identity_token()]).await;
    let ran = world.as_service_account(&service.app(), &PODS).await;
    assert!(
        ran.stderr.contains("signing in method=managed-identity"),
        "{}",
        ran.stderr
    );
    assert!(ran.ok().contains("pod/shell"));
    let asked = service.asked.lock().unwrap();
    let (head, _) = asked.last().unwrap();
    assert_eq!(
        head.uri,
        "/token?api-version=2019-08-01&resource=https%3A%2F%2Fmanagement.core.windows.net%2F"
    );
    assert_eq!(head.headers["x-identity-header"], "the-identity-header");
    assert_eq!(asked.len(), 2);
    assert_eq!(world.emulator.entra().seen().token_requests, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_assigned_identity_is_asked_for() {
    let world = World::new().await;
    let service = Service::start(vec![world.identity_token()]).await;
    let arguments = [&["--auth", "managed-identity"], &DEMO[..], &["--", "true"]].concat();
    let mut command = world.signing_in(&service.app(), &arguments);
    command
        .env("AZURE_CLIENT_ID", "of-the-user")
        .env("ARCPROXY_TOKEN", world.service_account_token());
    let ran = Ran::of(&mut command).await;
    let who = "managed identity of-the-user";
    assert!(ran.stderr.contains(who), "{}", ran.stderr);
    ran.ok();
    let asked = service.asked.lock().unwrap();
    let query = asked[0].0.uri.query().unwrap();
    assert!(query.ends_with("&client_id=of-the-user"), "{query}");
}

#[tokio::test(flavor = "multi_thread")]
async fn cloud_shell_reaches_the_cluster_as_a_service_account() {
    let world = World::new().await;
    let service = Service::start(vec![world.identity_token()]).await;
    let ran = world
        .as_service_account(&service.cloud_shell(), &PODS)
        .await;
    assert!(ran.ok().contains("pod/shell"));
    let asked = service.asked.lock().unwrap();
    let (head, body) = &asked[0];
    assert_eq!((head.method.as_str(), head.uri.path()), ("POST", "/token"));
    assert_eq!(head.headers["metadata"], "true");
    assert_eq!(
        body,
        "resource=https%3A%2F%2Fmanagement.core.windows.net%2F"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cluster_itself_is_out_of_reach() {
    let world = World::new().await;
    let service = Service::start(vec![world.identity_token()]).await;
    for (variables, arguments) in [
        (service.app(), &["--auth", "managed-identity"][..]),
        (service.cloud_shell(), &["--auth", "managed-identity"]),
        (Variables::new(), &["--auth", "managed-identity"]),
    ] {
        let words = [
            "a managed identity cannot sign in to the cluster",
            "bound to a key",
            "is not a supported MSI token audience",
            "--auth workload-identity",
            "--token-file",
        ];
        world.is_refused(&variables, arguments, &words).await;
    }
    // Where nothing else is configured, too.
    let mut auto = world.signing_in(&service.app(), &DEMO);
    auto.env("PATH", path_without_az());
    let words = ["a managed identity cannot sign in to the cluster"];
    Ran::of(&mut auto).await.failed(3, &words);
    assert_eq!(service.times(), 0);
    assert_eq!(world.emulator.entra().seen().token_requests, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_told() {
    let world = World::new().await;
    let refused = json!({
        "error": "invalid_request",
        "error_description": "Identity not found",
    });
    let service = Service::start(vec![(StatusCode::BAD_REQUEST, refused)]).await;
    let refused = world.as_service_account(&service.app(), &DEMO).await;
    refused.failed(
        3,
        &["gave the managed identity no token", "Identity not found"],
    );

    let page = (StatusCode::OK, json!("a page"));
    let service = Service::start(vec![page]).await;
    let strange = world.as_service_account(&service.app(), &DEMO).await;
    strange.failed(3, &["answered something other than a token"]);

    let closed = variables([("MSI_ENDPOINT", "http://127.0.0.1:1/token")]);
    let away = world.as_service_account(&closed, &DEMO).await;
    away.failed(3, &["cannot reach 127.0.0.1:1 for the managed identity"]);

    for (pairs, words) in [
        (
            vec![("MSI_ENDPOINT", "https://localhost:1")],
            ["MSI_ENDPOINT is no http:// address", ""],
        ),
        (
            vec![("IDENTITY_ENDPOINT", "http://localhost:1")],
            ["IDENTITY_HEADER is not", ""],
        ),
        (
            vec![
                ("IDENTITY_ENDPOINT", "http://localhost:1"),
                ("IMDS_ENDPOINT", "http://localhost:1"),
            ],
            ["Arc-enabled servers", ""],
        ),
        (
            vec![("MSI_ENDPOINT", "http://localhost:1"), ("MSI_SECRET", "s")],
            ["MSI_SECRET", "not supported"],
        ),
    ] {
        let pairs = pairs.into_iter();
        let variables = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let arguments = [&["--auth", "managed-identity"], &DEMO[..]].concat();
        let ran = world
            .as_service_account(&variables.collect(), &arguments)
            .await;
        ran.failed(3, &words);
    }

    let mut another = world.signing_in(&service.cloud_shell(), &DEMO);
    another
        .env("AZURE_CLIENT_ID", "another")
        .env("PATH", path_without_az())
        .env("ARCPROXY_TOKEN", world.service_account_token());
    let ran = Ran::of(&mut another).await;
    ran.failed(
        3,
        &["Cloud Shell has one identity", "unset AZURE_CLIENT_ID"],
    );
}
