//! Watches of objects that count: every state comes once, in order, over every loss.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::Value;

use super::super::board::Verdict;
use super::super::endpoint::{Line, whole};
use super::alive::Alive;
use super::lines::Lines;
use super::request::{failed, judge_refusal, open};
use super::setup::{Ticker, version};
use super::{Load, NAMESPACE, Shared};

/// What a watcher has seen last.
#[derive(Debug, Clone, Copy)]
struct Seen {
    version: u64,
    count: u64,
}

/// Watches `ticker` until the end, from where the last watch ended.
pub(super) fn keep(shared: &Arc<Shared>, number: u64, line: Arc<Line>, ticker: Ticker) {
    let mut random = shared.random(100_000 + number);
    let own = shared.clone();
    let watching = async move {
        let mut seen = Seen {
            version: ticker.version,
            count: 0,
        };
        loop {
            let seconds = random.between(2, 20);
            watch(&own, &line, &ticker.name, seconds, &mut seen).await;
            tokio::time::sleep(random.time(50, 1_500)).await;
        }
    };
    let stop = shared.stop.clone();
    shared
        .tasks
        .spawn(async move { Box::pin(stop.run_until_cancelled_owned(watching)).await });
}

/// Watches `ticker` once, for some seconds.
#[cfg(test)]
pub(super) async fn once(shared: &Shared, line: &Line, ticker: &Ticker) {
    let mut seen = Seen {
        version: ticker.version,
        count: 0,
    };
    watch(shared, line, &ticker.name, 5, &mut seen).await;
}

async fn watch(shared: &Shared, line: &Line, name: &str, seconds: u64, seen: &mut Seen) {
    let path = format!(
        "/api/v1/namespaces/{NAMESPACE}/configmaps?watch=1&fieldSelector=metadata.name%3D{name}\
         &allowWatchBookmarks=true&timeoutSeconds={seconds}&resourceVersion={}",
        seen.version
    );
    let alive = Alive::new();
    let verdict = tokio::select! {
        verdict = read(shared, line, &path, seconds, seen, &alive) => verdict,
        hung = alive.stalled(&shared.board, "event") => hung,
    };
    let words = || format!("GET {path}");
    shared
        .board
        .note(Load::Watch, words, alive.since(), &verdict);
}

async fn read(
    shared: &Shared,
    line: &Line,
    path: &str,
    seconds: u64,
    seen: &mut Seen,
    alive: &Alive,
) -> Verdict {
    let began = Instant::now();
    let request = shared.proxied.request(Method::GET, path, whole(""));
    let response = match open(line, request, alive).await {
        Ok(response) => response,
        Err(verdict) => return verdict,
    };
    let status = response.status();
    if status != StatusCode::OK {
        return match response.into_body().collect().await {
            Ok(body) => judge_refusal(status, &body.to_bytes()),
            Err(error) => failed(&error),
        };
    }
    let mut lines = Lines::new(response.into_body());
    loop {
        match lines.next().await {
            Ok(Some(line)) => {
                alive.moved();
                if let Err(verdict) = take(&line, seen) {
                    return verdict;
                }
            }
            // It was to last so long, and not shorter.
            Ok(None) if began.elapsed() + Duration::from_secs(1) < Duration::from_secs(seconds) => {
                let lasted = began.elapsed().as_secs_f64();
                let why = format!("a clean end after {lasted:.1} of {seconds} s");
                return Verdict::Truncated(why);
            }
            Ok(None) => return Verdict::Ok,
            Err(verdict) => return verdict,
        }
    }
}

/// Takes an event, which has to be the one that follows.
fn take(line: &[u8], seen: &mut Seen) -> Result<(), Verdict> {
    let wrong = |why: String| Err(Verdict::Wrong(why));
    let Ok(event) = serde_json::from_slice::<Value>(line) else {
        return wrong(format!("no event: {}", String::from_utf8_lossy(line)));
    };
    let object = &event["object"];
    let Some(version) = version(object) else {
        return wrong(format!("no event: {event}"));
    };
    if event["type"] == "BOOKMARK" {
        if version < seen.version {
            return wrong(format!("bookmark {version} after {}", seen.version));
        }
        seen.version = version;
        return Ok(());
    }
    let count = object["data"]["n"].as_str().and_then(|n| n.parse().ok());
    if event["type"] != "MODIFIED" || version <= seen.version || count != Some(seen.count + 1) {
        let (
            kind,
            Seen {
                version: last,
                count: before,
            },
        ) = (&event["type"], *seen);
        return wrong(format!(
            "{kind} {count:?} at {version} follows {before} at {last}"
        ));
    }
    seen.version = version;
    seen.count += 1;
    Ok(())
}
