//! Names that do not resolve for a while. arcproxy has a view of the file system of its own, in
//! which the test writes what the names are.

use std::path::PathBuf;
use std::time::Duration;

use http::{Method, StatusCode};
use tokio::process::Command;
use tokio::time::{Instant, timeout};

use super::local::{Local, Outcome, Version, read};
use super::{LENGTH, download};
use crate::guard::left_out;
use crate::harness::{DEADLINE, Proxy, World};
use crate::networks::{ARM, LOGIN, RELAY};

/// Whom nobody asks for names.
const NOBODY: &str = "nameserver 127.254.254.254\noptions timeout:1 attempts:1\n";
/// Says what arcproxy finds at the usual places.
const VIEW: &str = "\
mount --bind hosts /etc/hosts &&
mount --bind resolv.conf /etc/resolv.conf &&
mount --bind nsswitch.conf /etc/nsswitch.conf &&
exec \"$@\"
";
/// How long a request waits for names at least, and at most until it is told.
const WAITS: Duration = Duration::from_secs(10);
const TOLD: Duration = Duration::from_secs(20);
/// The longest pause between two attempts, a dial, and some for a machine that is busy.
const ONE_BACKOFF: Duration = Duration::from_secs(5);

/// What names are in the view.
struct Names(PathBuf);

impl Names {
    fn of(world: &World) -> Self {
        for (file, text) in [
            ("nsswitch.conf", "hosts: files dns\n"),
            ("resolv.conf", NOBODY),
        ] {
            std::fs::write(world.path(file), text).unwrap();
        }
        let names = Self(world.path("hosts"));
        names.back();
        names
    }

    fn back(&self) {
        let hosts = [LOGIN, ARM, RELAY].map(|name| format!("127.0.0.1 {name}\n"));
        std::fs::write(&self.0, hosts.concat()).unwrap();
    }

    fn gone(&self) {
        std::fs::write(&self.0, "").unwrap();
    }
}

/// A command in a view of its own.
fn in_view(world: &World, command: &Command) -> Command {
    let mut viewing = world.command("unshare");
    viewing
        .args(["--map-root-user", "--mount", "sh", "-c", VIEW, "sh"])
        .arg(command.as_std().get_program())
        .args(command.as_std().get_args());
    viewing
}

/// arcproxy in such a view; none where the system lets nobody have one.
async fn start(world: &World) -> Option<Proxy> {
    let allowed = in_view(world, &world.command("true"))
        .status()
        .await
        .unwrap();
    if !allowed.success() {
        left_out("nobody may have a view of the file system of their own here");
        return None;
    }
    let mut command = in_view(world, &world.arcproxy(&["-n", "edge-demo", "-g", "demo"]));
    command.env("ARCPROXY_CLOUD", world.lab());
    Some(Proxy::start(command).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_are_gone_for_a_while_are_waited_for() {
    let world = World::new().await;
    let names = Names::of(&world);
    let Some(proxy) = start(&world).await else {
        return;
    };
    let local = Local::new(&world);
    assert!(local.works().await);

    // What stands goes on, and so does what is new on it.
    let one = download(&local, Version::One, "pattern").await;
    let two = download(&local, Version::Two, "stream").await;
    let watch = "/api/v1/namespaces/demo/configmaps?watch=true";
    let watching = local.send(Version::Two, Method::GET, watch, "").await;
    let mut watching = tokio::spawn(read(watching.unwrap()));
    names.gone();
    assert!(local.works().await);
    let whole = Outcome::Whole(StatusCode::OK, LENGTH);
    let both = async { tokio::join!(one, two) };
    let both = timeout(DEADLINE, both).await.expect("they end");
    assert_eq!(both, (whole.clone(), whole));
    assert!(!watching.is_finished());

    // What is new without a tunnel waits for the names, and has one soon after.
    super::all_tunnels(arc_emulator::relay::Cut::Reset)(&world.emulator);
    let ended = timeout(DEADLINE, &mut watching).await.expect("it breaks");
    assert!(matches!(ended.unwrap(), Outcome::Error(_)));
    let mut waiting = Box::pin(local.works());
    let early = timeout(Duration::from_secs(3), &mut waiting).await;
    assert!(early.is_err(), "it waits");
    names.back();
    let began = Instant::now();
    assert!(timeout(DEADLINE, waiting).await.expect("it ends"));
    assert!(began.elapsed() < ONE_BACKOFF, "{:?}", began.elapsed());

    // Gone for longer than anything waits.
    names.gone();
    super::all_tunnels(arc_emulator::relay::Cut::Reset)(&world.emulator);
    let began = Instant::now();
    let (status, text) = super::azure::told(&local).await;
    let waited = began.elapsed();
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{text}");
    assert!(text.contains(&format!("cannot resolve {RELAY}")), "{text}");
    assert!(text.contains("hint: "), "{text}");
    assert!(WAITS < waited && waited < TOLD, "told after {waited:?}");
    names.back();
    let began = Instant::now();
    assert!(local.works().await);
    assert!(began.elapsed() < ONE_BACKOFF, "{:?}", began.elapsed());
    proxy.signal("TERM");
    assert_eq!(proxy.ended().await.0, Some(0));
}
