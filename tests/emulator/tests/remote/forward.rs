//! kubectl port-forward.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout};

use crate::front::{Front, LIMIT, TRANSPORTS, Transport, pod};

/// A kubectl that forwards one port.
struct Forward {
    child: Child,
    _lines: Lines<BufReader<ChildStdout>>,
    local: u16,
}

impl Forward {
    async fn start(front: &Front, transport: Transport, port: u16) -> Self {
        let mut child = front
            .kubectl(transport)
            .args(["port-forward", "pod/web-0", &format!(":{port}")])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = tokio::time::timeout(LIMIT, lines.next_line())
            .await
            .unwrap()
            .unwrap();
        let Some(line) = line else {
            let mut stderr = String::new();
            let mut pipe = child.stderr.take().unwrap();
            pipe.read_to_string(&mut stderr).await.unwrap();
            panic!("kubectl ended: {stderr}");
        };
        let local = line
            .strip_prefix("Forwarding from 127.0.0.1:")
            .and_then(|rest| rest.split(' ').next())
            .unwrap_or_else(|| panic!("an unexpected line: {line}"))
            .parse()
            .unwrap();
        Self {
            child,
            _lines: lines,
            local,
        }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.local)).await.unwrap()
    }

    /// Sends a request on a connection of its own and returns the whole answer.
    async fn get(&self, path: &str) -> Vec<u8> {
        let mut stream = self.connect().await;
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        tokio::time::timeout(LIMIT, stream.read_to_end(&mut answer))
            .await
            .unwrap()
            .unwrap();
        answer
    }
}

#[tokio::test]
async fn a_forwarded_port_answers_requests() {
    let front = Front::start().await;
    for transport in TRANSPORTS {
        let forward = Forward::start(&front, transport, 8000).await;
        let answer = String::from_utf8(forward.get("/").await).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(
            answer.ends_with("\r\n\r\nHello from web-0 in default\n"),
            "{answer}"
        );
        let answer = forward.get("/bytes/20000000").await;
        let body = answer
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .unwrap()
            + 4;
        assert_eq!(answer.len() - body, 20_000_000, "{transport:?}");
        assert!(
            answer[body..]
                .iter()
                .zip((0..=255_u8).cycle())
                .all(|(byte, wanted)| *byte == wanted)
        );
    }
}

#[tokio::test]
async fn a_forwarded_connection_closes_each_way_by_itself() {
    let front = Front::start().await;
    let bytes: Vec<u8> = (0..=255).cycle().take(1_000_000).collect();
    for transport in TRANSPORTS {
        let forward = Forward::start(&front, transport, 7).await;
        let (mut input, mut output) = forward.connect().await.into_split();
        let send = async {
            output.write_all(&bytes).await.unwrap();
            output.shutdown().await.unwrap();
        };
        let receive = async {
            let mut back = Vec::new();
            input.read_to_end(&mut back).await.unwrap();
            back
        };
        let both = async { tokio::join!(send, receive).1 };
        let back = tokio::time::timeout(LIMIT, both).await.unwrap();
        assert!(back == bytes, "{transport:?}: {} bytes", back.len());
    }
}

#[tokio::test]
async fn connections_share_a_forward() {
    let front = Front::start().await;
    for transport in TRANSPORTS {
        let forward = Forward::start(&front, transport, 8000).await;
        // Held open meanwhile, so that the others do not wait for it.
        let mut idle = forward.connect().await;
        let all = (0..20).map(|number| {
            forward.get(if number % 2 == 0 {
                "/"
            } else {
                "/bytes/300000"
            })
        });
        let answers = futures_util::future::join_all(all).await;
        for (number, answer) in answers.iter().enumerate() {
            assert!(
                answer.starts_with(b"HTTP/1.1 200 OK\r\n"),
                "{transport:?} {number}"
            );
            let least = if number % 2 == 0 { 100 } else { 300_000 };
            assert!(
                answer.len() > least,
                "{transport:?} {number}: {}",
                answer.len()
            );
        }
        idle.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .await
            .unwrap();
        let mut answer = String::new();
        idle.read_to_string(&mut answer).await.unwrap();
        assert!(
            answer.ends_with("Hello from web-0 in default\n"),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn a_port_without_a_server_is_refused() {
    let front = Front::start().await;
    for transport in TRANSPORTS {
        let mut forward = Forward::start(&front, transport, 8001).await;
        assert_eq!(forward.get("/").await, b"", "{transport:?}");
        let mut stderr = BufReader::new(forward.child.stderr.take().unwrap()).lines();
        let line = tokio::time::timeout(LIMIT, stderr.next_line())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        assert!(line.contains("an error occurred forwarding"), "{line}");
        assert!(
            line.contains("dial tcp4 127.0.0.1:8001: connect: connection refused"),
            "{line}"
        );
    }
}

#[tokio::test]
async fn a_pod_that_goes_away_ends_its_forwards() {
    for transport in TRANSPORTS {
        let front = Front::start().await;
        let mut forward = Forward::start(&front, transport, 7).await;
        let mut stream = forward.connect().await;
        stream.write_all(b"x").await.unwrap();
        let mut back = [0];
        stream.read_exact(&mut back).await.unwrap();
        front.runtime.stop_pod(&pod().uid);
        let status = tokio::time::timeout(LIMIT, forward.child.wait())
            .await
            .unwrap();
        assert_eq!(status.unwrap().code(), Some(1), "{transport:?}");
    }
}
