//! The main path: sign in, open the tunnel, serve kubectl, end cleanly.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::{JoinHandle, spawn_blocking};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::clusters::{self, Azure};
use super::probe::{Probed, probe};
use super::upstream::Cluster;
use crate::azure::id::ClusterId;
use crate::child::{self, PrivateKubeconfig};
use crate::error::{Code, Error};
use crate::kubeconfig::{self, Entry, WriteError};
use crate::printer::{Event, Printer};
use crate::proxy::{Gate, Listener, LocalCertificate, Route};
use crate::secret::{Secret, random_hex};
use crate::settings::{Settings, Target};
use crate::shutdown::Signals;

/// How long running requests may take to finish once the end has begun.
const GRACE: Duration = Duration::from_secs(5);
/// How long the tunnels may take to end after that.
const FAREWELL: Duration = Duration::from_millis(500);

/// Serves the clusters of `settings` until a signal comes or the command ends. Returns the exit
/// code.
///
/// # Errors
/// Whatever keeps it from serving.
pub async fn connect(settings: Settings, printer: Printer) -> Result<u8, Error> {
    let mut signals = Signals::listen().map_err(|error| {
        Error::new(Code::Unexpected, "cannot listen for signals").caused_by(&error)
    })?;
    // Nothing has been written when the start is cut short, so nothing is left behind.
    let started = tokio::select! {
        started = Started::new(&settings, printer) => started?,
        ending = signals.next() => return Ok(ending.exit_code()),
    };
    started.run(settings.target, printer, &mut signals).await
}

/// A proxy that serves.
struct Started {
    clusters: Vec<Arc<Cluster>>,
    /// The contexts' names, in the order of the clusters.
    contexts: Vec<String>,
    authority_pem: String,
    /// The local listener's, in the order of the clusters.
    tokens: Vec<Secret>,
    port: u16,
    stop: CancellationToken,
    serving: JoinHandle<()>,
    /// Keeps sessions fresh and tunnels ready; ends with this value.
    tending: Vec<AbortOnDropHandle<()>>,
}

impl Started {
    async fn new(settings: &Settings, printer: Printer) -> Result<Self, Error> {
        // Before anything is sent: what cannot end well is worth no sign-in.
        if let Target::File(file) = &settings.target {
            kubeconfig::check(file).map_err(|error| explain(&error, file))?;
        }
        let listener = Listener::bind(settings.port).await?;
        let port = listener.port();
        let certificate = LocalCertificate::generate()?;
        let azure = Azure::new(settings, printer).await?;
        let clusters = clusters::open(&azure, settings, printer).await?;
        let tokens: Vec<_> = clusters
            .iter()
            .map(|_| Secret::from(random_hex::<32>()))
            .collect();
        let routes = clusters.iter().zip(&tokens).map(|(cluster, token)| {
            Route::new(token, cluster.session.id().hash(), cluster.clone())
        });
        let gate = Arc::new(Gate::new(routes.collect()));
        let stop = CancellationToken::new();
        let serving = tokio::spawn(listener.serve(certificate.config, gate, stop.clone(), GRACE));
        printer.tell(&Event::Listening { port });
        let refreshing = clusters.iter().map(|cluster| {
            let session = cluster.session.clone();
            AbortOnDropHandle::new(tokio::spawn(async move { session.keep_fresh().await }))
        });
        let mut started = Self {
            contexts: contexts(&clusters, settings.context.as_deref()),
            authority_pem: certificate.authority_pem,
            tokens,
            port,
            stop,
            serving,
            tending: refreshing.collect(),
            clusters,
        };
        // Beside the probe, which waits for the network.
        let remembering = azure.remember(&started.clusters);
        started.probe(settings, printer).await?;
        if let Err(error) = remembering.await {
            tracing::debug!(%error, "nothing is remembered");
        }
        // Only now: nothing of the start waits for it.
        let keeping = started.clusters.iter().map(|cluster| {
            let cluster = cluster.clone();
            AbortOnDropHandle::new(tokio::spawn(async move { cluster.pool.keep().await }))
        });
        started.tending.extend(keeping);
        Ok(started)
    }

    /// Sends one request through every tunnel.
    async fn probe(&self, settings: &Settings, printer: Printer) -> Result<(), Error> {
        let method = clusters::method(&settings.mode);
        for cluster in &self.clusters {
            let started = Instant::now();
            let name = &cluster.session.id().name;
            let version = match probe(cluster, method).await? {
                Probed::Answered(version) => version,
                Probed::TokenRefused => {
                    printer.warn(&format!(
                        "{name} does not know the service-account token; kubectl will be refused"
                    ));
                    None
                }
            };
            printer.tell(&Event::Tunnel {
                cluster: name,
                relay: &cluster.session.relay().0,
                version: version.as_deref(),
                took: started.elapsed(),
            });
        }
        Ok(())
    }

    async fn run(
        self,
        target: Target,
        printer: Printer,
        signals: &mut Signals,
    ) -> Result<u8, Error> {
        match target {
            Target::File(file) => {
                self.merge_into(&file, printer).await?;
                for context in &self.contexts {
                    printer.tell(&Event::Ready {
                        context,
                        file: Some(&file),
                    });
                }
                self.until_a_signal(printer, signals).await
            }
            Target::Stdout => {
                printer.kubeconfig(&self.kubeconfig()?);
                self.until_a_signal(printer, signals).await
            }
            Target::Command(program, arguments) => {
                let private = PrivateKubeconfig::write(&self.kubeconfig()?)?;
                let code = child::run(&program, &arguments, &private, signals).await?;
                // Whoever used the tunnel is gone: there is nothing to wait for.
                self.serving.abort();
                self.close().await;
                Ok(code)
            }
        }
    }

