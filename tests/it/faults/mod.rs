//! Every way a connection can die. After each: what ran has ended in a true error or in full, no
//! write was done twice, what is new works soon after the cause has ended, and nothing is left
//! behind.

mod azure;
mod clock;
mod kubectl;
mod level;
pub(crate) mod local;
mod names;
mod sleep;
mod views;
mod writes;

use std::convert::Infallible;
use std::io::ErrorKind;
use std::time::Duration;

use arc_emulator::emulator::Emulator;
use arc_emulator::faults::FaultSet;
use arc_emulator::pattern::Pattern;
use arc_emulator::relay::Cut;
use arc_emulator::serve::Break;
use futures_util::future::join_all;
use futures_util::stream;
use http::{Method, StatusCode};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use self::local::{Local, Outcome, Version};
use crate::harness::{DEADLINE, Proxy, World};

/// What is downloaded while a connection dies: more than all windows on the way hold.
const LENGTH: usize = 48 << 20;
/// What is uploaded: more than is kept to be sent again.
const UPLOAD: u64 = 2 << 20;
const UPLOAD_CHUNK: usize = 32 << 10;
/// How long after a cause has ended the first request may take: a dial that was stuck in it, the
/// longest pause between two, and some for a machine that is busy.
const RECOVERY: Duration = Duration::from_secs(7);
/// How long a tunnel may be silent before all on it ends, and some for a machine that is busy.
const SILENCE: Duration = Duration::from_secs(17);
/// How many more files may be open afterwards: a tunnel for the next upgrade, and one more.
const SPARE: usize = 4;

/// A way to die.
struct Cause {
    /// What holds while it lasts; nothing where it is a matter of one moment.
    set: fn(&mut FaultSet),
    /// What strikes the connections that are open.
    strike: fn(&Emulator),
    /// How long it lasts.
    lasts: Duration,
    /// Whether it ends the bodies that are on their way.
    ends_bodies: bool,
}

const MOMENT: Cause = Cause {
    set: |_| {},
    strike: |_| {},
    lasts: Duration::ZERO,
    ends_bodies: true,
};
const WHILE: Cause = Cause {
    lasts: Duration::from_secs(1),
    ..MOMENT
};

/// What the process holds on to; nothing where this user may not look, which takes root since its
/// memory is closed to others.
fn open_files(proxy: &Proxy) -> usize {
    let files = format!("/proc/{}/fd", proxy.pid());
    match std::fs::read_dir(files) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => 0,
        files => files.unwrap().count(),
    }
}

fn threads(proxy: &Proxy) -> usize {
    let tasks = format!("/proc/{}/task", proxy.pid());
    std::fs::read_dir(tasks).unwrap().count()
}

/// Begins a download of that kind, reads some of it, and gives what reads the rest.
async fn download(local: &Local, version: Version, kind: &str) -> impl Future<Output = Outcome> {
    let path = format!("/arc-emulator/{kind}/{LENGTH}");
    let sending = local.send(version, Method::GET, &path, "");
    let mut response = sending.await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let mut length = 0;
    while length < 1 << 20 {
        let frame = response.body_mut().frame().await.unwrap().unwrap();
        length += frame.data_ref().unwrap().len();
    }
    async move {
        match local::read(response).await {
            Outcome::Whole(status, rest) => Outcome::Whole(status, length + rest),
            error @ Outcome::Error(_) => error,
        }
    }
}

