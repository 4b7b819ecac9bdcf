//! A start does side by side what need not wait.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use arc_emulator::emulator::Emulator;
use arc_emulator::faults::{FaultSet, ServiceFault};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use crate::harness::{DEADLINE, Ran, World};

const RUN: [&str; 6] = ["-n", "edge-demo", "-g", "demo", "--", "true"];
/// A kind of TLS record.
const APPLICATION_DATA: u8 = 23;

fn refusing() -> ServiceFault {
    ServiceFault {
        status: Some(401),
        ..ServiceFault::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn arm_is_connected_to_before_entra_has_answered() {
    let refusing = FaultSet {
        entra: refusing(),
        ..FaultSet::default()
    };
    let world = World::with(Emulator::builder().faults(refusing)).await;
    let arm = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}", arm.local_addr().unwrap().port());
    let cloud = world.cloud_with(|cloud| cloud["resourceManager"] = url.into());
    let mut command = world.arcproxy(&RUN);
    let ran = Ran::of(command.env("ARCPROXY_CLOUD", &cloud)).await;
    // There never was a token to send there.
    assert_eq!(ran.code, Some(3), "{}", ran.stderr);
    timeout(DEADLINE, arm.accept())
        .await
        .expect("somebody came")
        .unwrap();
}

/// What becomes of a connection.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Pass,
    /// Nothing is answered.
    Silence,
    /// It ends in place of the client's `record`th TLS record: the first one begins the handshake,
    /// the third ends it, the fourth holds the request.
    Cut {
        record: usize,
        is_reset: bool,
    },
}

/// A connection, as far as it has gone.
#[derive(Debug)]
struct Seen {
    peer: SocketAddr,
    /// The client's TLS records: their kinds and what they hold.
    records: Vec<(u8, Vec<u8>)>,
    is_over: bool,
}

/// A way to the emulator's relay.
struct Way {
    cloud: PathBuf,
    address: SocketAddr,
    next: Arc<Mutex<Fate>>,
    seen: watch::Receiver<Vec<Seen>>,
    /// The test's own connections, from where they came.
    own: Vec<SocketAddr>,
    _serving: AbortOnDropHandle<()>,
}

impl Way {
    async fn to_relay_of(world: &World) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut relay = 0;
        let cloud = world.cloud_with(|cloud| {
            let suffix = cloud["relaySuffix"].as_str().unwrap();
            let (host, port) = suffix.split_once(':').unwrap();
            relay = port.parse().unwrap();
            cloud["relaySuffix"] = format!("{host}:{}", address.port()).into();
        });
        let next = Arc::new(Mutex::new(Fate::Pass));
        let (sender, seen) = watch::channel(Vec::new());
        let taken = next.clone();
        let serving = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, peer)) = listener.accept().await {
                let fate = std::mem::replace(&mut *taken.lock().unwrap(), Fate::Pass);
                let (sender, mut index) = (sender.clone(), 0);
                sender.send_modify(|seen| {
                    index = seen.len();
                    let (records, is_over) = (Vec::new(), false);
                    seen.push(Seen {
                        peer,
                        records,
                        is_over,
                    });
                });
                connections.spawn(async move {
                    let note = |record| {
                        sender.send_modify(|seen| seen[index].records.push(record));
                    };
                    // However it ends, it does.
                    let _ = carry(client, relay, fate, note).await;
                    sender.send_modify(|seen| seen[index].is_over = true);
                });
            }
        });
        Self {
            cloud,
            address,
            next,
            seen,
            own: Vec::new(),
            _serving: AbortOnDropHandle::new(serving),
        }
    }

    async fn run(&self, world: &World, arguments: &[&str]) -> Ran {
        let mut command = world.arcproxy(arguments);
        Ran::of(command.env("ARCPROXY_CLOUD", &self.cloud)).await
    }

    /// How many connections came so far. They are taken in the order in which they come: one of the
    /// test's own follows those that are counted.
    async fn count(&mut self) -> usize {
        let probe = TcpStream::connect(self.address).await.unwrap();
        self.own.push(probe.local_addr().unwrap());
        let last = self.own.last();
        let taken = self
            .seen
            .wait_for(|all| all.iter().any(|one| Some(&one.peer) == last));
        let all = timeout(DEADLINE, taken).await.expect("taken in time");
        all.unwrap().len() - self.own.len()
    }

    /// What becomes of the next connection. None may be on its way.
    fn next_is(&self, fate: Fate) {
        *self.next.lock().unwrap() = fate;
    }

    /// The records of the connection before which there were `number`, once it is over.
    async fn records_of(&mut self, number: usize) -> Vec<(u8, Vec<u8>)> {
        let find = |all: &[Seen]| {
            let mut theirs = all.iter().filter(|one| !self.own.contains(&one.peer));
            let one = theirs.nth(number)?;
            one.is_over.then(|| one.records.clone())
        };
        let over = self.seen.wait_for(|all| find(all).is_some());
        let all = timeout(DEADLINE, over).await.expect("over in time");
        find(&all.unwrap()).unwrap()
    }
}

