//! What the load says of a server that lies.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_emulator::http::{Body, BodyError};
use arc_emulator::pattern::Pattern;
use arc_emulator::serve::Service;
use arc_emulator::shape::Shaper;
use arc_emulator::tls::Authority;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{Response, StatusCode};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::super::board::{Board, Known};
use super::super::endpoint::{Endpoint, Line};
use super::super::random::Random;
use super::setup::Ticker;
use super::{Load, Shared, bodies, logs, small, watches, write};

/// How a lie goes on after its bytes.
#[derive(Debug, Clone, Copy)]
enum End {
    Clean,
    Broken,
    Never,
}

/// A load whose server answers everything in the same way, or as the path has it.
struct Stage {
    shared: Arc<Shared>,
    _server: Service,
}

impl Stage {
    /// The load gives up soon on a server that falls silent, and on no other.
    async fn new<A>(end: End, answer: A) -> Self
    where
        A: Fn(&str) -> (StatusCode, Vec<u8>, End) + Clone + Send + Sync + 'static,
    {
        let patience = match end {
            End::Never => Duration::from_secs(1),
            End::Clean | End::Broken => Duration::from_mins(1),
        };
        let authority = Authority::new("liar").unwrap();
        let tls = authority.server_config(&["127.0.0.1"], &["h2"]).unwrap();
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let server = Service::start(any, tls, Shaper::default(), move |request| {
            let (status, bytes, end) = answer(request.uri().path());
            async move {
                let mut response = Response::new(body(bytes, end));
                *response.status_mut() = status;
                response
            }
        });
        let server = server.await.unwrap();
        let home = tempfile::tempdir().unwrap();
        let kubeconfig = home.path().join("kubeconfig");
        let text = format!(
            "current-context: x\n\
             clusters: [{{name: x, cluster: {{server: 'https://{}', certificate-authority-data: {}}}}}]\n\
             contexts: [{{name: x, context: {{cluster: x, user: x}}}}]\n\
             users: [{{name: x, user: {{token: x}}}}]\n",
            server.address(),
            BASE64_STANDARD.encode(authority.pem())
        );
        std::fs::write(&kubeconfig, text).unwrap();
        let proxied = Arc::new(Endpoint::read(&kubeconfig).unwrap());
        let shared = Arc::new(Shared {
            board: Arc::new(Board::new(patience)),
            seed: 1,
            lines: vec![Arc::new(Line::new(proxied.clone()))],
            proxied,
            ledger: write::Ledger::default(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        Self {
            shared,
            _server: server,
        }
    }

    /// How the requests have ended: ok, failed, hung, truncated, wrong.
    fn ends(&self, load: Load) -> [u64; 5] {
        let known: Known = self.shared.board.known();
        let tally = known.loads.get(&load).copied().unwrap_or_default();
        [
            tally.ok,
            tally.failed,
            tally.hung,
            tally.truncated,
            tally.wrong,
        ]
    }
}

const OK: [u64; 5] = [1, 0, 0, 0, 0];
const FAILED: [u64; 5] = [0, 1, 0, 0, 0];
const HUNG: [u64; 5] = [0, 0, 1, 0, 0];
const TRUNCATED: [u64; 5] = [0, 0, 0, 1, 0];
const WRONG: [u64; 5] = [0, 0, 0, 0, 1];

fn body(bytes: Vec<u8>, end: End) -> Body {
    let first = stream::iter([Ok::<_, BodyError>(Frame::data(Bytes::from(bytes)))]);
    match end {
        End::Clean => StreamBody::new(first).boxed_unsync(),
        End::Broken => {
            let error = stream::iter([Err(BodyError::from("broken"))]);
            StreamBody::new(first.chain(error)).boxed_unsync()
        }
        End::Never => StreamBody::new(first.chain(stream::pending())).boxed_unsync(),
    }
}

#[tokio::test]
async fn a_small_answer_is_judged() {
    let object = small::object(3).to_string().into_bytes();
    let other = small::object(4).to_string().into_bytes();
    let half = object[..object.len() / 2].to_vec();
    let refusal = |code: u16| {
        json!({"kind": "Status", "code": code})
            .to_string()
            .into_bytes()
    };
    let (ok, gateway, gone) = (
        StatusCode::OK,
        StatusCode::BAD_GATEWAY,
        StatusCode::NOT_FOUND,
    );
    for (status, bytes, end, expected) in [
        (ok, object.clone(), End::Clean, OK),
        (ok, other, End::Clean, WRONG),
        (ok, half.clone(), End::Clean, TRUNCATED),
        (ok, half, End::Broken, FAILED),
        (ok, object, End::Never, HUNG),
        (gateway, refusal(502), End::Clean, FAILED),
        (gateway, b"<html>".to_vec(), End::Clean, WRONG),
        (gone, refusal(404), End::Clean, WRONG),
    ] {
        let told = format!("{status} {end:?} {}", String::from_utf8_lossy(&bytes));
        let stage = Stage::new(end, move |_| (status, bytes.clone(), end)).await;
        small::get(&stage.shared, 0, 3, Load::Get).await;
        assert_eq!(stage.ends(Load::Get), expected, "{told}");
    }
}

#[tokio::test]
async fn a_body_is_judged_by_every_byte() {
    type Lie = fn(Vec<u8>) -> Vec<u8>;
    let lies: [(Lie, End, [u64; 5]); 6] = [
        (|body| body, End::Clean, OK),
        (|body| body, End::Never, HUNG),
        (
            |mut body| {
                body.pop();
                body
            },
            End::Clean,
            TRUNCATED,
        ),
        (
            |mut body| {
                body.pop();
                body
            },
            End::Broken,
            FAILED,
        ),
        (
            |mut body| {
                body.remove(10);
                body
            },
            End::Clean,
            WRONG,
        ),
        (
            |mut body| {
                body.insert(10, body[9]);
                body
            },
            End::Clean,
            WRONG,
        ),
    ];
    for (number, (lie, end, expected)) in lies.into_iter().enumerate() {
        let stage = Stage::new(end, move |path| {
            let length = path.rsplit('/').next().unwrap().parse().unwrap();
            let whole = Pattern::new(length).take(usize::try_from(length).unwrap());
            (StatusCode::OK, lie(whole.to_vec()), end)
        });
        let stage = stage.await;
        bodies::download(stage.shared.clone(), Random::new(1, 1)).await;
        assert_eq!(stage.ends(Load::Download), expected, "{number}");
    }
}

#[tokio::test]
async fn an_upload_that_arrived_in_part_is_no_success() {
    let answer = |_: &str| (StatusCode::OK, br#"{"length": 5}"#.to_vec(), End::Clean);
    let stage = Stage::new(End::Clean, answer).await;
    bodies::upload(stage.shared.clone(), Random::new(1, 1)).await;
    assert_eq!(stage.ends(Load::Upload), TRUNCATED);
}

#[tokio::test]
async fn a_log_has_every_line_once_and_does_not_end() {
    for (lines, end, expected) in [
        ("line 7\nline 8\n", End::Broken, FAILED),
        ("line 7\nline 8\n", End::Clean, TRUNCATED),
        ("line 7\nline 8\n", End::Never, HUNG),
        ("line 7\nline", End::Clean, TRUNCATED),
        ("line 7\nline 9\n", End::Never, WRONG),
        ("line 7\nline 7\n", End::Never, WRONG),
    ] {
        let answer = move |_: &str| (StatusCode::OK, lines.as_bytes().to_vec(), end);
        let stage = Stage::new(end, answer).await;
        logs::follow(stage.shared.clone(), Random::new(1, 1)).await;
        assert_eq!(stage.ends(Load::Logs), expected, "{lines:?} {end:?}");
    }
}

#[tokio::test]
async fn a_watch_has_every_event_once_in_order_and_lasts() {
    let event = |version: u64, n: u64| -> Value {
        let metadata = json!({"resourceVersion": version.to_string()});
        json!({"type": "MODIFIED", "object": {"metadata": metadata, "data": {"n": n.to_string()}}})
    };
    for (events, end, expected) in [
        (vec![event(11, 1), event(12, 2)], End::Broken, FAILED),
        (vec![event(11, 1), event(12, 2)], End::Clean, TRUNCATED),
        (vec![event(11, 1)], End::Never, HUNG),
        (vec![event(11, 1), event(12, 1)], End::Never, WRONG),
        (vec![event(11, 1), event(13, 3)], End::Never, WRONG),
        (vec![event(11, 1), event(11, 2)], End::Never, WRONG),
        (vec![event(9, 1)], End::Never, WRONG),
    ] {
        let lines: Vec<_> = events.iter().map(|event| format!("{event}\n")).collect();
        let lines = lines.concat();
        let answer = {
            let lines = lines.clone();
            move |_: &str| (StatusCode::OK, lines.clone().into_bytes(), end)
        };
        let stage = Stage::new(end, answer).await;
        let ticker = Ticker {
            name: "ticker".to_owned(),
            version: 10,
        };
        watches::once(&stage.shared, &stage.shared.lines[0], &ticker).await;
        assert_eq!(stage.ends(Load::Watch), expected, "{lines:?} {end:?}");
    }
}
