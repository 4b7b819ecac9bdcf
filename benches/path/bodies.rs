//! Large bodies down and up, with the CPU time that they take.

use crate::Result;
use crate::client::Client;
use crate::process::Process;
use crate::report::Report;
use crate::requests::{Used, ratios};
use crate::world::World;

const MIB: u64 = 1 << 20;

/// Measures.
pub(crate) async fn measure(world: &World, report: &mut Report) -> Result<()> {
    let effort = &world.effort;
    let proxy = world.proxy().await?;
    let (arcproxy, emulator) = (proxy.arcproxy.process()?, world.emulator.process()?);
    let mut direct = Client::connect(&world.direct).await?;
    let mut proxied = Client::connect(&proxy.arcproxy.endpoint).await?;
    for client in [&mut direct, &mut proxied] {
        download(client, 8).await?;
        upload(client, 8).await?;
    }

    let (mut down, mut up) = ((Vec::new(), Vec::new()), (Vec::new(), Vec::new()));
    for round in 0..effort.body_rounds {
        // Each goes first in turn.
        let order = [round % 2 == 0, round % 2 != 0];
        for is_direct in order {
            if is_direct {
                let used = Used::from(&Process::this())?;
                down.0.push(download(&mut direct, effort.body_mib).await?);
                report.add_one("client_cpu_s_per_gib", per_gib(&used, effort.body_mib)?);
                continue;
            }
            let used = (Used::from(&arcproxy)?, Used::from(&emulator)?);
            down.1.push(download(&mut proxied, effort.body_mib).await?);
            report.add_one("cpu_s_per_gib", per_gib(&used.0, effort.body_mib)?);
            report.add_one("emulator_cpu_s_per_gib", per_gib(&used.1, effort.body_mib)?);
        }
        for is_direct in order {
            if is_direct {
                up.0.push(upload(&mut direct, effort.upload_mib).await?);
                continue;
            }
            let used = Used::from(&arcproxy)?;
            up.1.push(upload(&mut proxied, effort.upload_mib).await?);
            report.add_one("upload_cpu_s_per_gib", per_gib(&used, effort.upload_mib)?);
        }
    }
    report.add("body_ratio", ratios(&down.1, &down.0));
    report.add("upload_ratio", ratios(&up.1, &up.0));
    report.add("direct_body_mib_s", down.0);
    report.add("proxied_body_mib_s", down.1);
    report.add("direct_upload_mib_s", up.0);
    report.add("proxied_upload_mib_s", up.1);
    drop((direct, proxied));
    proxy.stop().await
}

/// Downloads `mib` MiB; gives MiB/s.
#[expect(clippy::cast_precision_loss, reason = "no body is that large")]
pub(crate) async fn download(client: &mut Client, mib: u64) -> Result<f64> {
    let path = format!("/arc-emulator/bytes/{}", mib * MIB);
    let (took, length) = client.get(&path).await?;
    if length != mib * MIB {
        return Err(format!("{length} bytes came in place of {}", mib * MIB).into());
    }
    Ok(mib as f64 / took.as_secs_f64())
}

/// Uploads `mib` MiB; gives MiB/s.
#[expect(clippy::cast_precision_loss, reason = "no body is that large")]
async fn upload(client: &mut Client, mib: u64) -> Result<f64> {
    let took = client.post("/arc-emulator/sink", mib * MIB).await?;
    Ok(mib as f64 / took.as_secs_f64())
}

#[expect(clippy::cast_precision_loss, reason = "no body is that large")]
fn per_gib(used: &Used, mib: u64) -> Result<f64> {
    Ok(used.so_far()?.as_secs_f64() * 1024.0 / mib as f64)
}