/// Whether a client's record can hold more than the end of a handshake or of a connection.
fn holds_much((kind, record): &(u8, Vec<u8>)) -> bool {
    *kind == APPLICATION_DATA && record.len() > 100
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|part| part == text.as_bytes())
}

async fn carry(
    mut client: TcpStream,
    relay: u16,
    fate: Fate,
    note: impl Fn((u8, Vec<u8>)),
) -> io::Result<()> {
    let mut relay = TcpStream::connect(("127.0.0.1", relay)).await?;
    let (mut from_client, mut to_client) = client.split();
    let (mut from_relay, mut to_relay) = relay.split();
    let upwards = async {
        for number in 1.. {
            let mut header = [0; 5];
            from_client.read_exact(&mut header).await?;
            let [kind, _, _, high, low] = header;
            let mut body = vec![0; u16::from_be_bytes([high, low]).into()];
            from_client.read_exact(&mut body).await?;
            note((kind, body.clone()));
            match fate {
                Fate::Cut { record, .. } if record == number => break,
                Fate::Silence => {}
                Fate::Pass | Fate::Cut { .. } => {
                    to_relay.write_all(&[&header[..], &body].concat()).await?;
                }
            }
        }
        io::Result::Ok(())
    };
    let ended = tokio::select! {
        ended = upwards => ended,
        copied = tokio::io::copy(&mut from_relay, &mut to_client) => copied.map(drop),
    };
    if let Fate::Cut { is_reset: true, .. } = fate {
        client.set_zero_linger()?;
    }
    ended
}

impl World {
    fn remembered(&self) -> PathBuf {
        self.path(".local/state/arcproxy/relays.json")
    }
}

