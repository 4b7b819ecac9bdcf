//! `arc-emulator soak`: a client under a mixed load while faults strike, and what became of every
//! request.
//!
//! The emulator and the player of the faults run on the main thread. The load has a thread of its
//! own, so that its deadlines measure the client. The two meet on the [`board`].

mod board;
mod client;
mod endpoint;
mod idle;
mod inject;
mod kind;
mod load;
mod names;
mod plan;
mod process;
mod random;
mod report;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_emulator::emulator::Emulator;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use board::Board;
use client::Client;
use endpoint::Endpoint;
use names::Names;
use process::{Process, Usage};
use report::Report;

pub(crate) use load::Size;

/// Whatever keeps a soak from running.
pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;

/// How long relay credentials and access tokens live, in seconds, unless a flag says so: short,
/// so that they are renewed all the time.
const RELAY_TOKEN_SECONDS: u64 = 60;
const ACCESS_TOKEN_SECONDS: u64 = 120;
/// How often the client's process is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How long the client may take to give back what it held for the load.
const SETTLE: Duration = Duration::from_secs(90);
/// How much more memory an idle connection may leave behind, and so many of them at most: as many
/// as the client lets in at a time without a token.
const LEFT_IDLE_KIB: u64 = 40;
/// How much more memory the client may hold in the second half of the load than in the first,
/// however large that is: more would be a leak.
const GROWTH_KIB: u64 = 16 << 10;
const IDLE: usize = 2_048;

/// What is asked for.
#[derive(Debug)]
pub(crate) struct Settings {
    /// How long the load lasts.
    pub(crate) lasts: Duration,
    pub(crate) seed: u64,
    pub(crate) client: PathBuf,
    pub(crate) size: Size,
    /// Local connections to open and leave alone.
    pub(crate) idle: usize,
    /// Where the report goes as JSON.
    pub(crate) json: Option<PathBuf>,
    /// Where the client's log goes.
    pub(crate) client_log: Option<PathBuf>,
}

/// Soaks. Gives the status to exit with: 1 if a request ended as none may.
///
/// # Errors
///
/// When the soak cannot run, or the client ends.
pub(crate) async fn run(emulator: &Emulator, settings: Settings) -> Result<u8, Error> {
    emulator.faults().update(|set| {
        set.relay_token_seconds.get_or_insert(RELAY_TOKEN_SECONDS);
        set.access_token_seconds.get_or_insert(ACCESS_TOKEN_SECONDS);
    });
    let kubeconfig = emulator
        .admin_kubeconfig()
        .ok_or("there is no apiserver of the emulator's own")?;
    let direct = Endpoint::read(kubeconfig)?;
    idle::make_room(settings.idle)?;
    let names = Names::new(emulator.cloud_file())?;
    if names.is_none() {
        tracing::warn!("this machine lets no client lose its names: they stay");
    }
    let log = settings.client_log.as_deref();
    let mut client = Client::start(&settings.client, emulator, names.as_ref(), log).await?;
    let process = client.process()?;
    let before = match process.usage() {
        Ok(usage) => usage,
        Err(error) => return Err(client.death().await.map_or(error, Into::into)),
    };
    let plan = plan::make(settings.seed, kind::Kind::ALL, settings.lasts);
    let board = Arc::new(Board::new(board::PATIENCE));
    let stop = CancellationToken::new();
    let (over, overs) = mpsc::unbounded_channel();
    let load = load::Plan {
        board: board.clone(),
        seed: settings.seed,
        size: settings.size,
        idle: settings.idle,
        proxied: client.endpoint()?,
        direct,
        over: overs,
        stop: stop.clone(),
    };
    let mut loaded = start(load)?;

    let mut samples = Vec::new();
    let watching = look(&process, &board, &mut samples);
    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut terminations = signal(SignalKind::terminate())?;
    let mut failed = None;
    let playing = async {
        inject::play(emulator, names.as_ref(), &board, plan, &over).await?;
        tokio::time::sleep(settings.lasts.saturating_sub(board.elapsed())).await;
        Ok::<_, Error>(())
    };
    let early = tokio::select! {
        played = playing => played.map(|()| false)?,
        ended = &mut loaded => {
            failed = Some(ended);
            false
        }
        () = watching => false,
        _ = interrupts.recv() => true,
        _ = terminations.recv() => true,
    };
    // An early end leaves faults in force: they would keep what is under way from ending.
    emulator.faults().update(|set| {
        *set = arc_emulator::faults::FaultSet {
            relay_token_seconds: set.relay_token_seconds,
            access_token_seconds: set.access_token_seconds,
            dialect: set.dialect,
            no_h2: set.no_h2,
            no_http1: set.no_http1,
            ..arc_emulator::faults::FaultSet::default()
        };
    });
    if let Some(names) = &names {
        names.set(true)?;
    }
    drop(over);
    stop.cancel();
    let ended = match failed {
        Some(ended) => ended,
        None => loaded.await,
    };
    if let Some(death) = client.death().await {
        return Err(death.into());
    }
    let (mut wrong, idle) = ended??;
    let may = may_be_left(&settings);
    let after = settled(&process, before, may).await?;
    wrong.extend(left(before, after, may).into_iter().chain(growth(&samples)));
    wrong.extend(client.stop().await?);
    let report = Report {
        seed: settings.seed,
        early,
        lasted: board.elapsed(),
        known: board.known(),
        wrong,
        idle,
        before,
        samples,
        after,
    };
    report.print()?;
    if let Some(path) = &settings.json {
        report.write(path)?;
    }
    Ok(u8::from(report.is_bad()))
}

