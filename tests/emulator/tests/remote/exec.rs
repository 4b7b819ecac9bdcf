//! kubectl exec, attach and logs.

use std::process::Stdio;

use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::front::{Front, LIMIT, TRANSPORTS, Transport, finish, pod};

#[tokio::test]
async fn exec_runs_commands_and_passes_their_exit_code_on() {
    let front = Front::start().await;
    for transport in TRANSPORTS {
        let line = [
            "exec",
            "web-0",
            "-c",
            "app",
            "--",
            "sh",
            "-c",
            "echo out; echo err 1>&2; exit 7",
        ];
        let finished = front.run(transport, &line, b"").await;
        assert_eq!(finished.text(), "out\n", "{finished:?}");
        assert_eq!(
            finished.stderr, "err\ncommand terminated with exit code 7\n",
            "{transport:?}"
        );
        assert_eq!(finished.code, 7, "{transport:?}");
    }
}

#[tokio::test]
async fn exec_takes_standard_input_to_its_end() {
    let front = Front::start().await;
    let input: Vec<u8> = (0..=255).cycle().take(3_000_000).collect();
    for transport in TRANSPORTS {
        let line = ["exec", "-i", "web-0", "-c", "app", "--", "cat"];
        let finished = front.run(transport, &line, &input).await;
        assert_eq!(finished.code, 0, "{transport:?}: {}", finished.stderr);
        assert!(finished.stdout == input, "{transport:?}");
        let line = ["exec", "-i", "web-0", "-c", "app", "--", "head", "-c", "3"];
        let finished = front.run(transport, &line, b"abcdef").await;
        assert_eq!(finished.text(), "abc", "{transport:?}: {finished:?}");
        assert_eq!(finished.code, 0);
    }
}

#[tokio::test]
async fn exec_carries_large_outputs_whole() {
    let front = Front::start().await;
    let bytes = "67108864";
    let sum = [
        "exec",
        "web-0",
        "-c",
        "app",
        "--",
        "sh",
        "-c",
        "head -c 67108864 /dev/urandom | sha256sum",
    ];
    let sum = front.run(Transport::WebSocket, &sum, b"").await;
    for transport in TRANSPORTS {
        let line = [
            "exec",
            "web-0",
            "-c",
            "app",
            "--",
            "head",
            "-c",
            bytes,
            "/dev/urandom",
        ];
        let finished = front.run(transport, &line, b"").await;
        assert_eq!(finished.code, 0, "{transport:?}: {}", finished.stderr);
        assert_eq!(finished.stdout.len().to_string(), bytes, "{transport:?}");
        let digest = Sha256::digest(&finished.stdout)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<Vec<_>>()
            .concat();
        assert_eq!(format!("{digest}  -\n"), sum.text(), "{transport:?}");
    }
}

#[tokio::test]
async fn exec_says_what_cannot_be_run() {
    let front = Front::start().await;
    for transport in TRANSPORTS {
        let finished = front
            .run(transport, &["exec", "web-0", "-c", "app", "--", "foo"], b"")
            .await;
        assert_eq!(finished.code, 1, "{finished:?}");
        assert!(
            finished
                .stderr
                .contains("exec: \"foo\": executable file not found in $PATH: unknown"),
            "{finished:?}"
        );
        let finished = front
            .run(transport, &["exec", "web-0", "-c", "nope", "--", "ls"], b"")
            .await;
        assert_eq!(finished.code, 1, "{finished:?}");
        assert!(
            finished
                .stderr
                .contains("container nope is not valid for pod web-0")
                || finished
                    .stderr
                    .contains("container nope not found in pod web-0"),
            "{finished:?}"
        );
    }
}

/// kubectl on a terminal of its own, which `script` makes.
struct OnTerminal {
    child: Child,
    shown: String,
}

impl OnTerminal {
    fn start(front: &Front, transport: Transport, line: &str) -> Self {
        let mut command = Command::new("script");
        front.configure(&mut command, transport);
        let child = command
            .args(["--quiet", "--return", "--command", line, "/dev/null"])
            .env("TERM", "xterm")
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            child,
            shown: String::new(),
        }
    }

    async fn type_in(&mut self, keys: &str) {
        let stdin = self.child.stdin.as_mut().unwrap();
        stdin.write_all(keys.as_bytes()).await.unwrap();
        stdin.flush().await.unwrap();
    }

    async fn wait_for(&mut self, text: &str) {
        let stdout = self.child.stdout.as_mut().unwrap();
        while !self.shown.contains(text) {
            let mut buffer = [0; 1024];
            let read = tokio::time::timeout(LIMIT, stdout.read(&mut buffer))
                .await
                .unwrap_or_else(|_| panic!("waiting for {text:?}, shown: {:?}", self.shown))
                .unwrap();
            assert_ne!(read, 0, "ended before {text:?}, shown: {:?}", self.shown);
            self.shown += &String::from_utf8_lossy(&buffer[..read]);
        }
        let end = self.shown.find(text).unwrap() + text.len();
        self.shown.drain(..end);
    }
}