/// The hosts that a file remembers.
fn hosts(file: &Path) -> Vec<String> {
    let relays: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let hosts = relays.as_object().unwrap().values();
    hosts
        .map(|relay| relay["host"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn relays_once_used_are_connected_to_before_entra_has_answered() {
    let world = World::new().await;
    let mut way = Way::to_relay_of(&world).await;
    let id = |name| world.emulator.cluster_id(name).unwrap();
    let ids = ["--ids", id("edge-second"), id("edge-demo"), "--", "true"];
    for (arguments, clusters) in [(&RUN[..], 1), (&ids, 2)] {
        way.run(&world, arguments).await.ok();
        assert_eq!(hosts(&world.remembered()).len(), clusters);
        let before = way.count().await;
        world
            .emulator
            .faults()
            .update(|faults| faults.entra = refusing());
        let ran = way.run(&world, arguments).await;
        // There never was a token, and so no answer of ARM's.
        assert_eq!(ran.code, Some(3), "{}", ran.stderr);
        assert_eq!(way.count().await - before, clusters);
        world.emulator.faults().reset();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_was_opened_early_is_the_one_that_is_used() {
    let world = World::new().await;
    let mut way = Way::to_relay_of(&world).await;
    way.run(&world, &RUN).await.ok();
    let before = way.count().await;
    way.run(&world, &RUN).await.ok();
    let records = way.records_of(before).await;
    assert!(records.iter().any(holds_much), "the first one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_arm_does_not_name_is_sent_nothing() {
    let world = World::new().await;
    let mut way = Way::to_relay_of(&world).await;
    way.run(&world, &RUN).await.ok();
    let text = std::fs::read_to_string(world.remembered()).unwrap();
    let right = hosts(&world.remembered());
    for (number, fate) in [Fate::Pass, Fate::Silence].into_iter().enumerate() {
        let (_, domain) = right[0].split_once('.').unwrap();
        let stale = format!("stale-{number}.{domain}");
        std::fs::write(world.remembered(), text.replace(&right[0], &stale)).unwrap();
        let before = way.count().await;
        way.next_is(fate);
        way.run(&world, &RUN).await.ok();
        assert_eq!(hosts(&world.remembered()), right, "it is right now");
        let records = way.records_of(before).await;
        assert!(contains(&records[0].1, &stale));
        assert!(!records.iter().any(holds_much), "{fate:?}: {records:?}");
        let is_greeted = matches!(fate, Fate::Pass);
        assert_eq!(records.len() > 2, is_greeted, "{fate:?}: {records:?}");
    }
    assert_eq!(world.emulator.seen().relay.refused, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_early_connection_that_ends_early_does_no_harm() {
    let world = World::new().await;
    let mut way = Way::to_relay_of(&world).await;
    way.run(&world, &RUN).await.ok();
    for record in [1, 3, 4] {
        for is_reset in [false, true] {
            let before = way.count().await;
            way.next_is(Fate::Cut { record, is_reset });
            let ran = way.run(&world, &RUN).await;
            assert!(!ran.stderr.contains("WARN"), "{}", ran.stderr);
            ran.ok();
            assert!(way.count().await >= before + 2, "it was opened again");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_on_an_early_connection_is_an_answer() {
    let world = World::new().await;
    let mut way = Way::to_relay_of(&world).await;
    way.run(&world, &RUN).await.ok();
    let before = way.count().await;
    world
        .emulator
        .faults()
        .update(|faults| faults.refuse_dials = Some(403));
    way.run(&world, &RUN).await.failed(5, &["403"]);
    assert_eq!(way.count().await - before, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_wrong_with_what_is_remembered_fails_a_start() {
    let world = World::new().await;
    let file = world.remembered();
    let folder = file.parent().unwrap();
    let elsewhere = world.path("elsewhere");
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(&elsewhere, "{}").unwrap();
    let quiet = async |variables: &[(&str, &str)]| {
        let mut command = world.arcproxy(&RUN);
        let ran = Ran::of(command.envs(variables.iter().copied())).await;
        assert!(!ran.stderr.contains("WARN"), "{}", ran.stderr);
        ran.ok();
    };
    std::fs::write(&file, "{\"no\": json").unwrap();
    quiet(&[]).await;
    assert_eq!(hosts(&file).len(), 1, "it is replaced");

    std::fs::remove_file(&file).unwrap();
    symlink(&elsewhere, &file).unwrap();
    quiet(&[]).await;
    assert_eq!(std::fs::read_to_string(&elsewhere).unwrap(), "{}");
    assert_eq!(std::fs::read_link(&file).unwrap(), elsewhere);

    std::fs::remove_dir_all(world.path(".local")).unwrap();
    std::fs::write(world.path(".local"), "").unwrap();
    quiet(&[]).await;
    // Where not even root can write.
    quiet(&[("XDG_STATE_HOME", "/dev/null")]).await;

    let missing = world.path("missing");
    quiet(&[("HOME", missing.to_str().unwrap())]).await;
    assert!(!missing.exists(), "no home comes into being");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_remembered() {
    let world = World::new().await;
    let state = world.path("state");
    let mut command = world.arcproxy(&RUN);
    Ran::of(command.env("XDG_STATE_HOME", &state)).await.ok();
    assert!(!world.remembered().exists());
    let text = std::fs::read_to_string(state.join("arcproxy/relays.json")).unwrap();
    for secret in ["sig=", "SharedAccess", &world.emulator.client_secret()] {
        assert!(!text.contains(secret), "{text}");
    }
    let relays: Value = serde_json::from_str(&text).unwrap();
    let relays = relays.as_object().unwrap();
    let (key, relay) = relays.iter().next().unwrap();
    let id = world.emulator.cluster_id("edge-demo").unwrap();
    let url = world.emulator.arm().url().trim_end_matches('/');
    assert_eq!(*key, format!("{url}{id}").to_lowercase());
    assert_eq!(relays.len(), 1);
    let fields = relay.as_object().unwrap().keys();
    assert!(fields.eq(["host", "port", "used"]), "{text}");
}
