//! A machine that sleeps, and clocks that jump: libfaketime moves arcproxy's time of day, and leaves
//! the time that timers go by alone.

use std::path::{Path, PathBuf};
use std::time::Duration;

use arc_emulator::relay::Cut;
use http::{Method, StatusCode};
use serde_json::json;
use tokio::time::{Instant, timeout};

use super::local::{Local, Outcome, Version, read};
use super::all_tunnels;
use crate::harness::{DEADLINE, Proxy, Ran, World};

const LIBRARY: &str = "faketime/libfaketimeMT.so.1";
const HOURS: i64 = 3600;
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
            println!("left out: libfaketime is not installed");
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

async fn sleeps(cut: Cut) {
    let Some(machine) = Machine::start().await else {
        return;
    };
    let Machine {
        world,
        proxy,
        local,
        ..
    } = &machine;
    let watch = "/api/v1/namespaces/demo/configmaps?watch=true";
    let watching = local.send(Version::Two, Method::GET, watch, "").await;
    let watching = tokio::spawn(read(watching.unwrap()));

    proxy.signal("STOP");
    all_tunnels(cut)(&world.emulator);
    machine.set(8 * HOURS);
    machine.set_cloud(8 * HOURS);
    proxy.signal("CONT");

    let began = Instant::now();
    let map = json!({"metadata": {"name": "written"}}).to_string();
    let maps = "/api/v1/namespaces/demo/configmaps";
    let mut get = world.kubectl(&["get", "pods", "-A"]);
    let mut exec = world.kubectl(&["exec", "-n", "demo", "shell", "--", "echo", "hello"]);
    let t = async |n: &str, f: std::pin::Pin<Box<dyn Future<Output=String> + Send>>| { let r = f.await; eprintln!("{n} {:?} {}", began.elapsed(), r); };
    let l2 = local.clone();
    tokio::join!(
        t("write", Box::pin(async { format!("{:?}", local.ask(Method::POST, maps, map).await) })),
        t("read", Box::pin(async { format!("{:?}", l2.ask(Method::GET, "/version", "").await) })),
        t("get", Box::pin(async { format!("{:?}", Ran::of(&mut get).await.code) })),
        t("exec", Box::pin(async { format!("{:?}", Ran::of(&mut exec).await) })),
    );
    let ended = timeout(DEADLINE, watching).await.expect("it ends");
    assert!(matches!(ended.unwrap(), Outcome::Error(_)));
    eprintln!("{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sleep_that_reset() {
    sleeps(Cut::Reset).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sleep_that_hole() {
    sleeps(Cut::BlackHole).await;
}

async fn jumps(machine: i64, cloud: i64) {
    let Some(m) = Machine::start().await else {
        return;
    };
    m.set(machine);
    m.set_cloud(cloud);
    let began = Instant::now();
    let mut last = String::new();
    while began.elapsed() < Duration::from_secs(35) {
        let (status, text) = super::azure::told(&m.local).await;
        let now = format!("{status} {}", if status == StatusCode::OK { "" } else { &text });
        if now != last {
            eprintln!("{machine} {cloud} {:?} {now}", began.elapsed());
            last = now;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    m.world.emulator.relay().drop_tunnels(Cut::Reset);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(35) {
        let (status, text) = super::azure::told(&m.local).await;
        let now = format!("{status} {}", if status == StatusCode::OK { "" } else { &text });
        if now != last {
            eprintln!("{machine} {cloud} lost {:?} {now}", began.elapsed());
            last = now;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

macro_rules! jumps { ($($n:ident: $a:expr, $b:expr;)*) => { $(
#[tokio::test(flavor = "multi_thread")]
async fn $n() { jumps($a, $b).await; } )* } }
jumps! {
    jump_a: 8 * HOURS, 0;
    jump_b: -8 * HOURS, 0;
    jump_c: 1200, 0;
    jump_d: -1200, 0;
    jump_e: 0, 8 * HOURS;
    jump_f: 0, 1200;
}
