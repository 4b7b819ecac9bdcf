//! arcproxy: the client side of Azure Arc cluster connect.
//!
//! The map of the house; arrows point at what is used, and nothing points back.
//!
//! ```text
//! main ──▶ commands ──┬─▶ proxy       listener, gate, forward, upgrade, respond
//!                     ├─▶ session     what is valid now, and its refreshing
//!                     ├─▶ kubeconfig  child
//!                     ├─▶ remembered  what one run leaves for the next
//!                     ├─▶ tunnel      dialect, inner TLS, HTTP connections, pool
//!                     ├─▶ azure       cloud, sign-in, proof of possession, ARM
//!                     ├─▶ relay       a hybrid connection as a byte stream
//!                     └─▶ net         names, TCP, TLS roots, the HTTPS client
//! ```
//!
//! [`cli`] and [`settings`] only turn arguments into valid settings; [`printer`] is the only
//! writer of stdout and stderr; [`error`] is the catalogue of failures. A request walks once
//! through the house: listener → gate → forward → pool → connection → relay stream, and its
//! answer the same way back.

pub mod azure;
mod ber;
pub mod child;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod error;
mod files;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod kubeconfig;
pub mod net;
pub mod printer;
pub mod proxy;
pub mod relay;
pub mod remembered;
pub mod secret;
pub mod session;
pub mod settings;
pub mod shutdown;
pub mod tunnel;
pub mod whole;

use std::ffi::OsString;
use std::time::Duration;

use tokio::runtime::Runtime;

use crate::cli::{Cli, Instead};
use crate::error::{Code, Error};
use crate::printer::{Printer, Stdout};
use crate::settings::{Environment, Settings, Target, Telling};

/// How long files that are being written at the end have.
const LAST_WRITES: Duration = Duration::from_millis(200);

/// Runs the program with `arguments` (its own name first) and returns its exit code.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let arguments: Vec<_> = arguments.into_iter().collect();
    if let Some(error) = child::stage(&arguments) {
        printer::failed(&error);
        return error.code().exit_code();
    }
    let cli = match Cli::read(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            printer::clap(&error);
            return u8::try_from(error.exit_code()).unwrap_or(Code::Usage.exit_code());
        }
    };
    let telling = Telling::new(&cli);
    let taken = !cli.command.is_empty()
        || cli
            .file
            .as_deref()
            .is_some_and(|file| file.as_os_str() == "-");
    let printer = Printer::new(telling, if taken { Stdout::Taken } else { Stdout::Events });
    match printer.start_log().and_then(|()| begin(cli, printer)) {
        Ok(code) => code,
        Err(error) => {
            printer.fail(&error);
            error.code().exit_code()
        }
    }
}

fn begin(cli: Cli, printer: Printer) -> Result<u8, Error> {
    let environment = Environment::process();
    if let Some(Instead::Logout) = cli.instead {
        let kept = settings::kept(&environment);
        return runtime()?.block_on(commands::logout(&kept, printer));
    }
    if cli.token_is_shown {
        printer.warn(
            "process lists show the token to every user of this machine: give it with --token-file, \
             with --token-file - on stdin, or in the environment as ARCPROXY_TOKEN",
        );
    }
    let settings = Settings::new(cli, &environment)?;
    if let (Target::Stdout, cli::Format::Json) = (&settings.target, printer.output()) {
        return Err(Error::new(Code::Usage, "-f - and -o json both want stdout")
            .hinted("write the kubeconfig to a file, or leave -o json out"));
    }
    let runtime = runtime()?;
    let code = runtime.block_on(commands::connect(settings, printer));
    // A small file that is being written is whole a moment later. A read of stdin, or a resolver that
    // does not answer, may be on its way still, and is not waited for.
    runtime.shutdown_timeout(LAST_WRITES);
    code
}

/// One thread: a request passes through several tasks, and to wake one where the last one ran takes
/// less CPU time. docs/performance.md has the figures.
fn runtime() -> Result<Runtime, Error> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::new(Code::Unexpected, "cannot start").caused_by(&error))
}
