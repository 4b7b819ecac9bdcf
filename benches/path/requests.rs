//! Small requests over a warm path: latency, throughput, CPU time.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::Result;
use crate::client::Client;
use crate::effort::CONCURRENT;
use crate::process::Process;
use crate::report::Report;
use crate::statistics::{Curve, quantile};
use crate::ways::{Compared, Open, Way, Ways};
use crate::world::{SMALL, World};

/// One way to the apiserver, and what was measured on it.
struct Contender {
    way: Way,
    client: Client,
    process: Process,
    p50: Vec<f64>,
    p99: Vec<f64>,
    /// In microseconds, of all rounds.
    latencies: Vec<f64>,
    per_second: Vec<f64>,
}

/// What is told of a contender.
type Figures = fn(&Contender) -> &Vec<f64>;

const P50: Figures = |contender| &contender.p50;
const P99: Figures = |contender| &contender.p99;
const PER_SECOND: Figures = |contender| &contender.per_second;

/// Compared with the direct way.
const RATIOS: [(&str, Way, Figures); 10] = [
    ("warm_p50_ratio", Way::Proxied, P50),
    ("warm_p99_ratio", Way::Proxied, P99),
    ("kubectl_proxy_p50_ratio", Way::Kubectl, P50),
    ("rps32_ratio", Way::Proxied, PER_SECOND),
    ("floor1_p50_ratio", Way::Floor1, P50),
    ("floor1_p99_ratio", Way::Floor1, P99),
    ("floor1_rps32_ratio", Way::Floor1, PER_SECOND),
    ("floor3_p50_ratio", Way::Floor3, P50),
    ("floor3_p99_ratio", Way::Floor3, P99),
    ("floor3_rps32_ratio", Way::Floor3, PER_SECOND),
];

const ABSOLUTE: [(&str, Way, Figures); 7] = [
    ("direct_p50_us", Way::Direct, P50),
    ("proxied_p50_us", Way::Proxied, P50),
    ("direct_p99_us", Way::Direct, P99),
    ("proxied_p99_us", Way::Proxied, P99),
    ("kubectl_proxy_p50_us", Way::Kubectl, P50),
    ("direct_rps32", Way::Direct, PER_SECOND),
    ("proxied_rps32", Way::Proxied, PER_SECOND),
];

const CURVES: [(&str, Way); 3] = [
    ("direct", Way::Direct),
    ("arcproxy", Way::Proxied),
    ("kubectl proxy", Way::Kubectl),
];

/// Measures.
pub(crate) async fn measure(world: &World, compared: Compared, report: &mut Report) -> Result<()> {
    let effort = &world.effort;
    let (ways, open) = Ways::open(world, compared).await?;
    let emulator = world.emulator.process()?;
    let mut contenders: Vec<_> = open.into_iter().map(Contender::new).collect();
    for contender in &mut contenders {
        contender.one_by_one(effort.requests / 2).await?;
    }
    for contender in &mut contenders {
        contender.forget();
    }

    for _ in 0..effort.rounds {
        for contender in &mut contenders {
            let used = Used::from(&contender.process)?;
            contender.one_by_one(effort.requests).await?;
            if contender.way == Way::Proxied {
                report.add_one("cpu_us_per_lone_request", used.per(effort.requests)?);
            }
        }
        // Each has every place in turn.
        contenders.rotate_left(1);
    }
    let sent = effort.concurrent_requests / CONCURRENT * CONCURRENT;
    for _ in 0..effort.rounds {
        for contender in &mut contenders {
            if contender.way == Way::Kubectl {
                continue;
            }
            let used = Used::from(&contender.process)?;
            let emulator = Used::from(&emulator)?;
            contender.at_once(sent).await?;
            if let Some(key) = cpu_key(contender.way) {
                report.add_one(key, used.per(sent)?);
            }
            if contender.way == Way::Proxied {
                report.add_one("emulator_cpu_us_per_request", emulator.per(sent)?);
            }
        }
        contenders.rotate_left(1);
    }
    tell(&contenders, report);
    drop(contenders);
    ways.close().await
}

/// What the CPU time of a way's process is called.
fn cpu_key(way: Way) -> Option<&'static str> {
    match way {
        Way::Direct => Some("client_cpu_us_per_request"),
        Way::Proxied => Some("cpu_us_per_request"),
        Way::Floor3 => Some("floor3_cpu_us_per_request"),
        Way::Kubectl | Way::Floor1 => None,
    }
}

fn tell(contenders: &[Contender], report: &mut Report) {
    let of = |way| contenders.iter().find(|contender| contender.way == way);
    for (key, way, figures) in RATIOS {
        if let (Some(contender), Some(direct)) = (of(way), of(Way::Direct)) {
            report.add(key, ratios(figures(contender), figures(direct)));
        }
    }
    for (key, way, figures) in ABSOLUTE {
        if let Some(contender) = of(way) {
            report.add(key, figures(contender).iter().copied());
        }
    }
    for (name, way) in CURVES {
        if let Some(contender) = of(way) {
            report.add_curve(Curve::of(name, &contender.latencies));
        }
    }
}

/// Round by round: what slows the machine down slows both sides of a round.
pub(crate) fn ratios(ours: &[f64], direct: &[f64]) -> Vec<f64> {
    ours.iter()
        .zip(direct)
        .map(|(ours, direct)| ours / direct)
        .collect()
}

impl Contender {
    fn new(open: Open) -> Self {
        Self {
            way: open.way,
            client: open.client,
            process: open.process,
            p50: Vec::new(),
            p99: Vec::new(),
            latencies: Vec::new(),
            per_second: Vec::new(),
        }
    }

    fn forget(&mut self) {
        self.p50.clear();
        self.p99.clear();
        self.latencies.clear();
    }

    async fn one_by_one(&mut self, requests: usize) -> Result<()> {
        let mut samples = Vec::with_capacity(requests);
        for _ in 0..requests {
            let (took, _) = self.client.get(SMALL).await?;
            samples.push(took.as_secs_f64() * 1e6);
        }
        self.p50.extend(quantile(&samples, 50, 100));
        self.p99.extend(quantile(&samples, 99, 100));
        self.latencies.append(&mut samples);
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "nobody sends that many")]
    async fn at_once(&mut self, requests: usize) -> Result<()> {
        let each = requests / CONCURRENT;
        let started = Instant::now();
        let mut senders = JoinSet::new();
        for _ in 0..CONCURRENT {
            let mut client = self.client.share()?;
            senders.spawn(async move {
                for _ in 0..each {
                    client.get(SMALL).await?;
                }
                Result::Ok(())
            });
        }
        while let Some(ended) = senders.join_next().await {
            ended??;
        }
        self.per_second
            .push(requests as f64 / started.elapsed().as_secs_f64());
        Ok(())
    }
}

/// CPU time from a moment on.
pub(crate) struct Used {
    process: Process,
    before: Duration,
}

impl Used {
    /// From now on.
    pub(crate) fn from(process: &Process) -> Result<Self> {
        Ok(Self {
            process: process.clone(),
            before: process.cpu()?,
        })
    }

    /// Until now.
    pub(crate) fn so_far(&self) -> Result<Duration> {
        Ok(self.process.cpu()?.saturating_sub(self.before))
    }

    #[expect(clippy::cast_precision_loss, reason = "nobody sends that many")]
    fn per(&self, requests: usize) -> Result<f64> {
        Ok(self.so_far()?.as_secs_f64() * 1e6 / requests as f64)
    }
}
