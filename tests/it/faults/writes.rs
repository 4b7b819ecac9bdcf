//! Writes whose answer is lost: they have happened, and must not happen again.

use std::time::Duration;

use arc_emulator::relay::Cut;
use http::{Method, StatusCode};
use serde_json::json;
use tokio::time::{sleep, timeout};

use super::local::{Local, Outcome};
use crate::harness::{DEADLINE, World};

const MAPS: &str = "/api/v1/namespaces/demo/configmaps";
/// Long enough to strike while an answer is on its way, in milliseconds.
const ROUND_TRIP: u64 = 300;
/// How often that may fail on a machine that is busy.
const TRIES: usize = 10;

/// How often the apiserver was asked to create something.
fn created(world: &World) -> usize {
    let seen = world.emulator.apiserver().unwrap().seen();
    let is_write = |method: &str, path: &str| method == "POST" && path.starts_with(MAPS);
    let recent = seen.recent.iter();
    recent
        .filter(|request| is_write(&request.method, &request.path))
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_answer_is_lost_is_not_sent_again() {
    let world = World::new().await;
    let _proxy = world.proxy(&[]).await;
    let local = Local::new(&world);
    world
        .emulator
        .faults()
        .update(|faults| faults.rtt_ms = ROUND_TRIP);
    // From now on tunnels are long.
    world.emulator.relay().drop_tunnels(Cut::Reset);
    let map = json!({"metadata": {"generateName": "lost-"}}).to_string();
    for cut in [Cut::Reset, Cut::Close(1000), Cut::Close(1011)] {
        let mut tries = 0;
        loop {
            tries += 1;
            assert!(tries < TRIES, "{cut:?} comes too late");
            assert!(local.works().await);
            let before = created(&world);
            let striking = async {
                while created(&world) == before {
                    sleep(Duration::from_millis(1)).await;
                }
                world.emulator.relay().drop_tunnels(cut);
            };
            let writing = local.ask(Method::POST, MAPS, map.clone());
            let both = async { tokio::join!(writing, striking).0 };
            let outcome = timeout(DEADLINE, both).await.expect("it ends");
            // Whatever is sent again has arrived by now.
            assert!(local.works().await);
            assert_eq!(created(&world), before + 1, "{outcome:?}");
            match outcome {
                Outcome::Whole(StatusCode::CREATED, _) => {}
                Outcome::Whole(status, _) => {
                    assert_eq!(status, StatusCode::BAD_GATEWAY);
                    break;
                }
                Outcome::Error(_) => break,
            }
        }
    }
}
