//! A certificate for whatever name a client asks for.
//!
//! A client may know Entra, ARM and the relay under names of its own, which a proxy or a resolver
//! leads here; a relay's namespace is known under any suffix; and verifiers take no wildcard right
//! below a top-level domain such as `localhost`. No certificate made in advance covers every name.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::tls::{self, Authority};

/// How many names get a certificate of their own.
const NAMES: usize = 1024;

/// Server settings with a certificate for every name, and one for the loopback addresses.
pub(crate) fn server_config(
    authority: Arc<Authority>,
    alpn: &[&str],
) -> Result<ServerConfig, tls::Error> {
    let names = tls::loopback_names();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let mut config = authority.server_config(&names, alpn)?;
    config.cert_resolver = Arc::new(Certificates {
        authority,
        loopback: Arc::clone(&config.cert_resolver),
        by_name: Mutex::default(),
    });
    Ok(config)
}

#[derive(Debug)]
struct Certificates {
    authority: Arc<Authority>,
    loopback: Arc<dyn ResolvesServerCert>,
    by_name: Mutex<HashMap<String, Arc<dyn ResolvesServerCert>>>,
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let Some(name) = hello.server_name().map(str::to_lowercase) else {
            return self.loopback.resolve(hello);
        };
        let certificate = {
            let mut by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(certificate) = by_name.get(&name) {
                Arc::clone(certificate)
            } else if by_name.len() < NAMES {
                let fresh = self.authority.server_config(&[&name], &[]).ok()?;
                by_name.insert(name, Arc::clone(&fresh.cert_resolver));
                fresh.cert_resolver
            } else {
                Arc::clone(&self.loopback)
            }
        };
        certificate.resolve(hello)
    }
}
