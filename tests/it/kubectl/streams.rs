//! Commands that turn their connection into a stream.

use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::timeout;

use super::{Mode, Reading, Session};
use crate::harness::{DEADLINE, Ran, World};

/// kubectl's streams: over WebSocket as it does by default, or over SPDY as older ones do.
async fn streams(mode: Mode, websocket: bool) {
    let session = Session::open(mode).await;
    let kubectl = |arguments: &[&str]| {
        let mut command = session.world.kubectl(arguments);
        if !websocket {
            command
                .env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "false")
                .env("KUBECTL_PORT_FORWARD_WEBSOCKETS", "false");
        }
        command
    };
    let exec = ["exec", "-n", "demo", "shell", "--"];
    let said = Ran::of(&mut kubectl(
        &[&exec[..], &["sh", "-c", "echo out; echo err >&2; exit 3"]].concat(),
    ))
    .await;
    assert_eq!((said.code, said.stdout.as_str()), (Some(3), "out\n"));
    assert!(
        said.stderr.contains("err\n") && said.stderr.contains("exit code 3"),
        "{}",
        said.stderr
    );

    let mut cat = kubectl(&["exec", "-i", "-n", "demo", "shell", "--", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let sent: Vec<u8> = (0..1_u32 << 20)
        .map(|i| u8::try_from(i % 251).unwrap())
        .collect();
    let (mut input, mut output) = (cat.stdin.take().unwrap(), cat.stdout.take().unwrap());
    let mut received = Vec::new();
    let echoed = async {
        let writing = async {
            input.write_all(&sent).await.unwrap();
            drop(input);
        };
        tokio::join!(writing, output.read_to_end(&mut received))
            .1
            .unwrap();
    };
    timeout(DEADLINE, echoed)
        .await
        .expect("a megabyte comes back");
    assert!(
        received == sent,
        "{} of {} bytes came back as they were",
        received.len(),
        sent.len()
    );

    interactive(&mut kubectl(&[
        "exec", "-it", "-n", "demo", "shell", "--", "sh",
    ]))
    .await;
    copies(&session.world, &kubectl).await;
    forwards(&kubectl).await;
    // The shell ends with its visitor, and another one waits for the next.
    for _ in 0..2 {
        attaches(&mut kubectl(&["attach", "-i", "-n", "demo", "shell"])).await;
        let ready = [
            "wait",
            "pod/shell",
            "-n",
            "demo",
            "--for=condition=Ready",
            "--timeout=30s",
        ];
        Ran::of(&mut kubectl(&ready)).await.ok();
    }
}

/// A terminal: `script` gives kubectl one.
async fn interactive(kubectl: &mut Command) {
    let line: Vec<_> = std::iter::once(kubectl.as_std().get_program())
        .chain(kubectl.as_std().get_args())
        .map(|word| word.to_str().unwrap().to_owned())
        .collect();
    let mut script = Command::new("script");
    script
        .args(["-qec", &line.join(" "), "/dev/null"])
        .env_clear();
    for (name, value) in kubectl.as_std().get_envs() {
        script.env(name, value.unwrap());
    }
    let mut child = script
        .current_dir(kubectl.as_std().get_current_dir().unwrap())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut screen = String::new();
    let talk = async {
        let mut buffer = [0; 4096];
        let mut told = false;
        loop {
            let read = output.read(&mut buffer).await.unwrap();
            if read == 0 {
                return;
            }
            screen.push_str(&String::from_utf8_lossy(&buffer[..read]));
            // Once there is a prompt.
            if !told && (screen.contains("# ") || screen.contains("$ ")) {
                told = true;
                input
                    .write_all(b"echo to$((1))get$((2))her; exit 5\n")
                    .await
                    .unwrap();
            }
        }
    };
    timeout(DEADLINE, talk)
        .await
        .unwrap_or_else(|_| panic!("the terminal ends"));
    let code = child.wait().await.unwrap().code();
    assert_eq!(code, Some(5), "{screen}");
}

async fn copies(world: &World, kubectl: &impl Fn(&[&str]) -> Command) {
    let (up, down) = (world.path("up.bin"), world.path("down.bin"));
    let bytes: Vec<u8> = (0..3_u32 << 20)
        .map(|i| u8::try_from(i.wrapping_mul(31) % 256).unwrap())
        .collect();
    std::fs::write(&up, &bytes).unwrap();
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    Ran::of(&mut kubectl(&[
        "cp",
        &text(&up),
        "demo/shell:/tmp/copied.bin",
    ]))
    .await
    .ok();
    Ran::of(&mut kubectl(&[
        "cp",
        "demo/shell:/tmp/copied.bin",
        &text(&down),
    ]))
    .await
    .ok();
    assert!(
        std::fs::read(&down).unwrap() == bytes,
        "the file came back changed"
    );
}

async fn forwards(kubectl: &impl Fn(&[&str]) -> Command) {
    let mut forward = Reading::start(&mut kubectl(&[
        "port-forward",
        "-n",
        "demo",
        "deployment/web",
        ":80",
    ]));
    let line = forward.until("Forwarding from 127.0.0.1:").await;
    let port: u16 = line
        .split([':', ' '])
        .find_map(|word| word.parse().ok())
        .unwrap();
    let request = async || {
        let mut tcp = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        tcp.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .await
            .unwrap();
        let mut text = String::new();
        tcp.read_to_string(&mut text).await.unwrap();
        text
    };
    let all = futures_util::future::join_all((0..8).map(|_| request()));
    for answer in timeout(DEADLINE, all).await.expect("answers") {
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.contains("web"),
            "{answer}"
        );
    }
}

async fn attaches(kubectl: &mut Command) {
    let mut child = kubectl
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    input.write_all(b"echo att$((0))ached\n").await.unwrap();
    let reading = async {
        loop {
            let line = lines.next_line().await.unwrap().expect("it goes on");
            if line.contains("att0ached") || line.contains("att$((0))ached") {
                return;
            }
        }
    };
    timeout(DEADLINE, reading).await.expect("the shell answers");
    drop(input);
    let ended = timeout(DEADLINE, child.wait()).await;
    ended.expect("it ends with its input").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_over_websocket() {
    streams(Mode::Aad, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_over_spdy() {
    streams(Mode::Aad, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_as_a_service_account() {
    streams(Mode::Token, true).await;
    streams(Mode::Token, false).await;
}
