//! A far side that lies: it stands where kube-aad-proxy would, with whatever certificate and
//! whatever words a test gives it.

use std::sync::{Arc, Mutex};

use arc_emulator::tls::Authority;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::task::AbortOnDropHandle;

use super::wire::{Local, read_all, read_head};
use crate::harness::World;

/// What kube-aad-proxy is called, as ARM's kubeconfig has it.
const NAME: &str = "kube-aad-proxy.azure-arc.svc";
const DEMO: [&str; 4] = ["-n", "edge-demo", "-g", "demo"];

pub(super) type Stream = TlsStream<TcpStream>;

/// A far side. It is gone when this is dropped.
pub(super) struct FarSide {
    heard: Arc<Mutex<Vec<String>>>,
    _serving: AbortOnDropHandle<()>,
}

impl FarSide {
    /// One that `serve` speaks for, with kube-aad-proxy's own certificate.
    pub(super) async fn start<F>(
        world: &World,
        alpn: &[&str],
        serve: impl Fn(Stream) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::with(world, world.emulator.proxy_authority(), NAME, alpn, serve).await
    }

    /// One with a certificate of `authority` for `name`.
    async fn with<F>(
        world: &World,
        authority: &Authority,
        name: &str,
        alpn: &[&str],
        serve: impl Fn(Stream) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let names = [name, "kube-aad-proxy.azure-arc", "kube-aad-proxy"];
        let names = if name == NAME {
            &names[..]
        } else {
            &names[..1]
        };
        let tls = Arc::new(authority.server_config(names, alpn).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        world
            .emulator
            .agent()
            .lead_to(listener.local_addr().unwrap());
        let serve = Arc::new(serve);
        let serving = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((tcp, _)) = listener.accept().await {
                let (tls, serve) = (TlsAcceptor::from(tls.clone()), serve.clone());
                connections.spawn(async move {
                    if let Ok(stream) = tls.accept(tcp).await {
                        serve(stream).await;
                    }
                });
            }
        });
        Self {
            heard: Arc::default(),
            _serving: AbortOnDropHandle::new(serving),
        }
    }

    /// One that speaks HTTP/1.1, notes what it hears, and answers each head, other than that of
    /// the first request, with `answer`.
    pub(super) async fn saying(world: &World, answer: impl Into<Vec<u8>>) -> Self {
        let heard = Arc::<Mutex<Vec<String>>>::default();
        let (hearing, answer) = (heard.clone(), answer.into());
        let far = Self::start(world, &["http/1.1"], move |mut stream| {
            let (heard, answer) = (hearing.clone(), answer.clone());
            async move {
                while let Some(head) = read_head(&mut stream).await {
                    let is_probe = head.starts_with("GET /version ");
                    let words = if is_probe {
                        VERSION.as_bytes()
                    } else {
                        &answer
                    };
                    if !is_probe {
                        heard.lock().unwrap().push(head);
                    }
                    if stream.write_all(words).await.is_err() || !is_probe {
                        break;
                    }
                }
                // What follows the head is noted too, and the connection is not ended first.
                let rest = read_all(&mut stream).await;
                if !rest.is_empty() {
                    heard.lock().unwrap().push(rest);
                }
            }
        })
        .await;
        Self { heard, ..far }
    }

    /// What it has heard so far: heads, and what followed them.
    pub(super) fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

/// The answer to the first request.
const VERSION: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";

