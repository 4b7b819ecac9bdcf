//! The `arcproxy` binary: hide, parse, run, return the exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Before there is a secret in it.
    arcproxy::secret::hide_memory();
    ExitCode::from(arcproxy::run(std::env::args_os()))
}
