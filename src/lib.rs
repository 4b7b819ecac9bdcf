//! arcproxy: the client side of Azure Arc cluster connect.

pub mod azure;
pub mod clock;
pub mod error;
pub mod kubeconfig;
pub mod net;
pub mod proxy;
pub mod relay;
pub mod secret;
pub mod session;
pub mod shutdown;
pub mod tunnel;
