//! TLS sessions are resumed, and nothing is trusted for having been trusted before.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use arc_emulator::relay::Cut;
use arc_emulator::tls::Authority;
use arcproxy::net::{Net, Tls, Trust};
use rustls::{HandshakeKind, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::harness::{DEADLINE, World};

/// A client that keeps sessions, and the address that it goes to.
struct Client {
    net: Net,
    tls: Tls,
    listener: TcpListener,
    _ca: tempfile::NamedTempFile,
}

impl Client {
    /// One that trusts `authority`.
    async fn of(authority: &Authority) -> Self {
        let ca = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(ca.path(), authority.pem()).unwrap();
        let net = Net::new(Trust::system([ca.path()]).unwrap());
        Self {
            tls: net.tls(&["http/1.1"]).unwrap(),
            net,
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            _ca: ca,
        }
    }

    /// Connects to a server with `settings`, asks and is answered; says how they shook hands.
    async fn visit(&self, settings: &Arc<ServerConfig>) -> Result<HandshakeKind, String> {
        let address: SocketAddr = self.listener.local_addr().unwrap();
        let serving = async {
            let (tcp, _) = self.listener.accept().await?;
            let mut stream = TlsAcceptor::from(settings.clone()).accept(tcp).await?;
            let kind = stream.get_ref().1.handshake_kind().unwrap();
            let question = stream.read_u8().await?;
            stream.write_all(&[question + 1]).await?;
            stream.flush().await?;
            Ok::<_, io::Error>(kind)
        };
        let asking = async {
            let connecting = self.net.connect(&self.tls, "localhost", address.port());
            let mut stream = connecting.await.map_err(|error| error.to_string())?;
            let answer = async {
                stream.write_all(&[41]).await?;
                stream.flush().await?;
                stream.read_u8().await
            };
            answer.await.map_err(|error| error.to_string())
        };
        let both = async { tokio::join!(serving, asking) };
        let (kind, answer) = timeout(DEADLINE, both).await.expect("in time");
        assert_eq!(answer?, 42);
        kind.map_err(|error| error.to_string())
    }
}

fn server(authority: &Authority) -> Arc<ServerConfig> {
    let config = authority.server_config(&["localhost"], &["http/1.1"]);
    Arc::new(config.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_resumed_and_one_that_was_forgotten_is_begun_anew() {
    let authority = Authority::new("test").unwrap();
    let client = Client::of(&authority).await;
    let knowing = server(&authority);
    assert_eq!(client.visit(&knowing).await, Ok(HandshakeKind::Full));
    assert_eq!(client.visit(&knowing).await, Ok(HandshakeKind::Resumed));
    let forgetting = server(&authority);
    assert_eq!(client.visit(&forgetting).await, Ok(HandshakeKind::Full));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_earlier_session_vouches_for_nobody_else() {
    let authority = Authority::new("test").unwrap();
    let client = Client::of(&authority).await;
    client.visit(&server(&authority)).await.unwrap();
    let stranger = server(&Authority::new("stranger").unwrap());
    let refused = client.visit(&stranger).await.unwrap_err();
    assert!(refused.contains("cannot establish TLS"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tunnels_resume_the_relays_session() {
    let world = World::new().await;
    let _proxy = world.proxy(&[]).await;
    let relay = world.emulator.relay();
    for _ in 0..3 {
        let before = relay.seen();
        relay.drop_tunnels(Cut::Reset);
        let pods = world.kubectl(&["get", "pods", "-n", "demo", "-o", "name"]);
        let pods = crate::harness::Ran::of(&mut { pods }).await.ok();
        assert!(pods.contains("pod/"), "{pods}");
        let after = relay.seen();
        assert!(after.resumed > before.resumed, "{before:?} {after:?}");
    }
}
