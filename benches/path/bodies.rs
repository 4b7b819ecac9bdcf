//! Large bodies down and up, with the CPU time that they take.

use crate::Result;
use crate::client::Client;
use crate::process::Process;
use crate::report::Report;
use crate::requests::{Used, ratios};
use crate::ways::{Compared, Way, Ways};
use crate::world::World;

const MIB: u64 = 1 << 20;

/// One way to the apiserver, and how fast bodies were on it, in MiB/s.
struct Contender {
    way: Way,
    client: Client,
    down: Vec<f64>,
    up: Vec<f64>,
}

/// Measures.
pub(crate) async fn measure(world: &World, compared: Compared, report: &mut Report) -> Result<()> {
    let effort = &world.effort;
    let (ways, clients) = Ways::open(world, compared).await?;
    let (arcproxy, emulator) = (ways.arcproxy()?, world.emulator.process()?);
    let contenders = clients.into_iter().map(|(way, client)| Contender {
        way,
        client,
        down: Vec::new(),
        up: Vec::new(),
    });
    let mut contenders: Vec<_> = contenders.collect();
    for contender in &mut contenders {
        download(&mut contender.client, 8).await?;
        upload(&mut contender.client, 8).await?;
    }

    for _ in 0..effort.body_rounds {
        for contender in &mut contenders {
            let used = [&Process::this(), &emulator].map(Used::from);
            let ours = arcproxy.as_ref().map(Used::from).transpose()?;
            let speed = download(&mut contender.client, effort.body_mib).await?;
            contender.down.push(speed);
            let [client, emulator] = used;
            match (contender.way, ours) {
                (Way::Direct, _) => {
                    report.add_one("client_cpu_s_per_gib", per_gib(&client?, effort.body_mib)?);
                }
                (Way::Proxied, Some(ours)) => {
                    report.add_one("cpu_s_per_gib", per_gib(&ours, effort.body_mib)?);
                    report.add_one(
                        "emulator_cpu_s_per_gib",
                        per_gib(&emulator?, effort.body_mib)?,
                    );
                }
                _ => {}
            }
        }
        for contender in &mut contenders {
            let ours = arcproxy.as_ref().map(Used::from).transpose()?;
            let speed = upload(&mut contender.client, effort.upload_mib).await?;
            contender.up.push(speed);
            if let (Way::Proxied, Some(ours)) = (contender.way, ours) {
                report.add_one("upload_cpu_s_per_gib", per_gib(&ours, effort.upload_mib)?);
            }
        }
        // Each has every place in turn.
        contenders.rotate_left(1);
    }
    tell(&contenders, report);
    drop(contenders);
    ways.close().await
}

fn tell(contenders: &[Contender], report: &mut Report) {
    let of = |way| contenders.iter().find(|contender| contender.way == way);
    let Some(direct) = of(Way::Direct) else {
        return;
    };
    for (way, down, up) in [
        (Way::Proxied, "body_ratio", "upload_ratio"),
        (Way::Floor1, "floor1_body_ratio", "floor1_upload_ratio"),
        (Way::Floor3, "floor3_body_ratio", "floor3_upload_ratio"),
    ] {
        if let Some(contender) = of(way) {
            report.add(down, ratios(&contender.down, &direct.down));
            report.add(up, ratios(&contender.up, &direct.up));
        }
    }
    for (way, down, up) in [
        (Way::Direct, "direct_body_mib_s", "direct_upload_mib_s"),
        (Way::Proxied, "proxied_body_mib_s", "proxied_upload_mib_s"),
    ] {
        if let Some(contender) = of(way) {
            report.add(down, contender.down.iter().copied());
            report.add(up, contender.up.iter().copied());
        }
    }
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
