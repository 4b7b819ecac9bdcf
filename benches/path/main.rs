//! What the path through arcproxy costs, against the same apiserver reached directly.
//!
//! `cargo bench --bench path` takes a few minutes, `-- --quick` under one. The emulator and
//! arcproxy run as processes of their own, this one is the client. docs/performance.md says what
//! each key means. A time never fails the run, however long it is: only a harness that does not
//! work does.

mod arcproxy;
mod binaries;
mod bodies;
mod client;
mod distance;
mod effort;
mod emulator;
mod exec;
mod far;
mod floors;
mod forwarder;
mod goals;
mod kubeconfig;
mod kubectl;
mod machine;
mod memory;
mod peer;
mod plot;
mod process;
mod report;
mod requests;
mod start;
mod statistics;
mod ways;
mod world;

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use tokio::time::timeout;

use crate::binaries::Binaries;
use crate::effort::Effort;
use crate::machine::Machine;
use crate::report::Report;
use crate::ways::Compared;
use crate::world::World;

/// Whatever keeps the harness from working.
type Error = Box<dyn std::error::Error + Send + Sync>;
type Result<T> = std::result::Result<T, Error>;

const ENVIRONMENT: &str = "\
Environment:
  ARCPROXY      arcproxy's binary, in place of building it for release
  ARC_EMULATOR  the emulator's";

/// Measures the path through arcproxy.
///
/// The environment can name binaries to take in place of building them.
#[derive(Debug, Parser)]
#[command(name = "path", after_help = ENVIRONMENT)]
struct Arguments {
    /// Shorter rounds and fewer of them
    #[arg(long)]
    quick: bool,

    /// Measure only these
    #[arg(long, value_enum, value_delimiter = ',', value_name = "GROUP")]
    only: Vec<Group>,

    /// Copies the plots to this folder
    #[arg(long, value_name = "FOLDER")]
    plots_to: Option<PathBuf>,

    /// Is a part of a measurement, which starts it
    #[arg(long = "as", value_enum, hide = true)]
    part: Option<Part>,

    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

/// What is measured together, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Group {
    Requests,
    Bodies,
    Memory,
    Start,
    Distance,
    /// What forwarders alone cost, in the rounds of the requests and of the bodies
    Floors,
}

/// What this binary also is.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Part {
    Forwarder,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where standard error is closed, there is nobody left to tell.
            let _ = writeln!(io::stderr().lock(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    if let Some(Part::Forwarder) = arguments.part {
        return forwarder::run();
    }
    let effort = if arguments.quick {
        Effort::QUICK
    } else {
        Effort::FULL
    };
    let groups = match arguments.only.as_slice() {
        [] => Group::value_variants(),
        only => only,
    };
    let binaries = Binaries::find()?;
    // One thread, so that a request's own cost is the same on both ways.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let report = runtime
        .block_on(async { timeout(effort.deadline, measure(binaries, effort, groups)).await })??;
    let json = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("bench/path.json");
    report.write(&json)?;
    let mut out = io::stdout().lock();
    writeln!(out, "{report}\nWritten to {}", json.display())?;
    for plot in plot::write(&report, &json.with_file_name(""))? {
        writeln!(out, "Drawn to {}", plot.display())?;
        if let (Some(folder), Some(name)) = (&arguments.plots_to, plot.file_name()) {
            fs::create_dir_all(folder)?;
            fs::copy(&plot, folder.join(name))?;
        }
    }
    Ok(())
}

async fn measure(binaries: Binaries, effort: Effort, groups: &[Group]) -> Result<Report> {
    let mut report = Report::new(&effort, Machine::now()?);
    report.add_one("binary_mib", binaries.arcproxy_mib()?);
    let world = World::start(binaries, effort).await?;
    let asked = |group| groups.contains(&group);
    let floors = asked(Group::Floors);
    if asked(Group::Requests) || floors {
        progress("requests")?;
        let compared = Compared {
            arcproxy: asked(Group::Requests),
            kubectl: asked(Group::Requests),
            floors,
        };
        requests::measure(&world, compared, &mut report).await?;
    }
    if asked(Group::Bodies) || floors {
        progress("bodies")?;
        let compared = Compared {
            arcproxy: asked(Group::Bodies),
            kubectl: false,
            floors,
        };
        bodies::measure(&world, compared, &mut report).await?;
    }
    if asked(Group::Memory) {
        progress("memory")?;
        memory::measure(&world, &mut report).await?;
    }
    if asked(Group::Start) {
        progress("starts")?;
        start::measure(&world, &mut report).await?;
    }
    if asked(Group::Distance) {
        progress("distance")?;
        distance::measure(&world, &mut report).await?;
    }
    world.stop().await?;
    report.finish(Machine::now()?);
    Ok(report)
}

fn progress(what: &str) -> io::Result<()> {
    writeln!(io::stderr().lock(), "measuring {what}")
}
