//! Entra, ARM and the whole emulator, seen from outside over real TLS.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod apps;
mod arm;
mod client;
#[cfg(unix)]
mod command;
mod control;
mod discovery;
mod lifecycle;
mod people;
#[cfg(unix)]
mod soak;