/// Begins an upload without a length, of which the second half waits for `go`.
async fn upload(local: &Local, go: watch::Receiver<bool>) -> impl Future<Output = Outcome> {
    let (sent, mut half) = watch::channel(0);
    let chunks = stream::unfold(Pattern::new(UPLOAD), move |mut pattern| {
        let (sent, mut go) = (sent.clone(), go.clone());
        async move {
            let position = pattern.position();
            sent.send_replace(position);
            if position >= UPLOAD / 2 {
                go.wait_for(|go| *go).await.unwrap();
            }
            (position < UPLOAD).then(|| {
                let chunk = Frame::data(pattern.take(UPLOAD_CHUNK));
                (Ok::<_, Infallible>(chunk), pattern)
            })
        }
    });
    let (local, path) = (local.clone(), format!("/arc-emulator/verify/{UPLOAD}"));
    let sending = tokio::spawn(async move {
        let body = StreamBody::new(Box::pin(chunks));
        let sending = local.send_body(Version::Two, Method::POST, &path, body);
        match sending.await {
            Ok(response) => local::read(response).await,
            Err(error) => Outcome::Error(format!("{error:?}")),
        }
    });
    half.wait_for(|sent| *sent >= UPLOAD / 2).await.unwrap();
    async { sending.await.unwrap() }
}

/// How the uploads have ended at the apiserver.
async fn uploads(local: &Local) -> Value {
    let path = "/arc-emulator/verified";
    let response = local
        .send(Version::Two, Method::GET, path, "")
        .await
        .unwrap();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice(&body).unwrap()
}

/// Creates objects until `over` and until one has been created; gives how each ended.
async fn write(local: &Local, over: impl Fn() -> bool) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    while !over()
        || !matches!(
            outcomes.last(),
            Some(Outcome::Whole(StatusCode::CREATED, _))
        )
    {
        let name = format!("written-{}", outcomes.len());
        let map = json!({"metadata": {"name": name}}).to_string();
        let path = "/api/v1/namespaces/demo/configmaps";
        outcomes.push(local.ask(Method::POST, path, map).await);
        sleep(Duration::from_millis(20)).await;
    }
    outcomes
}

async fn survives(cause: Cause) {
    let world = World::new().await;
    let proxy = world.proxy(&[]).await;
    let local = Local::new(&world);
    assert!(local.works().await);
    let before = (open_files(&proxy), threads(&proxy));

    let watch = "/api/v1/namespaces/demo/configmaps?watch=true";
    let watching = local.send(Version::Two, Method::GET, watch, "");
    let watching = tokio::spawn(local::read(watching.await.unwrap()));
    // With a length and without one.
    let downloads = [
        download(&local, Version::One, "pattern").await,
        download(&local, Version::One, "stream").await,
        download(&local, Version::Two, "stream").await,
    ];
    let (go, gone) = watch::channel(false);
    let upload = upload(&local, gone).await;

    let began = Instant::now();
    world.emulator.faults().update(cause.set);
    (cause.strike)(&world.emulator);
    go.send_replace(true);
    let running = async { tokio::join!(join_all(downloads), upload) };
    let lasting = async {
        sleep(cause.lasts).await;
        world.emulator.faults().reset();
        let ended = Instant::now();
        while !local.works().await {
            assert!(ended.elapsed() < DEADLINE, "nothing new works");
        }
        ended.elapsed()
    };
    let writing = write(&local, || began.elapsed() > cause.lasts + RECOVERY / 2);
    let all = async { tokio::join!(running, lasting, writing) };
    let ((downloaded, uploaded), recovery, written) = timeout(DEADLINE, Box::pin(all))
        .await
        .expect("nothing hangs");
    assert!(recovery < RECOVERY, "{recovery:?} until a request works");

    match uploaded {
        Outcome::Whole(StatusCode::OK, _) => {}
        Outcome::Whole(status, _) if !status.is_server_error() => panic!("{status}"),
        told => assert!(cause.ends_bodies, "{told:?}"),
    }
    let seen = uploads(&local).await;
    assert!(seen["short"] == 0 && seen["wrong"] == 0, "{seen}");
    assert!(seen["whole"].as_u64() <= Some(1), "{seen}");
    for outcome in downloaded {
        match outcome {
            Outcome::Whole(..) => {
                assert_eq!(outcome, Outcome::Whole(StatusCode::OK, LENGTH), "truncated");
                assert!(!cause.ends_bodies, "it outlived its connection");
            }
            Outcome::Error(_) => assert!(cause.ends_bodies, "{outcome:?}"),
        }
    }
    for outcome in &written {
        // That one exists already would mean that it was sent twice.
        let is_conflict = matches!(outcome, Outcome::Whole(StatusCode::CONFLICT, _));
        assert!(!is_conflict, "{written:?}");
    }
    if cause.ends_bodies {
        let ended = timeout(SILENCE.saturating_sub(began.elapsed()), watching).await;
        let outcome = ended.expect("a watch ends with its tunnel").unwrap();
        assert!(matches!(outcome, Outcome::Error(_)), "{outcome:?}");
    } else {
        watching.abort();
    }

    let settled = async {
        while open_files(&proxy) > before.0 + SPARE || threads(&proxy) > before.1 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    let settled = timeout(DEADLINE, settled).await;
    let now = (open_files(&proxy), threads(&proxy));
    assert!(
        settled.is_ok(),
        "open files and threads: {before:?}, {now:?}"
    );
    proxy.signal("TERM");
    assert_eq!(proxy.ended().await.0, Some(0));
}

fn all_tunnels(cut: Cut) -> impl Fn(&Emulator) {
    move |emulator| emulator.relay().drop_tunnels(cut)
}

macro_rules! survives {
    ($($name:ident: $cause:expr;)*) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                survives($cause).await;
            }
        )*
    };
}

