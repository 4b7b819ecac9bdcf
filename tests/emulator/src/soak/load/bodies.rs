//! Large bodies, down and up, at full speed and slowly.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream;
use http::{Method, StatusCode};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;

use super::super::Error;
use super::super::board::Verdict;
use super::super::endpoint::{Body, Line};
use super::super::random::Random;
use super::alive::Alive;
use super::request::{failed, judge_refusal, open, send};
use super::small::expect_ok;
use super::{Load, Shared, direct};
use arc_emulator::pattern::Pattern;

const CHUNK: usize = 32 << 10;
/// What a slow reader or writer waits between two pieces.
const SLOWLY: Duration = Duration::from_millis(50);

pub(super) async fn download(shared: Arc<Shared>, mut random: Random) {
    let length = random.between(64 << 10, 8 << 20);
    down(&shared, &mut random, Load::Download, length, Duration::ZERO).await;
}

pub(super) async fn slow_download(shared: Arc<Shared>, mut random: Random) {
    let length = random.between(64 << 10, 2 << 20);
    down(&shared, &mut random, Load::SlowDownload, length, SLOWLY).await;
}

pub(super) async fn upload(shared: Arc<Shared>, mut random: Random) {
    let length = random.between(64 << 10, 4 << 20);
    up(&shared, &mut random, Load::Upload, length, Duration::ZERO).await;
}

pub(super) async fn slow_upload(shared: Arc<Shared>, mut random: Random) {
    let length = random.between(64 << 10, 1 << 20);
    up(&shared, &mut random, Load::SlowUpload, length, SLOWLY).await;
}

async fn down(shared: &Shared, random: &mut Random, load: Load, length: u64, pause: Duration) {
    // Without a length, nothing but the way in which the stream ends tells whether it is whole.
    let kind = if random.once_in(2) {
        "pattern"
    } else {
        "stream"
    };
    let path = format!("/arc-emulator/{kind}/{length}");
    let alive = Alive::new();
    let line = shared.line(random.next());
    let reading = async {
        let request = shared.proxied.request(Method::GET, &path, super::whole(""));
        let response = open(&line, request, &alive).await?;
        let status = response.status();
        let mut body = response.into_body();
        if status != StatusCode::OK {
            let body = body.collect().await.map_err(|error| failed(&error))?;
            return Err(judge_refusal(status, &body.to_bytes()));
        }
        let mut expected = Pattern::new(length);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| failed(&error))?;
            if let Some(data) = frame.data_ref()
                && let Err(at) = expected.check(data)
            {
                return Err(Verdict::Wrong(format!("byte {at} of {length} is another")));
            }
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            alive.moved();
        }
        arrived(expected.position(), length)
    };
    let verdict = tokio::select! {
        verdict = reading => verdict.err().unwrap_or(Verdict::Ok),
        hung = alive.stalled(&shared.board, "byte down") => hung,
    };
    let words = || format!("GET {path}");
    shared.board.note(load, words, alive.since(), &verdict);
}

async fn up(shared: &Shared, random: &mut Random, load: Load, length: u64, pause: Duration) {
    let path = format!("/arc-emulator/verify/{length}");
    let alive = Arc::new(Alive::new());
    let line = shared.line(random.next());
    let writing = async {
        let body = written(length, pause, alive.clone());
        let request = shared.proxied.request(Method::POST, &path, body);
        let answer = send(&line, request, &alive).await?;
        let read = expect_ok(&answer)?;
        arrived(read["length"].as_u64().unwrap_or_default(), length)
    };
    let verdict = tokio::select! {
        verdict = writing => verdict.err().unwrap_or(Verdict::Ok),
        hung = alive.stalled(&shared.board, "byte up") => hung,
    };
    let words = || format!("POST {path}");
    shared.board.note(load, words, alive.since(), &verdict);
}

fn arrived(position: u64, length: u64) -> Result<(), Verdict> {
    let why = format!("{position} of {length} bytes, and then a clean end");
    match position.cmp(&length) {
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Less => Err(Verdict::Truncated(why)),
        std::cmp::Ordering::Greater => Err(Verdict::Wrong(why)),
    }
}

fn written(length: u64, pause: Duration, alive: Arc<Alive>) -> Body {
    let chunks = stream::unfold(
        (Pattern::new(length), alive),
        move |(mut pattern, alive)| async move {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            alive.moved();
            let left = length - pattern.position();
            let next = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            let chunk = || Ok::<_, Error>(Frame::data(pattern.take(next)));
            (next > 0)
                .then(chunk)
                .map(|chunk| (chunk, (pattern, alive)))
        },
    );
    StreamBody::new(chunks).boxed_unsync()
}

/// What the apiserver says of the uploads that it took for whole.
pub(super) async fn audit(line: &Line) -> Result<Vec<String>, Error> {
    let told = direct(line, Method::GET, "/arc-emulator/verified", None).await?;
    let mut wrong = Vec::new();
    for kind in ["short", "wrong"] {
        if told[kind] != 0 {
            let count = &told[kind];
            wrong.push(format!("{count} uploads arrived {kind}, with a clean end"));
        }
    }
    Ok(wrong)
}
