//! The `arcproxy` binary: parse, run, return the exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(arcproxy::run(std::env::args_os()))
}
