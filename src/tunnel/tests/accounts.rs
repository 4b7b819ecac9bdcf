//! What the log says of requests.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tempfile::NamedTempFile;
use tokio::time::timeout;
use tracing_subscriber::filter::LevelFilter;

use super::{BOTH, get, world};

#[tokio::test(start_paused = true)]
async fn the_log_tells_how_each_request_ended_and_not_its_path() {
    let log = NamedTempFile::new().expect("a file");
    let writer = Arc::new(log.reopen().expect("the file"));
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::DEBUG)
        .with_ansi(false)
        .with_writer(writer)
        .finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let world = world(&BOTH, |_| {});
    let mut named = get("/a?secret");
    let id = http::HeaderValue::from_static("soak-7");
    named.headers_mut().insert("audit-id", id);
    world.pool.request(named).await.expect("an answer");
    let given_up = timeout(Duration::from_secs(1), world.get("/held?secret")).await;
    given_up.expect_err("it is held");
    world.far.lost.store(true, Ordering::Relaxed);
    world.far.cut.cancel();
    world.get("/held?secret").await.expect_err("no tunnel");
    let log = std::fs::read_to_string(log.path()).expect("the log");
    let lines: Vec<_> = log
        .lines()
        .filter(|line| line.contains("took_ms"))
        .collect();
    for (line, words) in lines.iter().zip([
        &[
            "is answered",
            "method=GET",
            "soak-7",
            "status=200",
            "moves=0",
        ][..],
        &["waits for its answer", "method=GET", "took_ms=1000"],
        &["has failed", "method=GET", "waited_ms=60"],
    ]) {
        for word in words {
            assert!(line.contains(word), "{word} in {line}");
        }
    }
    assert_eq!(lines.len(), 3, "{log}");
    assert!(!log.contains("secret"), "{log}");
}
