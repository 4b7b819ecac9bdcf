//! Floods of HTTP/2 frames, from the far side and from the local side: memory stays bounded, and
//! others are served.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use super::far::{FarSide, Stream};
use super::wire::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, Local, PING, PREFACE,
    RST_STREAM, SETTINGS, WINDOW_UPDATE, begin, field, frame, get, read_all, read_frame,
};
use crate::harness::{DEADLINE, Proxy, Ran, World};

/// As much as a flood may say before it counts as survived: more than it may cost.
const FLOOD: usize = 96 << 20;
/// Codes of GOAWAY (RFC 9113, section 7): more was sent than may be,
const FLOW_CONTROL: u8 = 3;
/// and the other side does too much.
const CALM: u8 = 11;
/// In the place of such a code, where there was none.
const CLOSED: u8 = 255;
/// What need not end the connection.
const NONE: u8 = 0;
/// As much memory as it may cost, in MiB.
const MEMORY: u64 = 48;
/// How long a flood may go on that need not end the connection.
const PATIENCE: Duration = Duration::from_secs(1);

/// Says `bytes` again and again until they are [`FLOOD`], nobody takes more, or the other side
/// ends the connection. What the other side says is read as it comes; gives the code with which it
/// has ended the connection, 0 if it has not.
async fn flood<S>(stream: S, bytes: &[u8], patience: Duration) -> u8
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (mut reading, mut writing) = tokio::io::split(stream);
    let ended = Arc::new(AtomicU8::new(0));
    let end = ended.clone();
    let listening = tokio::spawn(async move {
        while let Some(frame) = read_frame(&mut reading).await {
            if frame.kind == GOAWAY && frame.payload[7] != 0 {
                end.store(frame.payload[7], Ordering::SeqCst);
                return;
            }
        }
        end.store(CLOSED, Ordering::SeqCst);
    });
    let saying = async {
        let mut said = 0;
        while said < FLOOD && writing.write_all(bytes).await.is_ok() {
            said += bytes.len();
        }
        let _ = listening.await;
    };
    let _ = timeout(patience, saying).await;
    ended.load(Ordering::SeqCst)
}

/// Does `what`; gives the most memory that `proxy` was seen to hold more than `before` meanwhile, in
/// MiB.
async fn watching<T>(proxy: &Proxy, before: u64, what: impl Future<Output = T>) -> (T, u64) {
    let mut what = std::pin::pin!(what);
    let mut looking = tokio::time::interval(Duration::from_millis(10));
    let mut most = 0;
    loop {
        tokio::select! {
            done = &mut what => return (done, most),
            _ = looking.tick() => most = most.max(proxy.resident().saturating_sub(before)),
        }
    }
}

/// Fields that are small on the wire and large once unpacked: the first puts one of 4,000 bytes into the
/// table, and each byte of what follows takes it from there (RFC 7541, sections 6.1 and 6.2.1).
fn bomb(stream: u32) -> (Vec<u8>, Vec<u8>) {
    const LITERAL_INDEXED: u8 = 0x40;
    const NEWEST: u8 = 0x80 + 62;
    let mut large = field("x", &"y".repeat(4_000));
    large[0] = LITERAL_INDEXED;
    (
        frame(CONTINUATION, 0, stream, &large),
        frame(CONTINUATION, 0, stream, &[NEWEST; 16_000]),
    )
}

/// Many times `frame`, each time of the next stream that a client may open.
fn of_streams(count: u32, frames: impl Fn(u32) -> Vec<u8>) -> Vec<u8> {
    (0..count)
        .flat_map(|number| frames(2 * number + 1))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_from_a_client_is_borne() {
    let world = World::new().await;
    let proxy = world.proxy(&[]).await;
    let local = Local::of(&world);
    let before = proxy.resident();
    let path = format!("{}/api", local.path);
    for token in [None, Some(local.token.as_str())] {
        let request = get(&local, &path, token);
        let opened = |stream: u32| frame(HEADERS, END_HEADERS | END_STREAM, stream, &request);
        let rapid_reset = of_streams(20_000, |stream| {
            [opened(stream), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
        });
        let never_ending = frame(HEADERS, END_STREAM, 1, &request);
        let more = frame(CONTINUATION, 0, 1, &field("x", &"y".repeat(15_000)));
        let nothing = frame(CONTINUATION, 0, 1, &[]);
        let (large, again_and_again) = bomb(1);
        let unpacks = [never_ending.clone(), large].concat();
        let settings = frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]);
        let pings = frame(PING, 0, 0, &[7; 8]);
        let window = frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]);
        let open = frame(HEADERS, END_HEADERS, 1, &request);
        let empty = frame(DATA, 0, 1, &[]);
        for (what, first, again, end) in [
            ("rapid reset", &[][..], &rapid_reset, CALM),
            ("continuation", &never_ending, &more.repeat(10), CALM),
            (
                "empty continuation",
                &never_ending,
                &nothing.repeat(1_000),
                CALM,
            ),
            ("a list that unpacks", &unpacks, &again_and_again, CALM),
            ("settings", &[], &settings.repeat(1_000), NONE),
            ("ping", &[], &pings.repeat(1_000), NONE),
            ("window updates", &[], &window.repeat(1_000), NONE),
            ("empty data", &open, &empty.repeat(1_000), NONE),
        ] {
            let mut stream = local.tls("h2").await;
            begin(&mut stream).await.unwrap();
            stream.write_all(first).await.unwrap();
            let patience = if end == NONE { PATIENCE } else { DEADLINE };
            let flooding = flood(stream, again, patience);
            let (ended, most) = watching(&proxy, before, flooding).await;
            assert!(ended == end || end == NONE, "{what}: ended with {ended}");
            assert!(local.serves().await, "{what}: nobody else is served");
            assert!(most < MEMORY, "{what}: {most} MiB are held");
        }
    }
    Ran::of(&mut world.kubectl(&["get", "pods", "-n", "demo"]))
        .await
        .ok();
}

