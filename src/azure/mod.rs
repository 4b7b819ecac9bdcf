//! Azure: the cloud's addresses, sign-in, proof of possession, and Azure Resource Manager.

pub mod arm;
mod challenge;
pub mod cloud;
pub mod discovery;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
pub mod id;
pub mod login;
pub mod metadata;
pub mod pop;
pub mod profile;
#[cfg(test)]
mod properties;
pub mod types;
