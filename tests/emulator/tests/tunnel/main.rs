//! The way from a sender to the apiserver, over real sockets and real TLS: relay, agent,
//! kube-aad-proxy.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod aad_proxy;
mod agent;
mod cluster;
mod cuts;
mod faults;
mod harness;
mod listener;
mod refusals;
mod relay;
mod switches;
