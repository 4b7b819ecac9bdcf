//! `arc-emulator`: a whole Azure Arc on one machine, as a command.

mod cli;
mod exec;
mod serve_command;
mod soak;

use std::io::Write as _;
use std::process::ExitCode;

use arc_emulator::emulator::{Builder, Emulator};
use clap::Parser as _;
use tracing_subscriber::Layer as _;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::cli::{Cli, Command, LoadSize, Settings, SoakArgs};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_writer(std::io::stderr);
    tracing_subscriber::registry()
        .with(lines.with_filter(cli.settings.log_filter()))
        .init();
    match run(cli) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            // Where standard error is closed, there is nobody left to tell.
            let _ = writeln!(std::io::stderr().lock(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<u8, soak::Error> {
    // One thread: the parts wait for each other more than they work, and to wake a second thread
    // costs as much as what it would take over.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let seed = cli.settings.seed;
        let emulator = builder(cli.settings).start().await?;
        let status = match cli.command.unwrap_or(Command::Serve) {
            Command::Serve => serve_command::until_stopped(&emulator)
                .await
                .map(|()| 0)
                .map_err(Into::into),
            Command::Exec { command } => exec::run(&emulator, &command).await.map_err(Into::into),
            Command::Soak(arguments) => soak::run(&emulator, soak_settings(seed, arguments)).await,
        };
        emulator.stop().await;
        status
    })
}

fn soak_settings(seed: u64, arguments: SoakArgs) -> soak::Settings {
    soak::Settings {
        lasts: arguments.minutes,
        seed,
        client: arguments.client,
        size: match arguments.load {
            LoadSize::Usual => soak::Size::USUAL,
            LoadSize::Full => soak::Size::FULL,
        },
        idle: arguments.idle_connections,
        json: arguments.json,
        client_log: arguments.client_log,
    }
}

fn builder(settings: Settings) -> Builder {
    Emulator::builder()
        .seed(settings.seed)
        .faults(settings.faults())
        .upstream(settings.upstream)
}