#[tokio::test(flavor = "multi_thread")]
async fn a_far_side_that_is_another_hears_nothing() {
    let world = World::new().await;
    let stranger = Authority::new("ca").unwrap();
    let own = world.emulator.proxy_authority();
    for (authority, name) in [(&stranger, NAME), (own, "other.azure-arc.svc")] {
        let heard = Arc::<Mutex<Vec<String>>>::default();
        let hearing = heard.clone();
        let far = FarSide::with(
            &world,
            authority,
            name,
            &["h2", "http/1.1"],
            move |mut stream| {
                let heard = hearing.clone();
                async move {
                    let words = read_all(&mut stream).await;
                    heard.lock().unwrap().push(words);
                }
            },
        );
        let _far = far.await;
        let ran = world.run(&[&DEMO[..], &["--", "true"]].concat()).await;
        ran.failed(5, &["certificate"]);
        // With TLS 1.3 a server may think that all is well; nothing is said to it.
        let said = heard.lock().unwrap().concat();
        assert_eq!(said, "", "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_answer_is_passed_on_and_never_held() {
    const MIB: usize = 1 << 20;
    let world = World::new().await;
    let _far = FarSide::start(&world, &["http/1.1"], |mut stream| async move {
        while let Some(head) = read_head(&mut stream).await {
            if head.starts_with("GET /version ") {
                stream.write_all(VERSION.as_bytes()).await.unwrap();
                continue;
            }
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            stream.write_all(head.as_bytes()).await.unwrap();
            let chunk = format!("{MIB:x}\r\n{}\r\n", "x".repeat(MIB));
            while stream.write_all(chunk.as_bytes()).await.is_ok() {}
        }
    })
    .await;
    let proxy = world.proxy(&[]).await;
    let local = Local::of(&world);
    let before = proxy.resident();
    let mut stream = local.tls("http/1.1").await;
    let request = local.request("GET /api", "");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut buffer = vec![0; MIB];
    // Far more than may be held, and then it is not read any more.
    for _ in 0..256 {
        tokio::io::AsyncReadExt::read_exact(&mut stream, &mut buffer)
            .await
            .unwrap();
    }
    // The far side gets stuck: others are served meanwhile.
    for _ in 0..20 {
        assert!(local.serves().await);
    }
    let held = proxy.resident().saturating_sub(before);
    assert!(held < 64, "{held} MiB are held of a body that never ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answers_head_without_an_end_is_read_so_far_and_no_further() {
    let header = "X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n";
    let hint = format!("HTTP/1.1 103 Early Hints\r\n{header}\r\n");
    for (what, first, again, is_told) in [
        (
            "a header",
            "HTTP/1.1 200 OK\r\nX: ",
            "yyyyyyyyyyyyyyyy",
            true,
        ),
        ("headers", "HTTP/1.1 200 OK\r\n", header, true),
        // As with a server that takes its time; the client decides.
        ("hints", "", &hint, false),
    ] {
        let world = World::new().await;
        let (first, again) = (first.to_owned(), again.repeat(1_000));
        let _far = FarSide::start(&world, &["http/1.1"], move |mut stream| {
            let (first, again) = (first.clone(), again.clone());
            async move {
                while let Some(head) = read_head(&mut stream).await {
                    let is_probe = head.starts_with("GET /version ");
                    let words = if is_probe { VERSION } else { &first };
                    let mut is_taken = stream.write_all(words.as_bytes()).await.is_ok();
                    while is_taken && !is_probe {
                        is_taken = stream.write_all(again.as_bytes()).await.is_ok();
                    }
                }
            }
        })
        .await;
        let proxy = world.proxy(&[]).await;
        let local = Local::of(&world);
        let before = proxy.resident();
        let health = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let request = local.request("GET /api", "Connection: close\r\n");
        let mut asking = std::pin::pin!(local.ask(&request));
        let mut answered = None;
        for asked in 0.. {
            tokio::select! {
                answer = &mut asking, if answered.is_none() => answered = Some(answer.status),
                // Others are served meanwhile.
                answer = local.ask(health) => assert_eq!(answer.status, 200, "{what}"),
            }
            let held = proxy.resident().saturating_sub(before);
            assert!(held < 64, "{what}: {held} MiB are held");
            if asked >= 8 && (answered.is_some() || !is_told) {
                break;
            }
        }
        assert_eq!(answered, is_told.then_some(502), "{what}");
    }
}
