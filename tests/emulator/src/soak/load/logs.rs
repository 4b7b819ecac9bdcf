//! `logs -f`: lines that count.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use http_body_util::BodyExt as _;

use super::super::board::Verdict;
use super::super::endpoint::whole;
use super::super::random::Random;
use super::alive::Alive;
use super::lines::Lines;
use super::request::{failed, judge_refusal, open};
use super::setup::POD;
use super::{Load, NAMESPACE, Shared};

/// Follows the log for a while.
pub(super) async fn follow(shared: Arc<Shared>, mut random: Random) {
    let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{POD}/log?follow=true&tailLines=5");
    let enough = random.time(1_000, 15_000);
    let alive = Alive::new();
    let verdict = tokio::select! {
        verdict = read(&shared, random.next(), &path, enough, &alive) => verdict,
        hung = alive.stalled(&shared.board, "line") => hung,
    };
    let words = || format!("GET {path}");
    shared
        .board
        .note(Load::Logs, words, alive.since(), &verdict);
}

async fn read(
    shared: &Shared,
    number: u64,
    path: &str,
    enough: Duration,
    alive: &Alive,
) -> Verdict {
    let line = shared.line(number);
    let request = shared.proxied.request(Method::GET, path, whole(""));
    let response = match open(&line, request, alive).await {
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
    let mut last: Option<u64> = None;
    let enough = tokio::time::sleep(enough);
    tokio::pin!(enough);
    loop {
        let line = tokio::select! {
            line = lines.next() => line,
            // The reader has seen what it wanted.
            () = &mut enough => return Verdict::Ok,
        };
        let line = match line {
            Ok(Some(line)) => line,
            // The pod runs on.
            Ok(None) => {
                return Verdict::Truncated("a log that goes on came to a clean end".to_owned());
            }
            Err(verdict) => return verdict,
        };
        alive.moved();
        let text = String::from_utf8_lossy(&line);
        let number = text.strip_prefix("line ").and_then(|n| n.parse().ok());
        let Some(number) = number else {
            return Verdict::Wrong(format!("{text:?} is no line of the log"));
        };
        if last.is_some_and(|last| number != last + 1) {
            return Verdict::Wrong(format!("line {number} follows line {last:?}"));
        }
        last = Some(number);
    }
}
