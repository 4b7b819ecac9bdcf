//! The long path: what costs round trips, and how wide a stream is.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::sleep;

use crate::Result;
use crate::bodies::download;
use crate::client::Client;
use crate::effort::{NARROW, ROUND_TRIP};
use crate::exec;
use crate::report::Report;
use crate::world::{SMALL, World};

/// By then whatever arcproxy does by itself after something has happened is done.
const SETTLED: Duration = Duration::from_millis(500);
/// What a body has moved when it counts as under way, and what it has at most.
const UNDER_WAY: usize = 4 << 20;
const BULK: u64 = 1 << 30;

/// Measures.
pub(crate) async fn measure(world: &World, report: &mut Report) -> Result<()> {
    world.emulator.lay(ROUND_TRIP, 0).await?;
    let proxy = world.proxy().await?;
    let mut client = Client::connect(&proxy.arcproxy.endpoint).await?;
    client.get(SMALL).await?;
    for _ in 0..world.effort.distant_requests {
        report.add_one("warm_rtts", round_trips(client.get(SMALL).await?.0));
    }
    for _ in 0..world.effort.long_fat_bodies {
        let speed = download(&mut client, world.effort.long_fat_mib).await?;
        report.add_one("long_fat_mib_s", speed);
    }
    for _ in 0..world.effort.distant_openings {
        sleep(SETTLED).await;
        let took = exec::first_output(&proxy.arcproxy.endpoint).await?;
        report.add_one("exec_rtts", round_trips(took));
    }
    for _ in 0..world.effort.distant_openings {
        let before = world.emulator.relay("dials").await?;
        world.emulator.drop_tunnels().await?;
        sleep(SETTLED).await;
        report.add_one("cold_tunnel_rtts", round_trips(client.get(SMALL).await?.0));
        if world.emulator.relay("dials").await? == before {
            return Err("no tunnel was opened after all had been dropped".into());
        }
    }
    drop(client);
    proxy.stop().await?;

    world.emulator.lay(ROUND_TRIP, NARROW).await?;
    small_during_bulk(world, report).await?;
    world.lay_nothing().await
}

async fn small_during_bulk(world: &World, report: &mut Report) -> Result<()> {
    let proxy = world.proxy().await?;
    let mut client = Client::connect(&proxy.arcproxy.endpoint).await?;
    let path = format!("/arc-emulator/bytes/{BULK}");
    let mut bulk = client.open(&path).await?.into_body();
    let mut moved = 0;
    while moved < UNDER_WAY {
        moved += chunk(&mut bulk).await?;
    }
    let small = async {
        // The first may open a tunnel.
        client.get(SMALL).await?;
        for _ in 0..world.effort.distant_requests {
            let (took, _) = client.get(SMALL).await?;
            report.add_one("small_during_bulk_rtts", round_trips(took));
        }
        Result::Ok(())
    };
    let flowing = async {
        loop {
            if let Err(error) = chunk(&mut bulk).await {
                break error;
            }
        }
    };
    tokio::select! {
        done = small => done?,
        error = flowing => return Err(error),
    }
    drop((bulk, client));
    proxy.stop().await
}

/// The length of the next piece of `body`, which is not to end.
async fn chunk(body: &mut Incoming) -> Result<usize> {
    let frame = body
        .frame()
        .await
        .ok_or("the bulk body ended too early")??;
    Ok(frame.data_ref().map_or(0, Bytes::len))
}

fn round_trips(time: Duration) -> f64 {
    time.as_secs_f64() / ROUND_TRIP.as_secs_f64()
}
