//! A whole Azure Arc on one machine: Entra, ARM, the relay, the agent, kube-aad-proxy and a small
//! apiserver, each a faithful little server of its own, in one process.

pub mod aad_proxy;
pub mod agent;
pub mod apiserver;
pub mod arm;
mod certificates;
mod control;
pub mod door;
pub mod emulator;
pub mod entra;
pub mod faults;
mod files;
pub mod http;
pub mod names;
pub mod pattern;
pub mod relay;
mod request;
pub mod serve;
pub mod shape;
pub mod tls;
pub mod upstream;
