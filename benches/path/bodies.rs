//! Large bodies down and up, with the CPU time that they take.

use crate::Result;
use crate::client::Client;
use crate::report::Report;
use crate::requests::{Used, ratios};
use crate::ways::{Compared, Open, Way, Ways};
use crate::world::World;

const MIB: u64 = 1 << 20;

/// One way to the apiserver, and how fast bodies were on it, in MiB/s.
struct Contender {
    open: Open,
    down: Vec<f64>,
    up: Vec<f64>,
}

/// Measures.
pub(crate) async fn measure(world: &World, compared: Compared, report: &mut Report) -> Result<()> {
    let effort = &world.effort;
    let (ways, open) = Ways::open(world, compared).await?;
    let emulator = world.emulator.process()?;
    let contenders = open.into_iter().map(|open| Contender {
        open,
        down: Vec::new(),
        up: Vec::new(),
    });
    let mut contenders: Vec<_> = contenders.collect();
    for Contender { open, .. } in &mut contenders {
        download(&mut open.client, 8).await?;
        upload(&mut open.client, 8).await?;
    }

    for _ in 0..effort.body_rounds {
        for Contender { open, down, .. } in &mut contenders {
            let used = Used::from(&open.process)?;
            let emulator = Used::from(&emulator)?;
            down.push(download(&mut open.client, effort.body_mib).await?);
            if let Some(key) = cpu_key(open.way) {
                report.add_one(key, per_gib(&used, effort.body_mib)?);
            }
            if open.way == Way::Proxied {
                report.add_one(
                    "emulator_cpu_s_per_gib",
                    per_gib(&emulator, effort.body_mib)?,
                );
            }
        }
        for Contender { open, up, .. } in &mut contenders {
            let used = Used::from(&open.process)?;
            let emulator = Used::from(&emulator)?;
            up.push(upload(&mut open.client, effort.upload_mib).await?);
            if let Some(key) = upload_cpu_key(open.way) {
                report.add_one(key, per_gib(&used, effort.upload_mib)?);
            }
            if open.way == Way::Proxied {
                report.add_one(
                    "emulator_upload_cpu_s_per_gib",
                    per_gib(&emulator, effort.upload_mib)?,
                );
            }
        }
        // Each has every place in turn.
        contenders.rotate_left(1);
    }
    tell(&contenders, report);
    drop(contenders);
    ways.close().await
}

/// What the CPU time of a way's process is called.
fn cpu_key(way: Way) -> Option<&'static str> {
    match way {
        Way::Direct => Some("client_cpu_s_per_gib"),
        Way::Proxied => Some("cpu_s_per_gib"),
        Way::Floor3 => Some("floor3_cpu_s_per_gib"),
        Way::Kubectl | Way::Floor1 => None,
    }
}

/// The same of a body up.
fn upload_cpu_key(way: Way) -> Option<&'static str> {
    match way {
        Way::Proxied => Some("upload_cpu_s_per_gib"),
        Way::Floor3 => Some("floor3_upload_cpu_s_per_gib"),
        Way::Direct | Way::Kubectl | Way::Floor1 => None,
    }
}

fn tell(contenders: &[Contender], report: &mut Report) {
    let of = |way| {
        contenders
            .iter()
            .find(|contender| contender.open.way == way)
    };
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
