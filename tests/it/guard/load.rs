//! Load on the local side: more connections, slower ones and larger headers than anybody needs.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use super::wire::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, Local, begin, field, frame, get,
    read_all, read_frame, read_head,
};
use crate::harness::{DEADLINE, Proxy, Ran, World};

const DEMO: [&str; 4] = ["-n", "edge-demo", "-g", "demo"];

/// Raises the limit on open files for this test and what it starts; gives how many connections
/// that allows here.
fn connections(wanted: usize) -> usize {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let all = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, all).unwrap();
    let files = maximum.and_then(|files| usize::try_from(files).ok());
    wanted.min(files.unwrap_or(usize::MAX) - 500)
}

/// CPU time so far, user and system, in ticks of 10 ms.
fn cpu(proxy: &Proxy) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", proxy.pid())).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let fields: Vec<_> = fields.split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// How many of its connections a listener holds. What it has open, only root may see.
fn connected(local: &Local) -> usize {
    let own = format!(":{:04X}", local.port);
    let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let is_held = |line: &&str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        // The last is the file, which one that was closed or not yet accepted has not.
        fields[1].ends_with(&own) && fields[9] != "0"
    };
    sockets.lines().skip(1).filter(is_held).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_idle_connections_leave_room_for_work() {
    let world = World::new().await;
    let count = connections(10_000);
    let proxy = world.proxy(&[]).await;
    let local = Local::of(&world);
    let before = proxy.resident();
    let mut idle = Vec::new();
    for number in 0..count {
        let opening = TcpStream::connect(("127.0.0.1", local.port));
        idle.push(timeout(DEADLINE, opening).await.expect("in time").unwrap());
        if number % 2_500 == 0 {
            assert!(local.serves().await, "with {number} idle connections");
        }
    }
    assert!(local.serves().await);
    let pods = Ran::of(&mut world.kubectl(&["get", "pods", "-n", "demo", "-o", "name"])).await;
    assert!(pods.ok().contains("pod/"));
    // The oldest had to go.
    let mut byte = [0];
    let ended = timeout(DEADLINE, idle[0].read(&mut byte))
        .await
        .expect("in time");
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    let held = proxy.resident().saturating_sub(before);
    assert!(held < 128, "{held} MiB for {count} connections");
    let open = connected(&local);
    assert!(open > 0 && open < 3_000, "{open} connections are held");
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_make_room_for_the_user() {
    let world = World::new().await;
    let mut command = world.command("sh");
    command
        .args([
            "-c",
            "ulimit -n 192 && exec \"$@\"",
            "sh",
            env!("CARGO_BIN_EXE_arcproxy"),
        ])
        .args(DEMO);
    let _proxy = Proxy::start(command).await;
    let local = Local::of(&world);
    // As many as may be without a token, in every way that one can be.
    let mut strangers = Vec::new();
    for number in 0..32 {
        let mut stream = local.tls(["h2", "http/1.1"][number % 2]).await;
        if number % 4 == 0 {
            begin(&mut stream).await.unwrap();
        }
        strangers.push(stream);
    }
    assert!(local.serves().await);
    let ended = timeout(DEADLINE, read_all(&mut strangers[0])).await;
    ended.expect("the first one had to go");
    let mut next = [0];
    let stays = timeout(Duration::from_millis(1), strangers[31].read(&mut next)).await;
    assert!(stays.is_err(), "the last one may stay");
}

/// Sends `request` on `stream`, whose answer has to be one with a length; gives its status.
async fn exchange(stream: &mut TlsStream<TcpStream>, request: &str) -> u16 {
    stream.write_all(request.as_bytes()).await.unwrap();
    let head = read_head(stream)
        .await
        .expect("an answer")
        .to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).await.unwrap();
    head.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn where_files_run_out_it_waits_and_serves_on() {
    let world = World::new().await;
    let limited = |limit: &str| {
        let mut command = world.command("sh");
        let script = format!("ulimit {limit} && exec \"$@\"");
        command
            .args(["-c", &script, "sh", env!("CARGO_BIN_EXE_arcproxy")])
            .args(DEMO);
        Proxy::start(command)
    };
    let proxy = limited("-n 192").await;
    let local = Local::of(&world);
    let version = local.request("GET /version", "");
    // The user's own may stay: they get half of the files that are left, of which an upgraded one
    // is one too.
    let exec = local.request(
        "GET /api/v1/namespaces/demo/pods/shell/exec?command=cat&stdin=1&stdout=1",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: v5.channel.k8s.io\r\n",
    );
    let mut upgraded = local.tls("http/1.1").await;
    assert_eq!(exchange(&mut upgraded, &exec).await, 101);
    let mut known = Vec::new();
    for _ in 0..63 {
        let mut stream = local.tls("http/1.1").await;
        assert_eq!(exchange(&mut stream, &version).await, 200);
        known.push(stream);
    }
    let (started, ticks) = (Instant::now(), cpu(&proxy));
    // One more is not served yet, which keeps no processor busy; those that are there are.
    let mut waiting = Box::pin(local.serves());
    let early = timeout(Duration::from_secs(2), &mut waiting).await;
    assert!(early.is_err(), "there was room");
    let busy = Duration::from_millis(10 * (cpu(&proxy) - ticks));
    assert!(
        busy < started.elapsed() / 4,
        "{busy:?} of {:?}",
        started.elapsed()
    );
    assert_eq!(exchange(&mut known[0], &version).await, 200);
    drop(upgraded);
    assert!(timeout(DEADLINE, waiting).await.expect("there is room"));
    drop(known);
    proxy.signal("TERM");
    let (_, stderr) = proxy.ended().await;
    let told = stderr.matches("no more local connections").count();
    assert_eq!(told, 1, "{stderr}");

    // Where the limit can be raised, it is.
    let _proxy = limited("-S -n 192").await;
    let local = Local::of(&world);
    let version = local.request("GET /version", "");
    let mut known = Vec::new();
    for _ in 0..connections(300) {
        let mut stream = local.tls("http/1.1").await;
        assert_eq!(exchange(&mut stream, &version).await, 200);
        known.push(stream);
    }
}

/// On HTTP/1.1 too, where a half of a head is all that comes.
#[tokio::test(flavor = "multi_thread")]
async fn headers_have_an_apiservers_limit_and_who_exceeds_it_is_told() {
    let world = World::new().await;
    let proxy = world.proxy(&[]).await;
    let local = Local::of(&world);
    let before = proxy.resident();
    // Some people are in many groups.
    let groups = |count: usize| {
        let mut headers = "Impersonate-User: ana\r\nConnection: close\r\n".to_owned();
        for group in 0..count {
            write!(headers, "Impersonate-Group: group-{group}\r\n").unwrap();
        }
        headers
    };
    let large = |bytes: usize| format!("Connection: close\r\nX-Large: {}\r\n", "x".repeat(bytes));
    for (headers, status) in [
        (groups(900), 200),
        (large(900 << 10), 200),
        (large((1 << 20) + 1), 431),
        (large(2_000 << 10), 431),
    ] {
        let answer = local.ask(local.request("GET /version", &headers)).await;
        assert_eq!(answer.status, status, "{} bytes", headers.len());
        if status == 431 {
            assert!(answer.body.contains("\"kind\":\"Status\""), "{answer:?}");
            assert!(answer.body.contains("headers take"), "{answer:?}");
        }
    }
    // Beyond what is read at all there is no more than the number.
    for headers in [large(8 << 20), groups(2_000)] {
        let text = local.say(local.request("GET /version", &headers)).await;
        assert!(
            text.is_empty() || text.starts_with("HTTP/1.1 431 "),
            "{text}"
        );
    }
    let held = proxy.resident().saturating_sub(before);
    assert!(held < 64, "{held} MiB are held");
    assert!(local.serves().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_over_http_2_have_the_same_limit() {
    let world = World::new().await;
    let proxy = world.proxy(&[]).await;
    let local = Local::of(&world);
    let path = format!("{}/version", local.path);
    // Some send 16 KiB at a time, whatever they may.
    for (bytes, piece, is_told) in [
        (900 << 10, 16 << 10, false),
        ((1 << 20) + 1, 16 << 10, true),
        (1_250 << 10, 16 << 10, true),
        (900 << 10, 32 << 10, false),
        (1_900 << 10, 32 << 10, true),
    ] {
        let mut fields = get(&local, &path, Some(&local.token));
        fields.extend(field("x-large", &"x".repeat(bytes)));
        let mut said = Vec::new();
        let chunks = fields.chunks(piece);
        let last = chunks.len() - 1;
        for (number, chunk) in chunks.enumerate() {
            let end = if number == last { END_HEADERS } else { 0 };
            let (kind, flags) = match number {
                0 => (HEADERS, END_STREAM | end),
                _ => (CONTINUATION, end),
            };
            said.extend(frame(kind, flags, 1, chunk));
        }
        let mut stream = local.tls("h2").await;
        begin(&mut stream).await.unwrap();
        stream.write_all(&said).await.unwrap();
        stream.flush().await.unwrap();
        let mut body = Vec::new();
        while let Some(heard) = read_frame(&mut stream).await {
            if heard.kind == DATA {
                body.extend(heard.payload);
            }
            if heard.stream == 1 && heard.flags & END_STREAM != 0 {
                break;
            }
        }
        let body = String::from_utf8(body).unwrap();
        assert_eq!(body.contains("headers take"), is_told, "{bytes}: {body}");
        assert_eq!(body.contains("gitVersion"), !is_told, "{bytes}: {body}");
    }
    // Beyond what is read at all the connection ends, long before it would for want of a token, and
    // nobody else's.
    let before = proxy.resident();
    let mut fields = get(&local, &path, Some(&local.token));
    fields.extend(field("x-large", &"x".repeat(8 << 20)));
    let mut said = Vec::new();
    for (number, chunk) in fields.chunks(32 << 10).enumerate() {
        let kind = if number == 0 { HEADERS } else { CONTINUATION };
        said.extend(frame(kind, 0, 1, chunk));
    }
    let mut stream = local.tls("h2").await;
    begin(&mut stream).await.unwrap();
    let ending = async {
        // It may end before all of it is taken.
        let _ = stream.write_all(&said).await;
        while read_frame(&mut stream).await.is_some() {}
    };
    timeout(Duration::from_secs(15), ending).await.unwrap();
    let held = proxy.resident().saturating_sub(before);
    assert!(held < 32, "{held} MiB are held");
    assert!(local.serves().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_slow_holds_up_nobody() {
    let world = World::new().await;
    let _proxy = world.proxy(&[]).await;
    let local = Local::of(&world);
    // Some never finish a handshake, a head or a body, some never read.
    let (mut hellos, mut slow) = (Vec::new(), Vec::new());
    let head = local.request("GET /version", "");
    let body = local.request("POST /api/v1/namespaces", "Content-Length: 1000000\r\n");
    let watch = local.request("GET /api/v1/pods?watch=1", "");
    for _ in 0..20 {
        let mut hello = local.tcp().await;
        hello.write_all(&[0x16, 3, 1, 2, 0, 1]).await.unwrap();
        hellos.push(hello);
        for words in [&head[..head.len() - 2], &body, &watch] {
            let mut stream = local.tls("http/1.1").await;
            stream.write_all(words.as_bytes()).await.unwrap();
            slow.push(stream);
        }
    }
    for _ in 0..10 {
        assert!(timeout(DEADLINE, local.serves()).await.expect("in time"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_of_a_hundred_thousand_keys_passes_whole() {
    let world = World::new().await;
    let proxy = world.proxy(&[]).await;
    let before = proxy.resident();
    let mut object = "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"large\"},\"data\":{"
        .to_owned();
    for key in 0..100_000 {
        let comma = if key == 0 { "" } else { "," };
        write!(object, "{comma}\"k{key}\":\"{}\"", key % 7).unwrap();
    }
    object.push_str("}}");
    let file = world.path("large.json");
    std::fs::write(&file, &object).unwrap();
    let file = file.to_str().unwrap();
    Ran::of(&mut world.kubectl(&["create", "-n", "demo", "-f", file]))
        .await
        .ok();
    let get = ["get", "configmap", "large", "-n", "demo", "-o", "json"];
    let got = Ran::of(&mut world.kubectl(&get)).await.ok();
    let direct = Ran::of(&mut world.direct(&get)).await.ok();
    assert!(got == direct && got.contains("\"k99999\""), "it differs");
    let held = proxy.resident().saturating_sub(before);
    assert!(held < 64, "{held} MiB are held");
}
