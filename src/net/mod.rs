//! Going out: resolving, connecting, web proxies, TLS roots, and the small HTTPS client that Entra and ARM
//! share. Every connection that arcproxy opens to the outside is opened here.

mod ahead;
mod bulk_reader;
mod connect;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod gather;
mod https;
mod issuer;
#[cfg(test)]
mod properties;
mod retry;
mod tcp;
#[cfg(test)]
mod tests;
mod tls;
mod web_proxy;

pub(crate) use ahead::{Ahead, Place};
pub(crate) use bulk_reader::BulkReader;
pub(crate) use connect::is_certificate;
pub use connect::{ConnectError, Connection, Net, Tls};
pub(crate) use gather::Gathered;
pub use https::{Answer, Https, HttpsError};
pub use issuer::Untrusted;
pub use retry::Tried;
pub(crate) use retry::may_pass;
pub(crate) use tls::provider;
pub use tls::{TlsError, Trust};
pub use web_proxy::{BadProxy, WebProxies, WebProxyError};
