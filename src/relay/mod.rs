//! Azure Relay: a hybrid connection, from the sender's side, as `AsyncRead + AsyncWrite`.
//!
//! Follows the public "Azure Relay Hybrid Connections protocol". Knows neither HTTP/2 nor
//! Kubernetes: bytes go in and come out.

mod dial;
mod frames;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod stream;
mod upgrade;

pub use dial::{DialError, Dialer, Rendezvous};
pub use stream::RelayStream;