#[tokio::test]
async fn exec_on_a_terminal_is_a_conversation() {
    let front = Front::start().await;
    for transport in TRANSPORTS {
        let line = "stty rows 31 columns 97; exec kubectl exec -it web-0 -c app -- sh";
        let mut terminal = OnTerminal::start(&front, transport, line);
        terminal.wait_for("/ # ").await;
        terminal.type_in("echo one\r").await;
        terminal.wait_for("echo one\r\none\r\n/ # ").await;
        // kubectl tells the size beside what is typed, not before it.
        let sized = "until [ \"$(stty size)\" = '31 97' ]; do sleep 0.01; done; echo sized\r";
        terminal.type_in(sized).await;
        terminal.wait_for("\r\nsized\r\n/ # ").await;
        terminal.type_in("sleep 1000\r").await;
        terminal.wait_for("sleep 1000\r\n").await;
        terminal.type_in("\x03").await;
        terminal.wait_for("/ # ").await;
        terminal.type_in("exit 5\r").await;
        let status = tokio::time::timeout(LIMIT, terminal.child.wait())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(status.code(), Some(5), "{transport:?}");
    }
}

#[tokio::test]
async fn attach_joins_the_main_process() {
    for transport in TRANSPORTS {
        let front = Front::start().await;
        let line = ["attach", "-i", "web-0", "-c", "shell"];
        let finished = front
            .run(transport, &line, b"echo attached to $HOSTNAME\nexit 0\n")
            .await;
        assert_eq!(finished.text(), "attached to web-0\n", "{finished:?}");
        assert_eq!(finished.code, 0, "{transport:?}");
    }
}

#[tokio::test]
async fn attach_shows_what_a_service_writes() {
    let front = Front::start().await;
    for transport in TRANSPORTS {
        let mut command = front.kubectl(transport);
        let mut child = command
            .args(["attach", "web-0", "-c", "app"])
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = tokio::time::timeout(LIMIT, lines.next_line())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        assert!(line.contains("GET /"), "{line}");
        child.kill().await.unwrap();
    }
}

#[tokio::test]
async fn a_pod_that_goes_away_takes_its_commands_with_it() {
    for transport in TRANSPORTS {
        let front = Front::start().await;
        let mut command = front.kubectl(transport);
        let mut child = command
            .args([
                "exec",
                "web-0",
                "-c",
                "app",
                "--",
                "sh",
                "-c",
                "echo up; sleep 1000",
            ])
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = tokio::time::timeout(LIMIT, lines.next_line())
            .await
            .unwrap();
        assert_eq!(line.unwrap().as_deref(), Some("up"));
        front.runtime.stop_pod(&pod().uid);
        let status = tokio::time::timeout(LIMIT, child.wait()).await.unwrap();
        assert_eq!(status.unwrap().code(), Some(137), "{transport:?}");
    }
}

#[tokio::test]
async fn logs_are_read_and_followed() {
    let front = Front::start().await;
    let line = ["logs", "web-0", "-c", "app", "--tail", "1", "--timestamps"];
    let finished = front.run(Transport::WebSocket, &line, b"").await;
    assert_eq!(finished.text().lines().count(), 1, "{finished:?}");

    let mut command = front.kubectl(Transport::WebSocket);
    let mut child = command
        .args(["logs", "-f", "web-0", "-c", "app", "--tail", "0"])
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..2 {
        let line = tokio::time::timeout(LIMIT, lines.next_line())
            .await
            .unwrap();
        assert!(line.unwrap().unwrap().contains("GET /"));
    }
    front.runtime.stop_pod(&pod().uid);
    let status = tokio::time::timeout(LIMIT, child.wait()).await.unwrap();
    assert_eq!(status.unwrap().code(), Some(0));
}

#[tokio::test]
async fn a_script_drives_a_shell_through_a_pipe() {
    let front = Front::start().await;
    let mut command = front.kubectl(Transport::WebSocket);
    command
        .args(["exec", "-i", "web-0", "-c", "app", "--", "sh"])
        .stdin(Stdio::piped());
    let finished = finish(command, b"cd /tmp\npwd\nexit 3\n").await;
    assert_eq!(finished.text(), "/tmp\n", "{finished:?}");
    assert_eq!(finished.code, 3);
}
