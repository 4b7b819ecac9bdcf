//! Starts: with nothing left of an earlier run and with what one left, near and far.

use std::time::{Duration, Instant};

use arcproxy::azure::pop::PopKey;

use crate::Result;
use crate::effort::ROUND_TRIP;
use crate::report::Report;
use crate::world::World;

/// A start that found nothing of an earlier run, and one that found what the first had left.
struct Starts {
    first: Duration,
    again: Duration,
    first_cpu: Duration,
}

/// Measures.
pub(crate) async fn measure(world: &World, report: &mut Report) -> Result<()> {
    for _ in 0..world.effort.starts {
        // Side by side, so that what slows the machine down slows both.
        world.lay_nothing().await?;
        let near = starts(world).await?;
        let keyless = world.proxy_as_account().await?;
        let keyless_cpu = keyless.arcproxy.startup_cpu;
        keyless.stop().await?;
        world.emulator.lay(ROUND_TRIP, 0).await?;
        let far = starts(world).await?;
        report.add_one("start_ms", milliseconds(near.first));
        report.add_one("restart_ms", milliseconds(near.again));
        report.add_one("startup_cpu_ms", milliseconds(near.first_cpu));
        report.add_one("keyless_startup_cpu_ms", milliseconds(keyless_cpu));
        // Primes are found by luck: a few more keys than starts.
        for _ in 0..3 {
            report.add_one("key_ms", milliseconds(key()?));
        }
        report.add_one("start_rtts", round_trips(far.first, near.first));
        report.add_one("restart_rtts", round_trips(far.again, near.again));
    }
    world.lay_nothing().await
}

/// What the key alone takes to which the cluster's tokens are bound.
fn key() -> Result<Duration> {
    let started = Instant::now();
    PopKey::generate()?;
    Ok(started.elapsed())
}

async fn starts(world: &World) -> Result<Starts> {
    let home = tempfile::tempdir()?;
    let first = world.proxy_at_home(home.path()).await?;
    let (first_took, first_cpu) = (first.ready_after, first.startup_cpu);
    first.stop().await?;
    let again = world.proxy_at_home(home.path()).await?;
    let again_took = again.ready_after;
    again.stop().await?;
    Ok(Starts {
        first: first_took,
        again: again_took,
        first_cpu,
    })
}

/// What of `far` the path made, in round trips.
fn round_trips(far: Duration, near: Duration) -> f64 {
    (milliseconds(far) - milliseconds(near)) / milliseconds(ROUND_TRIP)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
