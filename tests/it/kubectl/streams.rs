//! Commands that turn their connection into a stream, in two equal clusters.

use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::timeout;

use super::{Mode, Reading, Session, terminal};
use crate::harness::{DEADLINE, World};

/// How kubectl streams: as it does by default, or as older ones do.
#[derive(Clone, Copy, Debug)]
enum Transport {
    WebSocket,
    Spdy,
}

impl Transport {
    fn set(self, mut kubectl: Command) -> Command {
        if let Self::Spdy = self {
            kubectl
                .env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "false")
                .env("KUBECTL_PORT_FORWARD_WEBSOCKETS", "false");
        }
        kubectl
    }
}

/// A session whose commands stream in one way.
struct Streams {
    session: Session,
    transport: Transport,
}

impl Streams {
    fn both(&self, arguments: &[&str]) -> [Command; 2] {
        self.session
            .both_of(arguments)
            .map(|kubectl| self.transport.set(kubectl))
    }

    fn worlds(&self) -> [&World; 2] {
        [&self.session.world, self.session.twin()]
    }

    /// Runs the command both ways, asserts that they end equally and well, and gives stdout.
    async fn same(&self, arguments: &[&str]) -> String {
        let what = arguments.join(" ");
        let ran = self.session.same_of(&what, self.both(arguments)).await;
        ran.ok()
    }
}

async fn streams(mode: Mode, transport: Transport) {
    let session = Session::twins(mode).await;
    let streams = Streams { session, transport };
    runs(&streams).await;
    carries(&streams).await;
    copies(&streams).await;
    forwards(&streams).await;
    attaches(&streams).await;
}

/// Output, errors and the exit code of a command, and of one that is not there.
async fn runs(streams: &Streams) {
    let exec = ["exec", "-n", "demo", "shell", "--"];
    let script = ["sh", "-c", "echo out; echo err >&2; exit 3"];
    for (command, code, said) in [
        (&script[..], 3, "exit code 3"),
        (&["no-such-command"], 1, "executable file not found"),
    ] {
        let both = streams.both(&[&exec[..], command].concat());
        let ran = streams.session.same_of("exec", both).await;
        assert_eq!(ran.code, Some(code));
        assert!(ran.stderr.contains(said), "{}", ran.stderr);
    }
    let keys = "echo to$((1))get$((2))her; exit 5\n";
    let [through, direct] = streams.both(&["exec", "-it", "-n", "demo", "shell", "--", "sh"]);
    let (through, direct) = tokio::join!(
        terminal::type_in(&through, keys),
        terminal::type_in(&direct, keys)
    );
    assert_eq!(through, direct);
    assert_eq!(through.0, Some(5), "{}", through.1);
    assert!(through.1.contains("to1get2her\r\n"), "{}", through.1);
}

/// A megabyte of every byte there is, up and down.
async fn carries(streams: &Streams) {
    let sent: Vec<u8> = (0..1_u32 << 20)
        .map(|i| (i % 251).to_le_bytes()[0])
        .collect();
    let cat = streams.both(&["exec", "-i", "-n", "demo", "shell", "--", "cat"]);
    let [through, direct] = cat.map(|kubectl| piped(kubectl, sent.clone()));
    let (through, direct) = tokio::join!(through, direct);
    assert_eq!((through.0, direct.0), (Some(0), Some(0)));
    assert!(
        through.1 == direct.1 && through.1 == sent,
        "{} and {} of {} bytes came back",
        through.1.len(),
        direct.1.len(),
        sent.len()
    );
}

/// Runs a command with `input`; gives its exit code and stdout.
async fn piped(mut kubectl: Command, input: Vec<u8>) -> (Option<i32>, Vec<u8>) {
    let mut child = kubectl
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writing = async move { stdin.write_all(&input).await.unwrap() };
    let ran = async { tokio::join!(writing, child.wait_with_output()).1.unwrap() };
    let output = timeout(DEADLINE, ran).await.expect("it ends");
    (output.status.code(), output.stdout)
}

