//! Connections to the apiserver.

use std::io;
use std::sync::Arc;

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Request, Uri, Version, header};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;
use url::{Host, Url};

use crate::serve::Handler;

/// A connection, encrypted or not.
pub(super) type Stream = Either<TlsStream<TcpStream>, TcpStream>;

/// The apiserver behind a proxy.
#[derive(Clone)]
pub struct Upstream {
    /// Where it is: `https://` or `http://`, with any path that its API begins at.
    pub url: Url,
    /// How to verify it, and perhaps how to be known to it. ALPN is the proxy's business.
    pub tls: ClientConfig,
    /// The `Authorization` of a user who may impersonate; the secret part of the proxy.
    pub authorization: Option<String>,
    /// The same apiserver, if it is in this process: it answers what upgrades nothing.
    pub handler: Option<Handler>,
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstream")
            .field("url", &self.url.as_str())
            .finish_non_exhaustive()
    }
}

/// The protocol of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

impl Upstream {
    /// Connects, with one of `alpn`.
    pub(super) async fn connect(&self, alpn: &[&str]) -> io::Result<(Stream, Protocol)> {
        let port = self.url.port_or_known_default().unwrap_or(443);
        let (tcp, name) = match self.url.host() {
            Some(Host::Domain(name)) => (
                TcpStream::connect((name, port)).await?,
                ServerName::try_from(name.to_owned()).map_err(io::Error::other)?,
            ),
            Some(Host::Ipv4(address)) => (
                TcpStream::connect((address, port)).await?,
                ServerName::from(std::net::IpAddr::from(address)),
            ),
            Some(Host::Ipv6(address)) => (
                TcpStream::connect((address, port)).await?,
                ServerName::from(std::net::IpAddr::from(address)),
            ),
            None => return Err(io::Error::other("the apiserver's URL names no host")),
        };
        tcp.set_nodelay(true)?;
        if self.url.scheme() == "http" {
            return Ok((Either::Right(tcp), Protocol::Http1));
        }
        let mut config = self.tls.clone();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let tls = TlsConnector::from(Arc::new(config))
            .connect(name, tcp)
            .await?;
        let protocol = match tls.get_ref().1.alpn_protocol() {
            Some(b"h2") => Protocol::Http2,
            _ => Protocol::Http1,
        };
        Ok((Either::Left(tls), protocol))
    }

    /// Points `request` at the apiserver, in the form that `protocol` has for it.
    pub(super) fn address<B>(&self, request: &mut Request<B>, protocol: Protocol) {
        let target = request
            .uri()
            .path_and_query()
            .map_or("/", PathAndQuery::as_str);
        let target = format!("{}{target}", self.url.path().trim_end_matches('/'));
        let mut parts = http::uri::Parts::default();
        parts.path_and_query = PathAndQuery::try_from(target).ok();
        let authority = self.url.authority().rsplit('@').next().unwrap_or_default();
        match protocol {
            Protocol::Http2 => {
                parts.scheme = Some(Scheme::HTTPS);
                parts.authority = Authority::try_from(authority).ok();
                request.headers_mut().remove(header::HOST);
                *request.version_mut() = Version::HTTP_2;
            }
            Protocol::Http1 => {
                if let Ok(host) = HeaderValue::from_str(authority) {
                    request.headers_mut().insert(header::HOST, host);
                }
                *request.version_mut() = Version::HTTP_11;
            }
        }
        *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    fn upstream(url: &str) -> Upstream {
        let authority = crate::tls::Authority::new("ca").unwrap();
        Upstream {
            url: url.parse().unwrap(),
            tls: authority.client_config(&[]).unwrap(),
            authorization: None,
            handler: None,
        }
    }

    #[test]
    fn a_request_is_pointed_at_the_apiserver() {
        let upstream = upstream("https://10.0.0.1:6443/k8s/clusters/c1/");
        let request = || {
            Request::get("/api/v1/pods?watch=1")
                .header("host", "kube-aad-proxy")
                .body(())
                .unwrap()
        };
        let mut http1 = request();
        upstream.address(&mut http1, Protocol::Http1);
        assert_eq!(*http1.uri(), "/k8s/clusters/c1/api/v1/pods?watch=1");
        assert_eq!(http1.headers()["host"], "10.0.0.1:6443");
        let mut http2 = request();
        upstream.address(&mut http2, Protocol::Http2);
        assert_eq!(
            *http2.uri(),
            "https://10.0.0.1:6443/k8s/clusters/c1/api/v1/pods?watch=1"
        );
        assert!(!http2.headers().contains_key("host"));
    }
}
