//! Small requests over a warm path: latency, throughput, CPU time.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::Result;
use crate::client::Client;
use crate::effort::CONCURRENT;
use crate::kubectl::KubectlProxy;
use crate::process::Process;
use crate::report::Report;
use crate::statistics::{Curve, quantile};
use crate::world::{SMALL, World};

/// One way to the apiserver.
struct Contender {
    way: Way,
    client: Client,
    p50: Vec<f64>,
    p99: Vec<f64>,
    /// In microseconds, of all rounds.
    latencies: Vec<f64>,
    per_second: Vec<f64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Direct,
    Proxied,
    Kubectl,
}

/// Measures.
pub(crate) async fn measure(world: &World, report: &mut Report) -> Result<()> {
    let effort = &world.effort;
    let proxy = world.proxy().await?;
    let (arcproxy, emulator) = (proxy.arcproxy.process()?, world.emulator.process()?);
    let client = Process::this();
    let kubectl = KubectlProxy::start(&world.emulator.kubeconfig()?).await?;
    let mut contenders = vec![
        Contender::new(Way::Direct, Client::connect(&world.direct).await?),
        Contender::new(
            Way::Proxied,
            Client::connect(&proxy.arcproxy.endpoint).await?,
        ),
    ];
    if let Some(kubectl) = &kubectl {
        let client = Client::connect_plain(kubectl.address).await?;
        contenders.push(Contender::new(Way::Kubectl, client));
    }
    for contender in &mut contenders {
        contender.one_by_one(effort.requests / 2).await?;
    }
    for contender in &mut contenders {
        contender.forget();
    }

    for _ in 0..effort.rounds {
        for contender in &mut contenders {
            let used = Used::from(&arcproxy)?;
            contender.one_by_one(effort.requests).await?;
            if contender.way == Way::Proxied {
                report.add_one("cpu_us_per_lone_request", used.per(effort.requests)?);
            }
        }
        // Each goes first, in the middle and last in turn.
        contenders.rotate_left(1);
    }
    let sent = effort.concurrent_requests / CONCURRENT * CONCURRENT;
    for _ in 0..effort.rounds {
        for contender in &mut contenders {
            if contender.way == Way::Kubectl {
                continue;
            }
            let used = [&arcproxy, &emulator, &client].map(Used::from);
            let [arcproxy, emulator, client] = used;
            contender.at_once(sent).await?;
            if contender.way == Way::Proxied {
                report.add_one("cpu_us_per_request", arcproxy?.per(sent)?);
                report.add_one("emulator_cpu_us_per_request", emulator?.per(sent)?);
            } else {
                report.add_one("client_cpu_us_per_request", client?.per(sent)?);
            }
        }
        contenders.rotate_left(1);
    }
    tell(&contenders, report);
    drop(contenders);
    proxy.stop().await
}

fn tell(contenders: &[Contender], report: &mut Report) {
    let of = |way| contenders.iter().find(|contender| contender.way == way);
    let (Some(direct), Some(proxied)) = (of(Way::Direct), of(Way::Proxied)) else {
        return;
    };
    report.add("warm_p50_ratio", ratios(&proxied.p50, &direct.p50));
    report.add("warm_p99_ratio", ratios(&proxied.p99, &direct.p99));
    report.add(
        "rps32_ratio",
        ratios(&proxied.per_second, &direct.per_second),
    );
    for (key, samples) in [
        ("direct_p50_us", &direct.p50),
        ("proxied_p50_us", &proxied.p50),
        ("direct_p99_us", &direct.p99),
        ("proxied_p99_us", &proxied.p99),
        ("direct_rps32", &direct.per_second),
        ("proxied_rps32", &proxied.per_second),
    ] {
        report.add(key, samples.iter().copied());
    }
    if let Some(kubectl) = of(Way::Kubectl) {
        report.add("kubectl_proxy_p50_ratio", ratios(&kubectl.p50, &direct.p50));
        report.add("kubectl_proxy_p50_us", kubectl.p50.iter().copied());
    }
    for (way, name) in [
        (Way::Direct, "direct"),
        (Way::Proxied, "arcproxy"),
        (Way::Kubectl, "kubectl proxy"),
    ] {
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
    fn new(way: Way, client: Client) -> Self {
        Self {
            way,
            client,
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
