//! Why an emulator does not start.

use std::io;

use crate::{faults, tls, upstream};

/// Why an emulator does not start.
#[derive(Debug)]
pub enum Error {
    /// A part could not start, or a file could not be written.
    Io(io::Error),
    /// A certificate could not be made.
    Tls(tls::Error),
    /// The faults to start with cannot be played.
    Faults(faults::Invalid),
    /// The kubeconfig of the real cluster is of no use.
    Upstream(upstream::Error),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(error) => write!(f, "cannot start: {error}"),
            Self::Tls(error) => write!(f, "cannot make a certificate: {error}"),
            Self::Faults(error) => write!(f, "cannot start with these faults: {error}"),
            Self::Upstream(error) => write!(f, "cannot use the upstream kubeconfig: {error}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<faults::Invalid> for Error {
    fn from(error: faults::Invalid) -> Self {
        Self::Faults(error)
    }
}

impl From<tls::Error> for Error {
    fn from(error: tls::Error) -> Self {
        Self::Tls(error)
    }
}
