//! Stub.

use std::sync::Arc;

/// A pod.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PodRef {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
}

/// A container.
#[derive(Debug, Clone, Default)]
pub struct ContainerSpec {
    /// Name.
    pub name: String,
    /// Image.
    pub image: String,
    /// Command.
    pub command: Vec<String>,
    /// Arguments.
    pub args: Vec<String>,
    /// Environment.
    pub env: Vec<(String, String)>,
    /// Ports.
    pub ports: Vec<u16>,
    /// Terminal.
    pub tty: bool,
    /// Standard input.
    pub stdin: bool,
}

/// Log options.
#[derive(Debug, Clone, Default)]
pub struct LogOptions {
    /// Follow.
    pub follow: bool,
    /// Previous.
    pub previous: bool,
    /// Tail.
    pub tail_lines: Option<usize>,
    /// Since.
    pub since_seconds: Option<u64>,
    /// Timestamps.
    pub timestamps: bool,
    /// Limit.
    pub limit_bytes: Option<usize>,
}

/// Runtime.
#[derive(Debug, Default)]
pub struct Runtime {}

impl Runtime {
    /// New.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {})
    }

    /// Start.
    pub fn start_pod(&self, pod: PodRef, containers: Vec<ContainerSpec>) {
        let _ = (pod, containers, self);
    }

    /// Stop.
    pub fn stop_pod(&self, uid: &str) {
        let _ = (uid, self);
    }

    /// Logs.
    pub fn logs(
        &self,
        uid: &str,
        container: &str,
        options: LogOptions,
    ) -> Option<crate::http::Body> {
        let _ = (uid, options, self);
        Some(crate::http::full(format!("log of {container}\n")))
    }
}