/// Who sends and never reads cannot make the answers pile up.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_reads_is_not_answered_for_ever() {
    let world = World::new().await;
    let proxy = world.proxy(&[]).await;
    let local = Local::of(&world);
    let before = proxy.resident();
    let pings = frame(PING, 0, 0, &[7; 8]).repeat(1_000);
    let settings = frame(SETTINGS, 0, 0, &[]).repeat(1_000);
    let asking = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(1_000);
    for (alpn, bytes) in [
        ("h2", pings.as_slice()),
        ("h2", settings.as_slice()),
        ("http/1.1", asking.as_bytes()),
    ] {
        let mut stream = local.tls(alpn).await;
        if alpn == "h2" {
            begin(&mut stream).await.unwrap();
        }
        let mut said = 0;
        let saying = async {
            while said < FLOOD && stream.write_all(bytes).await.is_ok() {
                said += bytes.len();
            }
        };
        let stuck = timeout(PATIENCE, saying).await.is_err();
        assert!(stuck || said < FLOOD, "{said} bytes were taken in");
        assert!(local.serves().await);
        let held = proxy.resident().saturating_sub(before);
        assert!(held < MEMORY, "{held} MiB are held");
    }
}

/// Serves HTTP/2 by hand: answers the first request, and does to the next what `attack` says.
async fn lie(
    mut stream: Stream,
    is_probed: Arc<AtomicBool>,
    ended: Arc<AtomicU8>,
    attack: Attack,
    patience: Duration,
) {
    let mut preface = [0; PREFACE.len()];
    if tokio::io::AsyncReadExt::read_exact(&mut stream, &mut preface)
        .await
        .is_err()
    {
        return;
    }
    let settings = frame(SETTINGS, 0, 0, &[]);
    if stream.write_all(&settings).await.is_err() {
        return;
    }
    while let Some(heard) = read_frame(&mut stream).await {
        let said = match heard.kind {
            SETTINGS if heard.flags & ACK == 0 => frame(SETTINGS, ACK, 0, &[]),
            PING if heard.flags & ACK == 0 => frame(PING, ACK, 0, &heard.payload),
            HEADERS if is_probed.swap(true, Ordering::SeqCst) => {
                let (first, again) = attack(heard.stream);
                if stream.write_all(&first).await.is_ok() {
                    ended.store(flood(stream, &again, patience).await, Ordering::SeqCst);
                }
                return;
            }
            HEADERS => [
                frame(HEADERS, END_HEADERS, heard.stream, &[0x88]),
                frame(DATA, END_STREAM, heard.stream, b"{}"),
            ]
            .concat(),
            _ => continue,
        };
        if stream.write_all(&said).await.is_err() {
            return;
        }
    }
}

/// What is said once to the request of a stream, and what again and again.
type Attack = fn(u32) -> (Vec<u8>, Vec<u8>);

