//! Starts: with nothing left of an earlier run and with what one left, near and far.

use std::time::Duration;

use crate::Result;
use crate::effort::ROUND_TRIP;
use crate::report::Report;
use crate::statistics::median;
use crate::world::World;

/// Milliseconds of some starts.
struct Starts {
    first: Vec<f64>,
    again: Vec<f64>,
    cpu: Vec<f64>,
}

/// Measures.
pub(crate) async fn measure(world: &World, report: &mut Report) -> Result<()> {
    let near = starts(world).await?;
    world.emulator.lay(ROUND_TRIP, 0).await?;
    let far = starts(world).await?;
    world.lay_nothing().await?;
    report.add("start_rtts", round_trips(&far.first, &near.first));
    report.add("restart_rtts", round_trips(&far.again, &near.again));
    report.add("start_ms", near.first);
    report.add("restart_ms", near.again);
    report.add("startup_cpu_ms", near.cpu);
    Ok(())
}

async fn starts(world: &World) -> Result<Starts> {
    let mut starts = Starts {
        first: Vec::new(),
        again: Vec::new(),
        cpu: Vec::new(),
    };
    for _ in 0..world.effort.starts {
        let home = tempfile::tempdir()?;
        let first = world.proxy_at_home(home.path()).await?;
        starts.first.push(milliseconds(first.ready_after));
        starts.cpu.push(milliseconds(first.startup_cpu));
        first.stop().await?;
        let again = world.proxy_at_home(home.path()).await?;
        starts.again.push(milliseconds(again.ready_after));
        again.stop().await?;
    }
    Ok(starts)
}

/// What of `far` the path made, in round trips.
fn round_trips(far: &[f64], near: &[f64]) -> Vec<f64> {
    let near = median(near).unwrap_or_default();
    far.iter()
        .map(|far| (far - near) / milliseconds(ROUND_TRIP))
        .collect()
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