/// A file and a folder, up and down.
async fn copies(streams: &Streams) {
    let bytes: Vec<u8> = (0..3_u32 << 20)
        .map(|i| i.wrapping_mul(31).to_le_bytes()[0])
        .collect();
    for world in streams.worlds() {
        std::fs::write(world.path("up.bin"), &bytes).unwrap();
        std::fs::create_dir_all(world.path("up/below")).unwrap();
        std::fs::write(world.path("up/one.txt"), "one\n").unwrap();
        std::fs::write(world.path("up/below/two.bin"), &bytes[..70_000]).unwrap();
    }
    streams
        .same(&["cp", "up.bin", "demo/shell:/tmp/copied.bin"])
        .await;
    streams.same(&["cp", "up", "demo/shell:/tmp/copied"]).await;
    let list =
        "cd /tmp; find copied | sort; sha256sum copied.bin copied/one.txt copied/below/two.bin";
    let listed = streams
        .same(&["exec", "-n", "demo", "shell", "--", "sh", "-c", list])
        .await;
    assert!(listed.contains("copied/below/two.bin\n"), "{listed}");
    // Of a path from the root tar would warn, and whether kubectl stays for that is a race of its
    // own: it ends with the archive.
    streams
        .same(&["cp", "demo/shell:tmp/copied.bin", "down.bin"])
        .await;
    streams.same(&["cp", "demo/shell:tmp/copied", "down"]).await;
    for world in streams.worlds() {
        assert_same_file(world, "up.bin", "down.bin");
        assert_same_file(world, "up/one.txt", "down/one.txt");
        assert_same_file(world, "up/below/two.bin", "down/below/two.bin");
    }
}

fn assert_same_file(world: &World, up: &str, down: &str) {
    let read = |path: &Path| std::fs::read(path).unwrap();
    let same = read(&world.path(up)) == read(&world.path(down));
    assert!(same, "{down} is not what {up} was");
}

/// Eight connections at a time, and the way in which kubectl ends.
async fn forwards(streams: &Streams) {
    // One address, or else kubectl may tell of a connection before it tells of the second address.
    let forward = [
        "port-forward",
        "--address=127.0.0.1",
        "-n",
        "demo",
        "deployment/web",
        ":80",
    ];
    let [through, direct] = streams.both(&forward).map(forwarded);
    let (through, direct) = tokio::join!(through, direct);
    assert_eq!(through, direct);
    let (code, lines, answers) = through;
    assert_eq!(code, Some(0));
    assert_eq!(lines.matches("Handling connection for PORT").count(), 8);
    for answer in answers {
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.contains("web"),
            "{answer}"
        );
    }
}

/// The exit code, the output, and what eight clients were answered.
async fn forwarded(kubectl: Command) -> (Option<i32>, String, Vec<String>) {
    let mut forward = Reading::start(kubectl);
    let line = forward.until("Forwarding from 127.0.0.1:").await;
    let mut words = line.split([':', ' ']);
    let port: u16 = words.find_map(|word| word.parse().ok()).unwrap();
    let request = async || {
        let mut tcp = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        tcp.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .await
            .unwrap();
        let mut text = String::new();
        tcp.read_to_string(&mut text).await.unwrap();
        // The two are asked at two times.
        text.split_inclusive("\r\n")
            .filter(|line| !line.starts_with("date: "))
            .collect::<String>()
    };
    let all = futures_util::future::join_all((0..8).map(|_| request()));
    let answers = timeout(DEADLINE, all).await.expect("answers");
    for _ in 0..8 {
        forward.until("Handling connection").await;
    }
    forward.interrupt();
    let (code, text) = forward.ended().await;
    (code, text.replace(&port.to_string(), "PORT"), answers)
}

/// The shell ends with its visitor, and another one waits for the next.
async fn attaches(streams: &Streams) {
    let keys = "echo att$((0))ached; exit 4\n";
    let [through, direct] = streams.both(&["attach", "-it", "-n", "demo", "shell"]);
    let (through, direct) = tokio::join!(
        terminal::type_in(&through, keys),
        terminal::type_in(&direct, keys)
    );
    assert_eq!(through, direct);
    assert!(through.1.contains("att0ached\r\n"), "{}", through.1);

    let ready = "wait pod/shell -n demo --for=condition=Ready --timeout=30s";
    streams.session.same(ready).await;
    let [through, direct] = streams.both(&["attach", "-i", "-n", "demo", "shell"]);
    let keys = "echo att$((0))ached\n";
    let (through, direct) = tokio::join!(
        terminal::type_and_leave(through, keys),
        terminal::type_and_leave(direct, keys)
    );
    assert_eq!(through, direct);
    assert!(through.1.contains("att0ached"), "{}", through.1);
    streams.session.same(ready).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_over_websocket_as_an_entra_identity() {
    streams(Mode::Aad, Transport::WebSocket).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_over_spdy_as_an_entra_identity() {
    streams(Mode::Aad, Transport::Spdy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_over_websocket_as_a_service_account() {
    streams(Mode::Token, Transport::WebSocket).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_over_spdy_as_a_service_account() {
    streams(Mode::Token, Transport::Spdy).await;
}
