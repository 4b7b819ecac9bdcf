//! arcproxy

pub mod kubeconfig;