    async fn until_a_signal(
        mut self,
        printer: Printer,
        signals: &mut Signals,
    ) -> Result<u8, Error> {
        signals.next().await;
        printer.tell(&Event::Stopping);
        self.stop.cancel();
        tokio::select! {
            _ = &mut self.serving => self.close().await,
            // Asked again: now.
            _ = signals.next() => {}
        }
        Ok(0)
    }

    /// Tells the far side of every tunnel that it ends.
    async fn close(&self) {
        for tending in &self.tending {
            tending.abort();
        }
        let closing = self
            .clusters
            .iter()
            .map(|cluster| cluster.pool.close(FAREWELL));
        futures_util::future::join_all(closing).await;
    }

    /// Writes every context into the user's kubeconfig; the first cluster's becomes current.
    async fn merge_into(&self, file: &Path, printer: Printer) -> Result<(), Error> {
        for index in (0..self.clusters.len()).rev() {
            let (context, user, server) = self.names(index);
            let (authority_pem, token) = (self.authority_pem.clone(), self.tokens[index].clone());
            let (path, name) = (file.to_owned(), context.clone());
            let written = spawn_blocking(move || {
                let entry = Entry {
                    context: &name,
                    user: &user,
                    server: &server,
                    certificate_authority_pem: &authority_pem,
                    token: token.expose(),
                };
                kubeconfig::write(&path, &entry)
            });
            let written = written
                .await
                .map_err(|error| Error::new(Code::Unexpected, "a task broke").caused_by(&error))?
                .map_err(|error| explain(&error, file))?;
            for warning in &written.warnings {
                printer.warn(&warning.to_string());
            }
            printer.tell(&Event::Merged {
                context: &context,
                file,
            });
        }
        Ok(())
    }

    /// A kubeconfig with every cluster and nothing else; the first one is current.
    fn kubeconfig(&self) -> Result<String, Error> {
        let mut text: Option<String> = None;
        for index in (0..self.clusters.len()).rev() {
            let (context, user, server) = self.names(index);
            let entry = Entry {
                context: &context,
                user: &user,
                server: &server,
                certificate_authority_pem: &self.authority_pem,
                token: self.tokens[index].expose(),
            };
            text = Some(match text {
                None => kubeconfig::fresh(&entry),
                Some(text) => kubeconfig::merge(&text, &entry).map_err(|error| {
                    Error::new(
                        Code::Unexpected,
                        "cannot put several clusters into one kubeconfig",
                    )
                    .caused_by(&error)
                })?,
            });
        }
        Ok(text.unwrap_or_default())
    }

    /// The context, user and server of a cluster.
    fn names(&self, index: usize) -> (String, String, String) {
        let id = self.clusters[index].session.id();
        // A context of another name is another way to the cluster, with a token of its own.
        let mut user = kubeconfig::user_name(&id.resource_group, &id.name);
        if self.contexts[index] != id.name {
            user = format!("{user}_{}", self.contexts[index]);
        }
        let server = format!("https://127.0.0.1:{}/proxies/{}", self.port, id.hash());
        (self.contexts[index].clone(), user, server)
    }
}

/// A name for each cluster's context: its own, with as much of its id behind it as tells it from
/// the others of this run.
fn contexts(clusters: &[Arc<Cluster>], wanted: Option<&str>) -> Vec<String> {
    if let Some(wanted) = wanted {
        // The settings allow it for one cluster only.
        return clusters.iter().map(|_| wanted.to_owned()).collect();
    }
    let ids: Vec<&ClusterId> = clusters
        .iter()
        .map(|cluster| cluster.session.id())
        .collect();
    names(&ids)
}

fn names(ids: &[&ClusterId]) -> Vec<String> {
    let forms: [fn(&ClusterId) -> String; 3] = [
        |id| id.name.clone(),
        |id| format!("{}-{}", id.name, id.resource_group),
        |id| format!("{}-{}-{}", id.name, id.resource_group, id.subscription),
    ];
    let name = |id: &&ClusterId| {
        let alone = |form: &&fn(&ClusterId) -> String| {
            let same = |other: &&&ClusterId| form(other).eq_ignore_ascii_case(&form(id));
            ids.iter().filter(same).count() == 1
        };
        forms
            .iter()
            .find(alone)
            .map_or_else(|| id.hash(), |form| form(id))
    };
    ids.iter().map(name).collect()
}

/// The kubeconfig's failure as the user sees it.
fn explain(error: &WriteError, file: &Path) -> Error {
    let code = match error {
        WriteError::Locked { .. } => Code::KubeconfigLocked,
        WriteError::Merge { .. } | WriteError::NotText { .. } => Code::KubeconfigInvalid,
        _ => Code::KubeconfigWrite,
    };
    Error::new(
        code,
        format!("cannot write to the kubeconfig {}", file.display()),
    )
    .caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_are_told_apart_by_as_much_as_it_takes() {
        let id = |subscription: &str, group: &str, name: &str| ClusterId {
            subscription: subscription.to_owned(),
            resource_group: group.to_owned(),
            name: name.to_owned(),
        };
        let ids = [
            id("s1", "g1", "a"),
            id("s1", "g2", "a"),
            id("s2", "g2", "a"),
            id("s1", "g1", "b"),
        ];
        let ids: Vec<_> = ids.iter().collect();
        assert_eq!(names(&ids), ["a-g1", "a-g2-s1", "a-g2-s2", "b"]);
    }
}
