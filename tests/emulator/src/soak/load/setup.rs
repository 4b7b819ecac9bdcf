//! What the load needs in the cluster, made straight at the apiserver; and the objects that change.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use super::super::Error;
use super::super::endpoint::Line;
use super::{NAMESPACE, Shared, direct, small};

/// How many objects change. Each has its own watchers.
const TICKERS: u64 = 10;
/// How often each changes.
const TICK: Duration = Duration::from_secs(2);
/// The pod that commands run in.
pub(super) const POD: &str = "worker";
/// How long the pod may take to run.
const START: Duration = Duration::from_secs(30);
/// What the pod does: its log counts.
const COUNT: &str = "i=0; while true; do echo line $i; i=$((i+1)); sleep 0.2; done";

/// An object that counts, and the version of its first state.
#[derive(Debug, Clone)]
pub(super) struct Ticker {
    pub(super) name: String,
    pub(super) version: u64,
}

/// Makes the namespace and what is in it.
pub(super) async fn prepare(line: &Line) -> Result<Vec<Ticker>, Error> {
    let json = "application/json";
    let namespace = json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE},
    });
    direct(
        line,
        Method::POST,
        "/api/v1/namespaces",
        Some((&namespace, json)),
    )
    .await?;
    let maps = format!("/api/v1/namespaces/{NAMESPACE}/configmaps");
    for number in 0..small::OBJECTS {
        let object = small::object(number);
        direct(line, Method::POST, &maps, Some((&object, json))).await?;
    }
    let pods = format!("/api/v1/namespaces/{NAMESPACE}/pods");
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": POD},
        "spec": {"containers": [
            {"name": "main", "image": "busybox:1.37", "command": ["sh", "-c", COUNT]},
        ]},
    });
    direct(line, Method::POST, &pods, Some((&pod, json))).await?;
    let path = format!("{pods}/{POD}");
    let running = async {
        loop {
            let pod = direct(line, Method::GET, &path, None).await?;
            if pod["status"]["phase"] == "Running" {
                return Ok::<_, Error>(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(START, running).await??;
    let mut tickers = Vec::new();
    for number in 0..TICKERS {
        let name = format!("ticker-{number}");
        let object = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "labels": {"soak": "ticker"}},
            "data": {"n": "0"},
        });
        let made = direct(line, Method::POST, &maps, Some((&object, json))).await?;
        let version = version(&made).ok_or("an object without a version")?;
        tickers.push(Ticker { name, version });
    }
    Ok(tickers)
}

/// The `resourceVersion` of an object.
pub(super) fn version(object: &Value) -> Option<u64> {
    object["metadata"]["resourceVersion"].as_str()?.parse().ok()
}

/// Lets the tickers count until the end.
pub(super) fn tick(shared: &Arc<Shared>, line: &Arc<Line>) {
    let line = line.clone();
    let ticking = async move {
        let mut pace = tokio::time::interval(TICK / u32::try_from(TICKERS).unwrap_or(1));
        for count in 0_u64.. {
            pace.tick().await;
            let (number, n) = (count % TICKERS, count / TICKERS + 1);
            let path = format!("/api/v1/namespaces/{NAMESPACE}/configmaps/ticker-{number}");
            let change = json!({"data": {"n": n.to_string()}});
            let body = Some((&change, "application/merge-patch+json"));
            if let Err(error) = direct(&line, Method::PATCH, &path, body).await {
                tracing::error!(%error, "a ticker stopped");
                return;
            }
        }
    };
    let stop = shared.stop.clone();
    shared
        .tasks
        .spawn(async move { Box::pin(stop.run_until_cancelled_owned(ticking)).await });
}
