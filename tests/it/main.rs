//! The whole of it: the real binary and the real kubectl, through the emulator, over real sockets.
#![expect(
    clippy::unwrap_used,
    reason = "in a test a failed unwrap is a failed test"
)]

mod bad_input;
mod clouds;
mod commands;
mod environment;
mod faults;
mod golden;
mod guard;
mod harness;
mod inputs;
mod kube_client;
mod kubeconfig;
mod kubectl;
mod networks;
mod nonsense;
mod output;
mod passing;
mod refresh;
mod resumption;
mod secrets;
mod shutdown;
mod sign_in;
mod sign_in_az;
mod sign_in_user;
mod start;
mod streams;
mod switches;
mod tenants;
mod unread;