/// Runs the load on a thread of its own.
fn start(load: load::Plan) -> Result<oneshot::Receiver<load::Ended>, Error> {
    let (sender, receiver) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::thread::Builder::new()
        .name("load".to_owned())
        .spawn(move || {
            // Whoever waited for it may have given up.
            let _ = sender.send(runtime.block_on(load::run(load)));
        })?;
    Ok(receiver)
}

/// Looks at the process again and again; returns once it has ended.
async fn look(process: &Process, board: &Board, samples: &mut Vec<(f64, Usage)>) {
    let mut pace = tokio::time::interval(LOOK);
    loop {
        pace.tick().await;
        let Ok(usage) = process.usage() else { return };
        samples.push((board.elapsed().as_secs_f64(), usage));
    }
}

/// What the process holds once it has given back what it will.
async fn settled(process: &Process, before: Usage, may: Usage) -> Result<Usage, Error> {
    let began = std::time::Instant::now();
    loop {
        let usage = process.usage()?;
        if left(before, usage, may).is_empty() || began.elapsed() > SETTLE {
            return Ok(usage);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// How much more than before may be left. Memory is as much as the load takes: an allocator gives
/// back what is on top of its heap, and keeps the rest for later.
fn may_be_left(settings: &Settings) -> Usage {
    let idle = settings.idle.min(IDLE) as u64;
    Usage {
        resident_kib: settings.size.left_kib + idle * LEFT_IDLE_KIB,
        threads: 4,
        descriptors: 8,
    }
}

/// What the process has kept of what it held for the load, if that is more than it `may`.
fn left(before: Usage, after: Usage, may: Usage) -> Vec<String> {
    let fields = [
        (
            "KiB of memory",
            before.resident_kib,
            after.resident_kib,
            may.resident_kib,
        ),
        ("threads", before.threads, after.threads, may.threads),
        (
            "descriptors",
            before.descriptors,
            after.descriptors,
            may.descriptors,
        ),
    ];
    fields
        .into_iter()
        .filter(|(_, before, after, left)| *after > before + left)
        .map(|(what, before, after, left)| {
            format!("the client holds {after} {what}, {before} before the load (and {left} more would do)")
        })
        .collect()
}

/// By how much the client went on to grow under the same load, if that is too much.
fn growth(samples: &[(f64, Usage)]) -> Option<String> {
    let (first, second) = samples.split_at(samples.len() / 2);
    let most = |samples: &[(f64, Usage)]| {
        let held = samples.iter().map(|(_, usage)| usage.resident_kib);
        held.max().unwrap_or_default()
    };
    let (before, after) = (most(first), most(second));
    (!first.is_empty() && after > before + GROWTH_KIB).then(|| {
        format!("the client held up to {before} KiB of memory in the first half and {after} in the second (and {GROWTH_KIB} more would do)")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_goes_on_growing_is_told() {
        let samples = |kib: &[u64]| -> Vec<_> {
            let usage = |resident_kib| Usage {
                resident_kib,
                threads: 1,
                descriptors: 1,
            };
            kib.iter().map(|kib| (0.0, usage(*kib))).collect()
        };
        assert_eq!(growth(&samples(&[])), None);
        assert_eq!(growth(&samples(&[9_000])), None);
        assert_eq!(growth(&samples(&[9_000, 60_000, 50_000, 70_000])), None);
        let told = growth(&samples(&[9_000, 60_000, 50_000, 80_000]));
        assert!(told.expect("it is told").contains("80000"));
    }
}
