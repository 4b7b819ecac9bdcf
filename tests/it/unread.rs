//! Whoever started it may never read what it says.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::Child;
use tokio::time::timeout;

use crate::faults::local::Local;
use crate::harness::{DEADLINE, World};

/// More than any pipe holds, where each of them is told of at length.
const MANY: usize = 200;
/// What stands where lines were left out.
const NOTE: &str = "lines are missing here";

/// An arcproxy that has much to say and whose stderr is not read.
async fn talkative(world: &World) -> Child {
    let mut command = world.arcproxy(&["-n", "edge-demo", "-g", "demo"]);
    let mut child = command
        .env("ARCPROXY_LOG", "arcproxy=trace,h2=trace,hyper=trace")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    timeout(DEADLINE, async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.starts_with("Press Ctrl+C") {
                return;
            }
        }
        panic!("it ended");
    })
    .await
    .expect("it serves in time");
    child
}

async fn ask(local: &Local) {
    let works = timeout(DEADLINE, local.works()).await;
    assert!(works.expect("an answer in time"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_nobody_reads_holds_nothing_up() {
    let world = World::new().await;
    let mut child = talkative(&world).await;
    let local = Local::new(&world);
    for _ in 0..MANY {
        ask(&local).await;
    }

    // Whoever reads after all is told what is missing, once.
    let mut stderr = child.stderr.take().unwrap();
    let mut said = Vec::new();
    timeout(DEADLINE, async {
        while !String::from_utf8_lossy(&said).contains(NOTE) {
            tokio::select! {
                read = stderr.read_buf(&mut said) => assert!(read.unwrap() > 0, "it ended"),
                () = ask(&local) => {}
            }
        }
    })
    .await
    .expect("the note");
    let text = String::from_utf8_lossy(&said).into_owned();
    let (before, _) = text.split_once(NOTE).unwrap();
    assert!(before.len() < MANY * 1024, "nothing was left out");

    // A signal is heard as well.
    for _ in 0..MANY {
        ask(&local).await;
    }
    let pid = child.id().unwrap().to_string();
    let mut kill = std::process::Command::new("kill");
    assert!(kill.args(["-s", "TERM", &pid]).status().unwrap().success());
    let status = timeout(DEADLINE, child.wait()).await.expect("it ends");
    assert_eq!(status.unwrap().code(), Some(0));
}
