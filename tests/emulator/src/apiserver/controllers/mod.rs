//! What runs in a cluster beside the apiserver: controllers, scheduler and kubelets, in one loop.
//!
//! Each controller looks at the whole state and moves it a step towards what is wanted; the loop
//! goes round until no step is left, and sleeps until something changes.

mod deployments;
mod events;
mod exits;
mod jobs;
mod kubelet;
mod namespaces;
mod pods;
mod replicas;
mod services;
mod sets;

use std::sync::Arc;

use super::Server;

pub(super) use namespaces::furnish;

/// The kinds that controllers look at.
const WATCHED: &[&str] = &[
    "daemonsets",
    "deployments",
    "jobs",
    "namespaces",
    "nodes",
    "persistentvolumeclaims",
    "pods",
    "replicasets",
    "services",
    "statefulsets",
];

/// Runs the controllers until it is dropped.
pub(super) async fn run(server: Arc<Server>) {
    let mut newest = server.store.newest();
    let mut done = 0;
    loop {
        let version = server.store.version_of(WATCHED);
        if version > done {
            done = version;
            step(&server);
            // Others get their turn between steps, so that watchers see what happens in between.
            tokio::task::yield_now().await;
            continue;
        }
        let changed = async {
            while server.store.version_of(WATCHED) == done {
                if newest.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = changed => {}
            () = exits::next(&server) => kubelet::step(&server),
        }
    }
}

/// Lets the controllers work until nothing is left to do.
pub(super) fn settle(server: &Server) {
    let mut done = 0;
    loop {
        let version = server.store.version_of(WATCHED);
        if version == done {
            return;
        }
        done = version;
        step(server);
    }
}

fn step(server: &Server) {
    server.finish_namespaces();
    deployments::step(server);
    replicas::step(server);
    sets::step_stateful(server);
    sets::step_daemon(server);
    jobs::step(server);
    kubelet::step(server);
    services::step(server);
}
