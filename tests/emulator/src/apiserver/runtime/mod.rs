//! A container runtime in memory: pods whose containers have files, logs, processes and ports.
//!
//! Processes are played by a small `shell`; images bring a few files and, if nothing of theirs can
//! be played, a log that looks alive. Memory is bounded everywhere: pipes, logs and files. What
//! runs for a pod ends when the pod is stopped or the runtime is dropped.

mod chatter;
mod container;
mod filesystem;
mod image;
mod line;
mod log;
pub(crate) mod pipe;
mod ports;
mod process;
pub(crate) mod shell;
mod spec;
pub(crate) mod terminal;

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::DuplexStream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use container::Container;
pub(crate) use process::Process;
pub(crate) use spec::StartError;
pub use spec::{ContainerSpec, LogOptions, PodRef};

use crate::http::Body;

#[derive(Debug)]
struct Pod {
    containers: Vec<Arc<Container>>,
    stopped: CancellationToken,
    /// The main processes that nobody needs to attach to.
    _mains: Vec<AbortOnDropHandle<()>>,
}

/// The pods that run. Dropping it stops them all.
#[derive(Debug, Default)]
pub struct Runtime {
    pods: Mutex<HashMap<String, Pod>>,
}

impl Runtime {
    /// A runtime without pods.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Starts the containers of `pod`; one that runs already under its uid is stopped first.
    ///
    /// A main process that the shell can play starts at once, if this is called within a tokio
    /// runtime; one that reads standard input starts when somebody attaches.
    pub fn start_pod(&self, pod: PodRef, containers: Vec<ContainerSpec>) {
        let stopped = CancellationToken::new();
        let containers: Vec<Arc<Container>> = containers
            .into_iter()
            .map(|spec| Arc::new(Container::new(pod.clone(), spec, stopped.clone())))
            .collect();
        let mains = match tokio::runtime::Handle::try_current() {
            Ok(_) => containers.iter().filter_map(start_main).collect(),
            Err(_) => Vec::new(),
        };
        let started = Pod {
            containers,
            stopped,
            _mains: mains,
        };
        let replaced = self.lock().insert(pod.uid, started);
        if let Some(replaced) = replaced {
            replaced.stopped.cancel();
        }
    }

    /// Stops a pod: its processes are killed and its logs end.
    pub fn stop_pod(&self, uid: &str) {
        if let Some(pod) = self.lock().remove(uid) {
            pod.stopped.cancel();
        }
    }

    /// A container's log; `None` if there is no such container, or no previous one.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "callers make the options for this one call"
    )]
    pub fn logs(&self, uid: &str, container: &str, options: LogOptions) -> Option<Body> {
        let container = self.container(uid, container)?;
        (!options.previous).then(|| container.log.body(&options))
    }

    /// The exit code of a container's main process: `None` while it runs, as those do for ever
    /// that the shell cannot play.
    pub fn exit_code(&self, uid: &str, container: &str) -> Option<watch::Receiver<Option<u8>>> {
        Some(self.container(uid, container)?.exit())
    }

    /// Whether the main process of a container is one that the shell can play, so that it may end.
    pub(crate) fn plays(&self, uid: &str, container: &str) -> bool {
        self.container(uid, container)
            .is_some_and(|container| container.main().is_some())
    }

    /// Connects to a port on which a container of the pod listens.
    ///
    /// # Errors
    ///
    /// As a kernel would: refused if nothing listens there, not found if the pod does not run.
    pub fn connect(&self, uid: &str, port: u16) -> io::Result<DuplexStream> {
        let (containers, stopped) = {
            let pods = self.lock();
            let pod = pods.get(uid).ok_or(io::ErrorKind::NotFound)?;
            (pod.containers.clone(), pod.stopped.clone())
        };
        ports::connect(&containers, port, stopped)
    }

    /// Starts a process in a container.
    pub(crate) fn exec(
        &self,
        uid: &str,
        container: &str,
        command: Vec<String>,
        stdin: bool,
        tty: bool,
    ) -> Result<Process, StartError> {
        let name = command.first().ok_or(StartError::NoCommand)?.clone();
        let container = self
            .container(uid, container)
            .ok_or_else(|| StartError::NoContainer(container.to_owned()))?;
        match shell::find(&container, &filesystem::join("/", &name), &name) {
            Ok(_) => Ok(Process::start(container, command, stdin, tty, |_| {})),
            Err(shell::Missing::NotFound) => Err(StartError::NoExecutable(name)),
            Err(shell::Missing::NotExecutable) => Err(StartError::NotExecutable(name)),
        }
    }

    /// Attaches to the main process of a container. Who attaches with `stdin` to a process that
    /// reads it starts the process, and kills it by leaving before its end; the next one finds a
    /// new process. Everybody else sees what goes to the log from now on.
    pub(crate) fn attach(
        &self,
        uid: &str,
        container: &str,
        stdin: bool,
    ) -> Result<Process, StartError> {
        let container = self
            .container(uid, container)
            .ok_or_else(|| StartError::NoContainer(container.to_owned()))?;
        if stdin
            && container.spec.stdin
            && let Some(main) = container.main()
            && let Some(attachment) = container.attach()
        {
            let tty = container.spec.tty;
            let ended = Arc::clone(&container);
            return Ok(Process::start(container, main, stdin, tty, move |code| {
                ended.exited(code);
                drop(attachment);
            }));
        }
        let mut reading = container.log.follow();
        let stopped = container.stopped.clone();
        Ok(Process::show(stopped, |writer| async move {
            while let Some(lines) = reading.next().await {
                if writer.write(lines).await.is_err() {
                    break;
                }
            }
        }))
    }

    /// The names of a pod's containers; `None` if it does not run.
    pub(crate) fn containers(&self, uid: &str) -> Option<Vec<String>> {
        let pods = self.lock();
        let containers = &pods.get(uid)?.containers;
        Some(
            containers
                .iter()
                .map(|container| container.spec.name.clone())
                .collect(),
        )
    }

    /// Cancelled when the pod stops; `None` if it does not run.
    pub(crate) fn stopped(&self, uid: &str) -> Option<CancellationToken> {
        Some(self.lock().get(uid)?.stopped.clone())
    }

    fn container(&self, uid: &str, name: &str) -> Option<Arc<Container>> {
        let pods = self.lock();
        let containers = &pods.get(uid)?.containers;
        containers
            .iter()
            .find(|container| container.spec.name == name)
            .cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Pod>> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        for pod in self.lock().values() {
            pod.stopped.cancel();
        }
    }
}

/// Starts the main process of a container whose output goes to the log alone.
fn start_main(container: &Arc<Container>) -> Option<AbortOnDropHandle<()>> {
    if container.spec.stdin {
        return None;
    }
    let main = container.main()?;
    let ended = Arc::clone(container);
    let mut process = Process::start(
        Arc::clone(container),
        main,
        false,
        container.spec.tty,
        |_| {},
    );
    let container = Arc::clone(container);
    Some(AbortOnDropHandle::new(tokio::spawn(async move {
        let (stdout, stderr) = (&mut process.stdout, &mut process.stderr);
        futures_util::join!(write_log(&container, stdout), write_log(&container, stderr));
        ended.exited(process.wait().await);
    })))
}

async fn write_log(container: &Container, output: &mut pipe::Reader) {
    while let Some(mut line) = output.line(log::LINE).await {
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        container.log.write(line);
    }
}

#[cfg(test)]
mod tests;