/// Each with the code that it is to be ended with.
const ATTACKS: [(&str, u8, Attack); 10] = [
    ("continuation", CALM, |stream| {
        let more = frame(CONTINUATION, 0, stream, &field("x", &"y".repeat(15_000)));
        (frame(HEADERS, 0, stream, &[0x88]), more.repeat(10))
    }),
    ("empty continuation", CALM, |stream| {
        let more = frame(CONTINUATION, 0, stream, &[]);
        (frame(HEADERS, 0, stream, &[0x88]), more.repeat(1_000))
    }),
    ("a list that unpacks", CALM, |stream| {
        let (large, again) = bomb(stream);
        let begun = frame(HEADERS, 0, stream, &[0x88]);
        ([begun, large].concat(), again)
    }),
    ("rapid reset", NONE, |stream| {
        let reset = frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]);
        (Vec::new(), reset.repeat(1_000))
    }),
    ("settings", NONE, |_| {
        (
            Vec::new(),
            frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]).repeat(1_000),
        )
    }),
    ("ping", NONE, |_| {
        (Vec::new(), frame(PING, 0, 0, &[7; 8]).repeat(1_000))
    }),
    ("window updates", NONE, |stream| {
        (
            Vec::new(),
            frame(WINDOW_UPDATE, 0, stream, &[0, 0, 0, 1]).repeat(1_000),
        )
    }),
    ("empty data", NONE, |stream| {
        let begun = frame(HEADERS, END_HEADERS, stream, &[0x88]);
        (begun, frame(DATA, 0, stream, &[]).repeat(1_000))
    }),
    ("early hints", NONE, |stream| {
        let hints = [field(":status", "103"), field("link", &"y".repeat(1_000))].concat();
        (
            Vec::new(),
            frame(HEADERS, END_HEADERS, stream, &hints).repeat(100),
        )
    }),
    ("more than the window", FLOW_CONTROL, |stream| {
        let begun = frame(HEADERS, END_HEADERS, stream, &[0x88]);
        (begun, frame(DATA, 0, stream, &[7; 16 << 10]).repeat(64))
    }),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_headers_from_the_far_side_is_borne() {
    bear(&ATTACKS[..3]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_from_the_far_side_is_borne() {
    bear(&ATTACKS[3..6]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_answers_from_the_far_side_is_borne() {
    bear(&ATTACKS[6..]).await;
}

async fn bear(attacks: &[(&str, u8, Attack)]) {
    for &(what, end, attack) in attacks {
        let world = World::new().await;
        let patience = if end == NONE { PATIENCE } else { DEADLINE };
        let is_probed = Arc::new(AtomicBool::new(false));
        let ended = Arc::new(AtomicU8::new(NONE));
        let noted = ended.clone();
        let _far = FarSide::start(&world, &["h2"], move |stream| {
            lie(stream, is_probed.clone(), noted.clone(), attack, patience)
        })
        .await;
        let proxy = world.proxy(&[]).await;
        let local = Local::of(&world);
        let before = proxy.resident();
        // Whoever asks does not read the answer.
        let mut asking = local.tls("http/1.1").await;
        let request = local.request("GET /api", "Connection: close\r\n");
        asking.write_all(request.as_bytes()).await.unwrap();
        let health = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let serving = async {
            let mut asked = 0;
            // For as long as the flood goes on, and others are served.
            while asked < 10 || end != NONE && ended.load(Ordering::SeqCst) == NONE {
                assert_eq!(local.ask(health).await.status, 200, "{what}");
                asked += 1;
            }
        };
        let serving = timeout(DEADLINE, serving);
        let (served, most) = watching(&proxy, before, serving).await;
        assert!(served.is_ok(), "{what}: the tunnel is not ended");
        assert!(most < MEMORY, "{what}: {most} MiB are held");
        // The connection may be gone before anybody has read why.
        let ended = ended.load(Ordering::SeqCst);
        let is_so = [end, CLOSED].contains(&ended);
        assert!(is_so || end == NONE, "{what}: ended with {ended}");
        drop(asking);
        // The honest far side is back: so is the cluster.
        world
            .emulator
            .agent()
            .lead_to(world.emulator.aad_proxy().address());
        world
            .emulator
            .relay()
            .drop_tunnels(arc_emulator::relay::Cut::Reset);
        let pods = Ran::of(&mut world.kubectl(&["get", "pods", "-n", "demo", "-o", "name"])).await;
        assert!(pods.ok().contains("pod/"), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_http_ends_the_connection() {
    let world = World::new().await;
    let _proxy = world.proxy(&[]).await;
    let local = Local::of(&world);
    for (alpn, said) in [
        ("h2", &b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..]),
        ("h2", &[0xff; 64]),
        ("http/1.1", PREFACE),
        ("http/1.1", &[0; 64]),
    ] {
        let mut stream = local.tls(alpn).await;
        stream.write_all(said).await.unwrap();
        read_all(&mut stream).await;
        assert!(local.serves().await);
    }
    // Nor does what is no TLS stay.
    let mut plain = local.tcp().await;
    plain
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    let answer = read_all(&mut plain).await;
    assert!(!answer.contains("ok"), "{answer}");
}
