//! `arc-emulator`: a whole Azure Arc on one machine, as a command.

mod cli;
mod exec;
mod serve_command;

use std::io::Write as _;
use std::process::ExitCode;

use arc_emulator::emulator::{Builder, Emulator};
use clap::Parser as _;
use tracing_subscriber::Layer as _;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::cli::{Cli, Command, Settings};

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

fn run(cli: Cli) -> Result<u8, Box<dyn std::error::Error>> {
    // One thread: the parts wait for each other more than they work, and to wake a second thread
    // costs as much as what it would take over.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let emulator = builder(cli.settings).start().await?;
        let status = match cli.command.unwrap_or(Command::Serve) {
            Command::Serve => serve_command::until_stopped(&emulator).await.map(|()| 0),
            Command::Exec { command } => exec::run(&emulator, &command).await,
        };
        emulator.stop().await;
        Ok(status?)
    })
}

fn builder(settings: Settings) -> Builder {
    Emulator::builder()
        .seed(settings.seed)
        .faults(settings.faults())
        .upstream(settings.upstream)
}
