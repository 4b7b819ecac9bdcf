//! The load: what people and tools do to a cluster, all at once, through the client.

mod alive;
mod bodies;
mod echo;
mod lines;
mod logs;
mod probe;
mod request;
mod setup;
mod small;
#[cfg(test)]
mod tests;
mod watches;
mod write;

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method, header};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Error;
use super::board::Board;
use super::endpoint::{Endpoint, Line, whole};
use super::idle::{Crowd, Left};
use super::random::Random;

/// The namespace that everything happens in.
const NAMESPACE: &str = "soak";
/// How many watches share a connection, as those of one tool do.
const WATCHES_PER_LINE: usize = 50;
/// How many connections the small requests share.
const LINES: usize = 8;
/// How long what has been asked may take to end, once nothing more is asked.
const LAST: Duration = Duration::from_secs(45);

/// What a request was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Load {
    Get,
    List,
    Write,
    Download,
    SlowDownload,
    Upload,
    SlowUpload,
    Watch,
    Logs,
    Exec,
    Forward,
    /// A GET that looks whether a fault is over.
    Probe,
}

impl Load {
    /// What the table calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Write => "write",
            Self::Download => "download",
            Self::SlowDownload => "slow download",
            Self::Upload => "upload",
            Self::SlowUpload => "slow upload",
            Self::Watch => "watch",
            Self::Logs => "logs -f",
            Self::Exec => "exec",
            Self::Forward => "port-forward",
            Self::Probe => "probe",
        }
    }
}

/// How much of each there is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    watches: usize,
    /// Small requests a second.
    requests: u64,
    execs: usize,
    forwards: usize,
    logs: usize,
    /// Large bodies at a time: down and up, fast and slow each.
    bodies: usize,
    /// How much more memory than before the client may be left with.
    pub(crate) left_kib: u64,
}

impl Size {
    /// What two busy cores carry in good comfort.
    pub(crate) const USUAL: Self = Self {
        watches: 100,
        requests: 30,
        execs: 4,
        forwards: 3,
        logs: 4,
        bodies: 1,
        left_kib: 48 << 10,
    };
    /// A busy platform team.
    pub(crate) const FULL: Self = Self {
        watches: 1_000,
        requests: 200,
        execs: 20,
        forwards: 10,
        logs: 10,
        bodies: 2,
        left_kib: 96 << 10,
    };
}

/// What all of the load shares.
#[derive(Debug)]
struct Shared {
    board: Arc<Board>,
    seed: u64,
    proxied: Arc<Endpoint>,
    lines: Vec<Arc<Line>>,
    ledger: write::Ledger,
    /// Nothing more is asked.
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Shared {
    /// A connection for the request of that number: one in ten has its own, as kubectl's have.
    fn line(&self, number: u64) -> Arc<Line> {
        let index = usize::try_from(number).unwrap_or_default();
        if number % 10 == 9 {
            return Arc::new(Line::new(self.proxied.clone()));
        }
        self.lines[index % self.lines.len()].clone()
    }

    fn random(&self, purpose: u64) -> Random {
        Random::new(self.seed, 1_000 + purpose)
    }

    /// Repeats `work` until the end, with a breath in between.
    fn repeat<F>(
        self: &Arc<Self>,
        purpose: u64,
        work: impl Fn(Arc<Self>, Random) -> F + Send + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let shared = self.clone();
        let mut random = self.random(purpose);
        let stop = self.stop.clone();
        let working = async move {
            loop {
                tokio::time::sleep(random.time(50, 500)).await;
                let seed = random.next();
                work(shared.clone(), Random::new(seed, purpose)).await;
            }
        };
        self.tasks
            .spawn(async move { stop.run_until_cancelled_owned(working).await });
    }
}

/// The load, before it runs.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) board: Arc<Board>,
    pub(crate) seed: u64,
    pub(crate) size: Size,
    /// Local connections to open and leave alone.
    pub(crate) idle: usize,
    /// Through the client.
    pub(crate) proxied: Endpoint,
    /// Straight to the apiserver.
    pub(crate) direct: Endpoint,
    /// Tells of each fault that is over.
    pub(crate) over: mpsc::UnboundedReceiver<usize>,
    pub(crate) stop: CancellationToken,
}

/// What is wrong with what was written, and what became of the idle connections.
pub(crate) type Ended = Result<(Vec<String>, Left), Error>;

