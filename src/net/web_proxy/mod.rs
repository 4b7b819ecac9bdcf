//! Web proxies: which connections go through one, and how they get through.
//!
//! The proxy is asked with CONNECT and resolves the name itself; TLS with the host runs inside what
//! it opens, so that it sees a name, a port and ciphertext. Nothing but its own credentials is ever
//! sent to it. What is on this machine or its link is never reached through one.

mod address;
mod bypass;
mod connect;
mod error;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::tcp::is_localhost;
use crate::secret::Secret;

pub(super) use address::WebProxy;
use bypass::Bypass;
pub(super) use connect::ask;
pub(super) use error::Failure;
pub use error::WebProxyError;

/// The variables that name a proxy, most telling first. The last is meant for `http://` alone, of
/// which there is none here: where nothing else is set, it is taken for what the network wants.
const VARIABLES: [[&str; 2]; 3] = [
    ["https_proxy", "HTTPS_PROXY"],
    ["all_proxy", "ALL_PROXY"],
    ["http_proxy", "HTTP_PROXY"],
];

/// Which connections go through which proxy.
#[derive(Debug, Clone, Default)]
pub struct WebProxies {
    proxy: Option<Arc<WebProxy>>,
    bypass: Arc<Bypass>,
}

/// What names a proxy makes no sense. The value itself is not told: it may hold a password.
#[derive(Debug, PartialEq, Eq)]
pub struct BadProxy {
    /// The flag or variable.
    pub named_by: &'static str,
    /// What is wrong with it.
    pub why: &'static str,
    /// What to do.
    pub hint: &'static str,
}

impl WebProxies {
    /// The proxy that is `given` with `--proxy`, else the one of the variables that curl reads, in
    /// lower case first; and the hosts of `NO_PROXY`, which go without either.
    ///
    /// # Errors
    /// What names the proxy cannot be one.
    pub fn read(
        given: Option<&Secret>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, BadProxy> {
        let first = |names: [&'static str; 2]| {
            let found = |name| variable(name).map(|value| (name, Secret::from(value)));
            names.into_iter().find_map(found)
        };
        // A web server hands its client's `Proxy:` header to a CGI program as HTTP_PROXY.
        let is_cgi = variable("REQUEST_METHOD").is_some();
        let named = match given {
            Some(url) => Some(("--proxy", url.clone())),
            None => VARIABLES.into_iter().find_map(|[lower, upper]| {
                let trusted = if is_cgi && upper == "HTTP_PROXY" {
                    lower
                } else {
                    upper
                };
                first([lower, trusted])
            }),
        };
        let proxy = named
            .map(|(name, url)| WebProxy::parse(name, url.expose()).map(Arc::new))
            .transpose()?;
        let (_, bypass) = first(["no_proxy", "NO_PROXY"]).unzip();
        Ok(Self {
            proxy,
            bypass: Arc::new(
                bypass.map_or_else(Bypass::default, |list| Bypass::parse(list.expose())),
            ),
        })
    }

    /// The proxy on the way to `host`, if there is one.
    pub(super) fn to(&self, host: &str, port: u16) -> Option<&WebProxy> {
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .trim_end_matches('.');
        self.proxy
            .as_deref()
            .filter(|_| !is_near(host) && !self.bypass.contains(host, port))
    }
}

/// Whether `host` is this machine, or an address that means another one on every link.
fn is_near(host: &str) -> bool {
    match host.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(IpAddr::V4(address)) => address.is_loopback() || address.is_link_local(),
        Ok(IpAddr::V6(address)) => address.is_loopback() || address.is_unicast_link_local(),
        Err(_) => is_localhost(host),
    }
}

/// Asks a proxy that answers on `wire`.
#[cfg(fuzzing)]
pub(super) async fn fuzzing(wire: crate::fuzzing::Wire) -> Result<crate::fuzzing::Wire, Failure> {
    let proxy = WebProxy::parse("--proxy", "http://user:pass@proxy.example:3128");
    ask(wire, &proxy.expect("a literal address"), "arm.example:443").await
}

impl fmt::Display for BadProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.named_by, self.why)
    }
}

impl std::error::Error for BadProxy {}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn read(given: Option<&str>, variables: &[(&str, &str)]) -> Result<WebProxies, BadProxy> {
        let variables: HashMap<_, _> = variables.iter().copied().collect();
        let given = given.map(Secret::from);
        WebProxies::read(given.as_ref(), |name| {
            variables.get(name).map(|value| (*value).to_owned())
        })
    }

    /// Through which proxy `host` is reached, and what named it.
    fn way(variables: &[(&str, &str)], host: &str) -> Option<String> {
        let proxies = read(None, variables).expect("proxies");
        proxies.to(host, 443).map(ToString::to_string)
    }

    #[test]
    fn the_most_telling_variable_wins_and_lower_case_first() {
        let all = [
            ("https_proxy", "http://a"),
            ("HTTPS_PROXY", "http://b"),
            ("all_proxy", "http://c"),
            ("ALL_PROXY", "http://d"),
            ("http_proxy", "http://e"),
            ("HTTP_PROXY", "http://f"),
        ];
        for (at, (name, url)) in all.iter().enumerate() {
            let told = format!("{url}:80 (from {name})");
            assert_eq!(way(&all[at..], "arm.example"), Some(told));
        }
        assert_eq!(way(&[], "arm.example"), None);
    }

    #[test]
    fn a_clients_header_names_no_proxy() {
        let cgi = ("REQUEST_METHOD", "GET");
        let upper = ("HTTP_PROXY", "http://evil");
        assert_eq!(way(&[cgi, upper], "arm.example"), None);
        let lower = ("http_proxy", "http://a");
        assert!(way(&[cgi, upper, lower], "arm.example").is_some());
        assert!(way(&[cgi, ("HTTPS_PROXY", "http://a")], "arm.example").is_some());
    }

    #[test]
    fn the_flag_wins_over_the_variables_but_not_over_no_proxy() {
        let variables = [("https_proxy", "socks9://x"), ("NO_PROXY", "b.example")];
        let proxies = read(Some("http://p:3128"), &variables).expect("proxies");
        let told = proxies.to("a.example", 443).map(ToString::to_string);
        assert_eq!(told.as_deref(), Some("http://p:3128 (from --proxy)"));
        assert!(proxies.to("b.example", 443).is_none());
        let error = read(None, &variables).expect_err("no such scheme");
        assert_eq!(error.named_by, "https_proxy");
    }

    #[test]
    fn no_proxy_is_read_in_both_cases() {
        let proxy = ("HTTPS_PROXY", "http://p");
        for name in ["no_proxy", "NO_PROXY"] {
            assert_eq!(way(&[proxy, (name, "arm.example")], "arm.example"), None);
        }
        let both = [proxy, ("no_proxy", "x"), ("NO_PROXY", "arm.example")];
        assert!(way(&both, "arm.example").is_some());
    }

    #[test]
    fn what_is_near_is_never_reached_through_a_proxy() {
        let proxy = [("ALL_PROXY", "http://p")];
        for host in [
            "localhost",
            "relay.LOCALHOST.",
            "127.0.0.1",
            "127.9.9.9",
            "[::1]",
            "::1",
            "::ffff:127.0.0.1",
            "169.254.169.254",
            "[fe80::1]",
        ] {
            assert_eq!(way(&proxy, host), None, "{host}");
        }
        for host in ["notlocalhost", "10.0.0.1", "[2001:db8::1]"] {
            assert!(way(&proxy, host).is_some(), "{host}");
        }
    }
}
