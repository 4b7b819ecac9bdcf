//! Stub.

pub mod remote;
pub mod runtime;
