//! A front that knows one pod, and a kubectl that is pointed at it.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use arc_emulator::apiserver::remote::{self, Remote};
use arc_emulator::apiserver::runtime::{ContainerSpec, LogOptions, PodRef, Runtime};
use arc_emulator::http::{Body, full, json};
use arc_emulator::serve::Service;
use arc_emulator::shape::Shaper;
use arc_emulator::tls::Authority;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// How long anything here may take.
pub(crate) const LIMIT: Duration = Duration::from_mins(1);

/// The running front with everything that kubectl needs.
pub(crate) struct Front {
    pub(crate) service: Service,
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) authority: Authority,
    pub(crate) home: TempDir,
}

/// What a finished kubectl has left.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
    pub(crate) code: i32,
}

impl Finished {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }
}

/// How kubectl reaches into pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    WebSocket,
    Spdy,
}

pub(crate) const TRANSPORTS: [Transport; 2] = [Transport::WebSocket, Transport::Spdy];

pub(crate) fn pod() -> PodRef {
    PodRef {
        namespace: "default".to_owned(),
        name: "web-0".to_owned(),
        uid: "2c5d2bd4-0c9b-4c0a-9d4e-2b1a3f0c7e11".to_owned(),
    }
}

impl Front {
    pub(crate) async fn start() -> Self {
        let runtime = Runtime::new();
        let app = ContainerSpec {
            name: "app".to_owned(),
            image: "nginx:1.27".to_owned(),
            ports: vec![8000],
            ..ContainerSpec::default()
        };
        let shell = ContainerSpec {
            name: "shell".to_owned(),
            image: "busybox".to_owned(),
            stdin: true,
            ..ContainerSpec::default()
        };
        runtime.start_pod(pod(), vec![app, shell]);
        let authority = Authority::new("front").unwrap();
        let tls = authority
            .server_config(&["localhost", "127.0.0.1"], &["http/1.1"])
            .unwrap();
        let answering = Arc::clone(&runtime);
        let service = Service::start(
            "127.0.0.1:0".parse().unwrap(),
            tls,
            Shaper::default(),
            move |request| answer(request, Arc::clone(&answering)),
        )
        .await
        .unwrap();
        let home = TempDir::new().unwrap();
        let front = Self {
            service,
            runtime,
            authority,
            home,
        };
        std::fs::write(front.home.path().join("config"), front.kubeconfig()).unwrap();
        front
    }

    fn kubeconfig(&self) -> String {
        use base64::Engine as _;
        let authority =
            base64::engine::general_purpose::STANDARD.encode(self.authority.pem().as_bytes());
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "front",
            "contexts": [{"name": "front", "context": {"cluster": "front", "user": "front"}}],
            "clusters": [{"name": "front", "cluster": {
                "server": format!("https://{}", self.service.address()),
                "certificate-authority-data": authority,
            }}],
            "users": [{"name": "front", "user": {"token": "token"}}],
        })
        .to_string()
    }

    /// A kubectl that has nothing but this front.
    pub(crate) fn kubectl(&self, transport: Transport) -> Command {
        let mut command = Command::new("kubectl");
        self.configure(&mut command, transport);
        command
    }

    /// Points a command, and what it starts, at this front.
    pub(crate) fn configure(&self, command: &mut Command, transport: Transport) {
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home.path())
            .env("KUBECONFIG", self.home.path().join("config"))
            .current_dir(self.home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if transport == Transport::Spdy {
            command
                .env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "false")
                .env("KUBECTL_PORT_FORWARD_WEBSOCKETS", "false");
        }
    }

    /// Runs kubectl to its end.
    pub(crate) async fn run(
        &self,
        transport: Transport,
        arguments: &[&str],
        stdin: &[u8],
    ) -> Finished {
        let mut command = self.kubectl(transport);
        command.args(arguments).stdin(Stdio::piped());
        finish(command, stdin).await
    }
}

/// Feeds a command and waits for its end.
pub(crate) async fn finish(mut command: Command, stdin: &[u8]) -> Finished {
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take();
    let feed = async {
        if let Some(mut input) = input.take() {
            // A command may end without having read everything.
            let _ = input.write_all(stdin).await;
        }
    };
    let ended = async { tokio::join!(feed, child.wait_with_output()).1 };
    let output = tokio::time::timeout(LIMIT, ended).await.unwrap().unwrap();
    Finished {
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        code: output.status.code().unwrap_or(-1),
    }
}

async fn answer(request: Request<Incoming>, runtime: Arc<Runtime>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let pod_path = "/api/v1/namespaces/default/pods/web-0";
    match path.strip_prefix(pod_path) {
        Some("") => return json(StatusCode::OK, &pod_object()),
        Some("/log") => return logs(&request, &runtime),
        Some("/exec") => return remote::serve(Remote::Exec, pod(), request, runtime).await,
        Some("/attach") => return remote::serve(Remote::Attach, pod(), request, runtime).await,
        Some("/portforward") => {
            return remote::serve(Remote::PortForward, pod(), request, runtime).await;
        }
        _ => {}
    }
    let value = match path.as_str() {
        "/version" => json!({"major": "1", "minor": "32", "gitVersion": "v1.32.4",
            "gitCommit": "", "gitTreeState": "clean", "buildDate": "2025-04-22T16:02:27Z",
            "goVersion": "go1.23.6", "compiler": "gc", "platform": "linux/amd64"}),
        "/api" => json!({"kind": "APIVersions", "versions": ["v1"]}),
        "/apis" => json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": []}),
        "/api/v1" => json!({"kind": "APIResourceList", "groupVersion": "v1", "resources": [
            {"name": "pods", "singularName": "pod", "namespaced": true, "kind": "Pod",
             "verbs": ["get", "list"], "shortNames": ["po"]},
            {"name": "pods/log", "singularName": "", "namespaced": true, "kind": "Pod",
             "verbs": ["get"]},
        ]}),
        _ => {
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
                "reason": "NotFound", "code": 404, "message": "not found"});
            return json(StatusCode::NOT_FOUND, &status);
        }
    };
    json(StatusCode::OK, &value)
}

fn pod_object() -> Value {
    let pod = pod();
    let status = |name: &str| {
        json!({"name": name, "ready": true, "started": true, "restartCount": 0, "image": "x",
            "imageID": "x", "state": {"running": {"startedAt": "2025-01-01T00:00:00Z"}}})
    };
    json!({
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
        "spec": {"containers": [
            {"name": "app", "image": "nginx:1.27", "ports": [{"containerPort": 8000}]},
            {"name": "shell", "image": "busybox", "stdin": true},
        ]},
        "status": {"phase": "Running", "containerStatuses": [status("app"), status("shell")]},
    })
}

fn logs(request: &Request<Incoming>, runtime: &Runtime) -> Response<Body> {
    let query = request.uri().query().unwrap_or_default();
    let mut options = LogOptions::default();
    let mut container = "app".to_owned();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "follow" => options.follow = value == "true",
            "timestamps" => options.timestamps = value == "true",
            "tailLines" => options.tail_lines = value.parse().ok(),
            "sinceSeconds" => options.since_seconds = value.parse().ok(),
            "limitBytes" => options.limit_bytes = value.parse().ok(),
            "container" => container = value.into_owned(),
            _ => {}
        }
    }
    let body = runtime.logs(&pod().uid, &container, options);
    Response::new(body.unwrap_or_else(|| full("no such log")))
}
