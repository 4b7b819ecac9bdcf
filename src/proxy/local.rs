//! Whether a request was meant for this machine.
//!
//! A page of another site can have its own name resolve to a loopback address (DNS rebinding).
//! What it sends then still names the site.

use std::net::IpAddr;

use http::uri::Authority;
use http::{Request, header};

/// Checks that `request` names a loopback host, wherever it names one, and names one at all.
///
/// # Errors
/// What is wrong with it, as its answer tells.
pub(super) fn check<B>(request: &Request<B>) -> Result<(), &'static str> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err("arcproxy: the request names more than one host");
    }
    let host = host.map(|host| Authority::try_from(host.as_bytes()));
    let target = request.uri().authority().cloned().map(Ok);
    if host.is_none() && target.is_none() {
        return Err("arcproxy: the request names no host");
    }
    for named in [host, target].into_iter().flatten() {
        if !named.is_ok_and(|named| is_loopback(&named)) {
            return Err(
                "arcproxy: the request is for another host than this listener, which is at 127.0.0.1",
            );
        }
    }
    Ok(())
}

/// Whether the authority's host is this machine whatever a name server says. The port may be
/// another one: somebody may have forwarded it.
fn is_loopback(authority: &Authority) -> bool {
    if authority.as_str().contains('@') {
        return false;
    }
    let host = authority.host();
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return address.to_canonical().is_loopback();
    }
    let host = host.to_ascii_lowercase();
    let host = host.strip_suffix('.').unwrap_or(&host);
    host == "localhost" || host.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(target: &str, hosts: &[&str]) -> bool {
        let mut request = Request::get(target);
        for host in hosts {
            request = request.header(header::HOST, *host);
        }
        check(&request.body(()).expect("a request")).is_ok()
    }

    #[test]
    fn a_request_names_this_machine() {
        for host in [
            "127.0.0.1:47011",
            "127.8.8.8",
            "localhost:6443",
            "LocalHost.",
            "edge.localhost:1",
            "[::1]:47011",
            "[::ffff:127.0.0.1]",
        ] {
            assert!(checked("/version", &[host]), "{host}");
            assert!(checked(&format!("https://{host}/version"), &[]), "{host}");
        }
        for host in [
            "",
            "rebound.example:47011",
            "127.0.0.1.example",
            "localhost.example",
            "notlocalhost",
            "10.0.0.1",
            "0.0.0.0",
            "[::]",
            "rebound.example@127.0.0.1",
            "127.0.0.1, rebound.example",
        ] {
            assert!(!checked("/version", &[host]), "{host}");
        }
    }

    #[test]
    fn it_names_it_once_and_everywhere() {
        assert!(!checked("/version", &[]));
        assert!(!checked("/version", &["localhost", "localhost"]));
        assert!(!checked("https://rebound.example/version", &["localhost"]));
        assert!(!checked("https://localhost/version", &["rebound.example"]));
        assert!(checked("https://localhost/version", &["127.0.0.1"]));
    }
}
