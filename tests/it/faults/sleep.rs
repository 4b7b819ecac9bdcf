//! A machine that sleeps, and clocks that jump: libfaketime moves arcproxy's time of day, and leaves
//! the time that timers go by alone.

use std::path::{Path, PathBuf};
use std::time::Duration;

use arc_emulator::relay::Cut;
use http::{Method, StatusCode};
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use super::local::{Local, Outcome, Version, read};
use super::{RECOVERY, SILENCE, all_tunnels};
use crate::guard::left_out;
use crate::harness::{Proxy, Ran, World};

const LIBRARY: &str = "faketime/libfaketimeMT.so.1";
const HOUR: i64 = 3600;
/// How soon after it wakes everything works.
const SOON: Duration = Duration::from_secs(5);

/// Where Debian and others keep the library.
fn library() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").unwrap();
    let folders = folders.map(|entry| entry.unwrap().path());
    let mut places = folders.chain(["/usr/lib", "/usr/lib64", "/usr/local/lib"].map(PathBuf::from));
    places.find_map(|folder| Some(folder.join(LIBRARY)).filter(|file| file.exists()))
}

/// An arcproxy whose time of day can be set.
struct Machine {
    world: World,
    proxy: Proxy,
    local: Local,
    ahead: PathBuf,
}

impl Machine {
    /// None where the library is not installed.
    async fn start() -> Option<Self> {
        let Some(library) = library() else {
            left_out("libfaketime is not installed");
            return None;
        };
        let world = World::new().await;
        let ahead = world.path("ahead");
        set(&ahead, 0);
        let mut command = world.arcproxy(&["-n", "edge-demo", "-g", "demo"]);
        command
            .env("LD_PRELOAD", library)
            .env("FAKETIME_TIMESTAMP_FILE", &ahead)
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("DONT_FAKE_MONOTONIC", "1");
        let proxy = Proxy::start(command).await;
        let local = Local::new(&world);
        assert!(local.works().await);
        Some(Self {
            world,
            proxy,
            local,
            ahead,
        })
    }

    /// Sets the machine's clock ahead by so many seconds.
    fn set(&self, seconds: i64) {
        set(&self.ahead, seconds);
    }

    async fn ends(self) {
        self.proxy.signal("TERM");
        assert_eq!(self.proxy.ended().await.0, Some(0));
    }

    /// Sets the cloud's clock ahead by so many seconds.
    fn set_cloud(&self, seconds: i64) {
        let faults = self.world.emulator.faults();
        faults.update(|faults| faults.clock_offset_seconds = seconds);
    }
}

fn set(file: &Path, seconds: i64) {
    // Never seen half written.
    let new = file.with_extension("new");
    std::fs::write(&new, format!("{seconds:+}\n")).unwrap();
    std::fs::rename(new, file).unwrap();
}

/// Eight hours' sleep, in which the way to the relay goes as `cut` says.
async fn sleeps(cut: Cut) {
    let Some(machine) = Machine::start().await else {
        return;
    };
    let Machine { world, local, .. } = &machine;
    let maps = "/api/v1/namespaces/demo/configmaps";
    let watch = format!("{maps}?watch=true");
    let watching = local.send(Version::Two, Method::GET, &watch, "").await;
    let watching = tokio::spawn(read(watching.unwrap()));

    machine.proxy.signal("STOP");
    all_tunnels(cut)(&world.emulator);
    machine.set(8 * HOUR);
    machine.set_cloud(8 * HOUR);
    machine.proxy.signal("CONT");
    let woken = Instant::now();

    // All at once, and the first: what may not be sent twice is not sent into what has gone.
    let map = json!({"metadata": {"name": "written"}}).to_string();
    let mut get = world.kubectl(&["get", "pods", "-n", "demo"]);
    let mut exec = world.kubectl(&["exec", "-n", "demo", "shell", "--", "echo", "hello"]);
    let (written, got, ran) = tokio::join!(
        local.ask(Method::POST, maps, map),
        Ran::of(&mut get),
        Ran::of(&mut exec),
    );
    let took = woken.elapsed();
    assert!(
        matches!(written, Outcome::Whole(StatusCode::CREATED, _)),
        "{written:?}"
    );
    assert!(got.ok().contains("shell"));
    assert_eq!(ran.ok(), "hello\n");
    assert!(took < SOON, "{took:?} until everything works");

    let ended = timeout(SILENCE.saturating_sub(woken.elapsed()), watching).await;
    let outcome = ended.expect("a watch ends with its tunnel").unwrap();
    assert!(matches!(outcome, Outcome::Error(_)), "{outcome:?}");
    machine.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sleep_in_which_connections_are_reset() {
    sleeps(Cut::Reset).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sleep_in_which_connections_go_without_a_word() {
    sleeps(Cut::BlackHole).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sleep_that_connections_survive() {
    let Some(machine) = Machine::start().await else {
        return;
    };
    let watch = "/api/v1/namespaces/demo/configmaps?watch=true";
    let watching = machine.local.send(Version::Two, Method::GET, watch, "");
    let watching = tokio::spawn(read(watching.await.unwrap()));
    machine.proxy.signal("STOP");
    machine.set(8 * HOUR);
    machine.set_cloud(8 * HOUR);
    machine.proxy.signal("CONT");
    let woken = Instant::now();
    while woken.elapsed() < SOON {
        assert!(machine.local.works().await);
        sleep(Duration::from_millis(50)).await;
    }
    assert!(!watching.is_finished(), "what lives is left alone");
    watching.abort();
    machine.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_somebody_sets_is_made_up_for() {
    let Some(machine) = Machine::start().await else {
        return;
    };
    for seconds in [8 * HOUR, 0, HOUR / 3, 0, -8 * HOUR, 0, -HOUR / 3] {
        machine.set(seconds);
        let set = Instant::now();
        while !machine.local.works().await {
            assert!(set.elapsed() < RECOVERY, "set to {seconds} s ahead");
        }
        // With new tunnels, too.
        all_tunnels(Cut::Reset)(&machine.world.emulator);
        assert!(machine.local.works().await, "set to {seconds} s ahead");
    }
    machine.ends().await;
}
