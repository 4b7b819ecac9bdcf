//! One container: its files, its log and its processes.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::chatter::Chatter;
use super::filesystem::FileSystem;
use super::log::Log;
use super::shell;
use super::{ContainerSpec, PodRef};

/// A running container.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) pod: PodRef,
    pub(crate) spec: ContainerSpec,
    pub(crate) files: Arc<FileSystem>,
    pub(crate) log: Arc<Log>,
    /// Cancelled when the pod stops: every process ends.
    pub(super) stopped: CancellationToken,
    /// The exit code of the main process, once it has ended.
    exit: watch::Sender<Option<u8>>,
    /// Whether somebody is attached to the main process' standard input.
    attached: Mutex<bool>,
}

/// Being the one whose input the main process reads; given back on drop.
#[derive(Debug)]
pub(super) struct Attachment(Arc<Container>);

impl Drop for Attachment {
    fn drop(&mut self) {
        *self
            .0
            .attached
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = false;
    }
}

impl Container {
    /// A container of `pod` that runs until `stopped`.
    pub(super) fn new(pod: PodRef, spec: ContainerSpec, stopped: CancellationToken) -> Self {
        let files = Arc::new(FileSystem::new());
        super::image::populate(&files, &pod, &spec);
        let mut container = Self {
            pod,
            spec,
            files,
            log: Arc::new(Log::new(Chatter::Silent, stopped.child_token())),
            stopped,
            exit: watch::Sender::new(None),
            attached: Mutex::new(false),
        };
        let chatter = if container.spec.stdin || container.main().is_some() {
            Chatter::Silent
        } else if container.spec.image.contains("nginx") {
            Chatter::Web
        } else {
            Chatter::Service
        };
        container.log = Arc::new(Log::new(chatter, container.stopped.child_token()));
        container
    }

    /// The command line of the main process, if it is one that the shell can play.
    pub(super) fn main(&self) -> Option<Vec<String>> {
        let mut line = self.spec.command.clone();
        line.extend_from_slice(&self.spec.args);
        if line.is_empty() && self.spec.stdin {
            line.push("sh".to_owned());
        }
        let name = line.first()?;
        shell::find(self, &super::filesystem::join("/", name), name).ok()?;
        Some(line)
    }

    /// Tells that the main process has ended.
    pub(super) fn exited(&self, code: u8) {
        self.exit.send_replace(Some(code));
        self.log.end();
    }

    /// The exit code of the main process: `None` while it runs.
    pub(super) fn exit(&self) -> watch::Receiver<Option<u8>> {
        self.exit.subscribe()
    }

    /// Takes the main process' standard input, if nobody has it and the process runs.
    pub(super) fn attach(self: &Arc<Self>) -> Option<Attachment> {
        let mut attached = self.attached.lock().unwrap_or_else(PoisonError::into_inner);
        if *attached || self.exit.borrow().is_some() {
            return None;
        }
        *attached = true;
        drop(attached);
        Some(Attachment(Arc::clone(self)))
    }

    /// What a process finds in its environment.
    pub(crate) fn environment(&self, terminal: bool) -> Vec<(String, String)> {
        let mut environment = vec![
            (
                "PATH".to_owned(),
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
            ),
            ("HOSTNAME".to_owned(), self.pod.name.clone()),
            ("HOME".to_owned(), "/root".to_owned()),
            (
                "KUBERNETES_PORT".to_owned(),
                "tcp://10.96.0.1:443".to_owned(),
            ),
            ("KUBERNETES_SERVICE_HOST".to_owned(), "10.96.0.1".to_owned()),
            ("KUBERNETES_SERVICE_PORT".to_owned(), "443".to_owned()),
            ("KUBERNETES_SERVICE_PORT_HTTPS".to_owned(), "443".to_owned()),
        ];
        if terminal {
            environment.push(("TERM".to_owned(), "xterm".to_owned()));
        }
        for (name, value) in &self.spec.env {
            environment.retain(|(other, _)| other != name);
            environment.push((name.clone(), value.clone()));
        }
        environment
    }

    /// Whether the image brings a shell and the usual commands.
    pub(crate) fn has_tools(&self) -> bool {
        !["distroless", "coredns", "pause", "scratch"]
            .iter()
            .any(|bare| self.spec.image.contains(bare))
    }
}