/// Runs the load until it is told to stop; when this returns, all its connections are closed.
/// Gives what is wrong with what was written, and what became of the idle connections.
///
/// # Errors
///
/// When the cluster cannot be set up or looked at, straight at the apiserver.
pub(crate) async fn run(plan: Plan) -> Ended {
    let direct = Arc::new(Line::new(Arc::new(plan.direct)));
    let tickers = setup::prepare(&direct).await?;
    let proxied = Arc::new(plan.proxied);
    let line = || Arc::new(Line::new(proxied.clone()));
    let shared = Arc::new(Shared {
        board: plan.board,
        seed: plan.seed,
        lines: (0..LINES).map(|_| line()).collect(),
        proxied: proxied.clone(),
        ledger: write::Ledger::default(),
        stop: plan.stop.clone(),
        tasks: TaskTracker::new(),
    });
    let size = plan.size;
    setup::tick(&shared, &direct);
    let mut watch_line = line();
    for number in 0..size.watches {
        if number % WATCHES_PER_LINE == 0 {
            watch_line = line();
        }
        let ticker = tickers[number % tickers.len()].clone();
        watches::keep(&shared, number as u64, watch_line.clone(), ticker);
    }
    requests(&shared, size.requests);
    for number in 0..size.execs as u64 {
        shared.repeat(10_000 + number, echo::exec);
    }
    for number in 0..size.forwards as u64 {
        shared.repeat(20_000 + number, echo::forward);
    }
    for number in 0..size.logs as u64 {
        shared.repeat(30_000 + number, logs::follow);
    }
    for number in 0..size.bodies as u64 {
        shared.repeat(40_000 + number, bodies::download);
        shared.repeat(50_000 + number, bodies::slow_download);
        shared.repeat(60_000 + number, bodies::upload);
        shared.repeat(70_000 + number, bodies::slow_upload);
    }
    probe::keep(&shared, plan.over);
    let mut crowd = Crowd::default();
    let growing = crowd.grow(&proxied, plan.idle);
    plan.stop.run_until_cancelled(growing).await;
    plan.stop.cancelled().await;
    let left = crowd.left();
    drop(crowd);
    shared.tasks.close();
    // What is still under way is judged as usual; what is stuck has been judged by then.
    let _ = tokio::time::timeout(LAST, shared.tasks.wait()).await;
    let mut wrong = write::audit(&shared.ledger, &direct).await?;
    wrong.extend(bodies::audit(&direct).await?);
    Ok((wrong, left))
}

/// Makes small requests at an even pace, whatever becomes of them.
fn requests(shared: &Arc<Shared>, rate: u64) {
    let mut random = shared.random(1);
    let own = shared.clone();
    let pacing = async move {
        let mut pace =
            tokio::time::interval(Duration::from_secs(1) / u32::try_from(rate).unwrap_or(1));
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        for number in 0.. {
            pace.tick().await;
            let shared = own.clone();
            let (choice, object) = (random.between(0, 100), random.between(0, small::OBJECTS));
            let limit = random.between(0, 2) * 7;
            own.tasks.spawn(async move {
                match choice {
                    // One sequence makes five requests.
                    0..5 => write::sequence(&shared, number).await,
                    5..15 => small::list(&shared, number, limit).await,
                    _ => {
                        small::get(&shared, number, object, Load::Get).await;
                    }
                }
            });
        }
    };
    let stop = shared.stop.clone();
    shared
        .tasks
        .spawn(async move { stop.run_until_cancelled_owned(pacing).await });
}

/// Asks the apiserver itself, which always answers.
async fn direct(
    line: &Line,
    method: Method,
    path: &str,
    body: Option<(&Value, &'static str)>,
) -> Result<Value, Error> {
    let bytes = body.map(|(body, _)| body.to_string()).unwrap_or_default();
    let mut request = line.endpoint().request(method.clone(), path, whole(bytes));
    if let Some((_, media_type)) = body {
        let value = HeaderValue::from_static(media_type);
        request.headers_mut().insert(header::CONTENT_TYPE, value);
    }
    let answer = request::send(line, request, &alive::Alive::new()).await;
    let answer = answer.map_err(|verdict| format!("{method} {path}: {verdict:?}"))?;
    if !answer.status.is_success() {
        let body = String::from_utf8_lossy(&answer.body);
        return Err(format!("{method} {path}: {}: {body}", answer.status).into());
    }
    Ok(serde_json::from_slice(&answer.body)?)
}
