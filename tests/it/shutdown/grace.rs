//! What runs when the end begins: it may finish, and is cut if it takes too long.

use std::process::Stdio;
use std::time::Instant;

use futures_util::{AsyncRead, AsyncReadExt as _};
use http::Request;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout};
use tokio::time::timeout;

use super::{GRACE, ending};
use crate::harness::{DEADLINE, World};
use crate::kube_client::client;

/// A download that nothing buffers whole: windows and sockets hold less than 20 MiB.
const LENGTH: u64 = 24 << 20;

/// `kubectl exec` of a shell that says what it is told.
struct Session {
    kubectl: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Session {
    async fn start(world: &World, websockets: &str) -> Self {
        let script = "echo up; read word; echo \"got $word\"";
        let arguments = ["exec", "-i", "-n", "demo", "deployment/web", "--"];
        let mut kubectl = world
            .kubectl(&[&arguments[..], &["sh", "-c", script]].concat())
            .env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", websockets)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(kubectl.stdout.take().unwrap()).lines();
        let mut session = Self { kubectl, lines };
        assert_eq!(session.line().await.as_deref(), Some("up"));
        session
    }

    async fn line(&mut self) -> Option<String> {
        let line = timeout(DEADLINE, self.lines.next_line()).await;
        line.expect("a line in time").unwrap()
    }

    async fn say(&mut self, word: &str) {
        let stdin = self.kubectl.stdin.as_mut().unwrap();
        stdin
            .write_all(format!("{word}\n").as_bytes())
            .await
            .unwrap();
    }

    /// Its exit code, and what it said of that.
    async fn ended(mut self) -> (Option<i32>, String) {
        let mut said = String::new();
        let mut stderr = self.kubectl.stderr.take().unwrap();
        let ending = async {
            stderr.read_to_string(&mut said).await.unwrap();
            self.kubectl.wait().await.unwrap().code()
        };
        let code = timeout(DEADLINE, ending).await.expect("kubectl ends");
        (code, said)
    }
}

async fn download(world: &World) -> impl AsyncRead + Unpin + use<> {
    let client = client(world).await;
    let request = Request::get(format!("/arc-emulator/bytes/{LENGTH}"));
    let request = request.body(Vec::new()).unwrap();
    let mut body = Box::pin(client.request_stream(request).await.unwrap());
    let mut start = [0; 100];
    let begun = timeout(DEADLINE, body.read_exact(&mut start)).await;
    begun.expect("it begins").unwrap();
    body
}

/// Reads to the end; gives how many bytes there were.
async fn rest_of(body: &mut (impl AsyncRead + Unpin)) -> std::io::Result<u64> {
    let mut sink = futures_util::io::sink();
    let reading = futures_util::io::copy(body, &mut sink);
    timeout(DEADLINE, reading).await.expect("it ends")
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_and_downloads_finish_within_their_grace() {
    for (signal, websockets) in [("TERM", "true"), ("INT", "false"), ("HUP", "true")] {
        let world = World::new().await;
        let proxy = world.proxy(&[]).await;
        let mut session = Session::start(&world, websockets).await;
        let mut body = download(&world).await;
        proxy.signal(signal);
        ending(&proxy).await;
        // Both at once: there are five seconds for all of it.
        let talking = async {
            session.say("bye").await;
            assert_eq!(session.line().await.as_deref(), Some("got bye"), "{signal}");
            assert_eq!(session.ended().await.0, Some(0), "{signal}");
        };
        let (rest, ()) = tokio::join!(rest_of(&mut body), talking);
        assert_eq!(rest.unwrap(), LENGTH - 100, "{signal}");
        drop(body);
        let (code, stderr) = proxy.ended().await;
        assert_eq!(code, Some(0), "{signal}: {stderr}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_longer_is_cut_and_does_not_look_whole() {
    let world = World::new().await;
    let proxy = world.proxy(&[]).await;
    let session = Session::start(&world, "true").await;
    let mut body = download(&world).await;
    let begun = Instant::now();
    proxy.signal("TERM");
    let (code, stderr) = proxy.ended().await;
    let took = begun.elapsed();
    assert_eq!(code, Some(0), "{stderr}");
    assert!(took >= GRACE && took < GRACE * 3, "{took:?}");
    let rest = rest_of(&mut body).await;
    assert!(rest.is_err(), "a truncated success: {rest:?}");
    let (code, said) = session.ended().await;
    assert!(code.is_some_and(|code| code != 0), "{code:?}: {said}");
    assert!(!said.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_twice_waits_for_nothing() {
    for second in ["INT", "TERM", "HUP"] {
        let world = World::new().await;
        let proxy = world.proxy(&[]).await;
        let session = Session::start(&world, "true").await;
        proxy.signal("INT");
        ending(&proxy).await;
        let asked = Instant::now();
        proxy.signal(second);
        let (code, stderr) = proxy.ended().await;
        assert_eq!(code, Some(0), "{stderr}");
        assert!(asked.elapsed() < GRACE / 2, "{:?}", asked.elapsed());
        let (code, said) = session.ended().await;
        assert!(code.is_some_and(|code| code != 0), "{code:?}: {said}");
    }
}
