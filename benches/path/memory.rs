//! Memory of a process that waits, and of one that carries watches.

use crate::Result;
use crate::client::Client;
use crate::effort::WATCHES;
use crate::report::Report;
use crate::world::{SMALL, World};

const WATCH: &str = "/api/v1/namespaces/demo/configmaps?watch=true";

/// Measures.
#[expect(clippy::cast_precision_loss, reason = "1,000 watches are few")]
pub(crate) async fn measure(world: &World, report: &mut Report) -> Result<()> {
    for _ in 0..world.effort.memory_rounds {
        let proxy = world.proxy().await?;
        let process = proxy.arcproxy.process()?;
        let mut client = Client::connect(&proxy.arcproxy.endpoint).await?;
        client.get(SMALL).await?;
        let idle = process.resident_mib()?;
        let mut watches = Vec::with_capacity(WATCHES);
        for _ in 0..WATCHES {
            watches.push(client.open(WATCH).await?);
        }
        // It comes after everything that the watches had to say at once.
        client.get(SMALL).await?;
        let watching = process.resident_mib()?;
        let tunnels = world.emulator.relay("open_tunnels").await?;
        report.add_one("rss_idle_mib", idle);
        report.add_one("rss_1000_watches_mib", watching);
        report.add_one("watch_kib", (watching - idle) * 1024.0 / WATCHES as f64);
        report.add_one("tunnels_for_1000_watches", tunnels as f64);
        drop((watches, client));
        proxy.stop().await?;
    }
    Ok(())
}