survives! {
    a_reset: Cause { strike: |at| all_tunnels(Cut::Reset)(at), ..MOMENT };
    a_cut_within_a_frame: Cause { strike: |at| all_tunnels(Cut::InFrame)(at), ..MOMENT };
    a_cut_within_a_tls_record: Cause { strike: |at| all_tunnels(Cut::InMessage)(at), ..MOMENT };
    a_cut_within_an_http2_frame: Cause {
        strike: |at| at.aad_proxy().break_connections(Break::InFrame),
        ..MOMENT
    };
    a_close_that_says_normal: Cause { strike: |at| all_tunnels(Cut::Close(1000))(at), ..MOMENT };
    a_close_that_says_away: Cause { strike: |at| all_tunnels(Cut::Close(1001))(at), ..MOMENT };
    a_close_that_says_policy: Cause { strike: |at| all_tunnels(Cut::Close(1008))(at), ..MOMENT };
    a_close_that_says_error: Cause { strike: |at| all_tunnels(Cut::Close(1011))(at), ..MOMENT };
    a_black_hole: Cause { strike: |at| all_tunnels(Cut::BlackHole)(at), ..MOMENT };
    a_black_hole_that_takes_dials: Cause {
        set: |faults| faults.black_hole_dials = true,
        strike: |at| all_tunnels(Cut::BlackHole)(at),
        ..WHILE
    };
    a_pause_of_everything: Cause {
        set: |faults| faults.stall_tunnels = true,
        ends_bodies: false,
        ..WHILE
    };
    a_farewell: Cause {
        strike: |at| at.aad_proxy().break_connections(Break::GoAway),
        ends_bodies: false,
        ..MOMENT
    };
    dials_that_are_refused: Cause {
        set: |faults| faults.refuse_dials = Some(503),
        strike: |at| all_tunnels(Cut::Reset)(at),
        ..WHILE
    };
    an_agent_that_restarts: Cause {
        strike: |at| tokio::task::block_in_place(|| {
            Handle::current().block_on(at.agent().restart()).unwrap();
        }),
        ..MOMENT
    };
    a_listener_that_is_not_found_for_a_while: Cause {
        set: |faults| faults.agent_away = true,
        strike: |at| all_tunnels(Cut::Reset)(at),
        ..WHILE
    };
    a_relay_that_restarts: Cause { set: |faults| faults.relay_away = true, ..WHILE };
}
