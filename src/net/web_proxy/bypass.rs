//! `NO_PROXY`: what is reached without a proxy.
//!
//! Names and addresses are matched by hyper-util, which follows curl. What it does not know is
//! done here: ports, `*.` before a domain as Go has it, and spaces between entries.

use std::fmt;
use std::net::Ipv6Addr;

use http::Uri;
use hyper_util::client::proxy::matcher::Matcher;

/// The hosts that `NO_PROXY` names.
pub(super) struct Bypass {
    list: String,
    on_any_port: Matcher,
    on_port: Vec<(u16, Matcher)>,
}

impl Bypass {
    pub(super) fn parse(list: &str) -> Self {
        let entries = list
            .split([',', ' ', '\t', '\n', '\r'])
            .filter(|entry| !entry.is_empty());
        let (mut any, mut on_port) = (Vec::new(), Vec::new());
        for entry in entries {
            match split(entry) {
                (host, Some(port)) => on_port.push((port, matcher(host))),
                (host, None) => any.push(host),
            }
        }
        Self {
            list: list.to_owned(),
            on_any_port: matcher(&any.join(",")),
            on_port,
        }
    }

    /// Whether `host`, a name or an address without brackets, is named.
    pub(super) fn contains(&self, host: &str, port: u16) -> bool {
        let authority = if host.parse::<Ipv6Addr>().is_ok() {
            format!("[{host}]")
        } else {
            host.to_owned()
        };
        let uri = Uri::builder()
            .scheme("https")
            .authority(authority)
            .path_and_query("/")
            .build();
        let named = |matcher: &Matcher| {
            // Nothing else than the list keeps the matcher from its proxy.
            uri.as_ref()
                .is_ok_and(|uri| matcher.intercept(uri).is_none())
        };
        let mut matching = self.on_port.iter().filter(|(only, _)| *only == port);
        named(&self.on_any_port) || matching.any(|(_, matcher)| named(matcher))
    }
}

/// What an entry names in hyper-util's words, and the port that it is about.
fn split(entry: &str) -> (&str, Option<u16>) {
    let (host, port) = match entry.rsplit_once(':') {
        // More than one colon without brackets is an IPv6 address.
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => port
            .parse()
            .map_or((entry, None), |port| (host, Some(port))),
        _ => (entry, None),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let host = match host.strip_prefix('*') {
        Some(domain) if domain.starts_with('.') => domain,
        _ => host,
    };
    let host = match host.trim_end_matches('.') {
        // There, this names no address.
        "*" => "*,0.0.0.0/0,::/0",
        host => host,
    };
    (host, port)
}

/// A matcher that sends all but `list` to some proxy.
fn matcher(list: &str) -> Matcher {
    Matcher::builder().all("http://proxy").no(list).build()
}

impl Default for Bypass {
    fn default() -> Self {
        Self::parse("")
    }
}

impl fmt::Debug for Bypass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bypass").field(&self.list).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_name_hosts_addresses_networks_and_ports() {
        for (list, named, others) in [
            ("", &[][..], &["a.example"][..]),
            (",, ,", &[], &["a.example"]),
            ("*", &["a.example", "10.0.0.1", "2001:db8::1"], &[]),
            (
                "a.example",
                &["a.example", "A.Example", "b.a.example"],
                &["ba.example", "example", "a.example.org"],
            ),
            (".a.example", &["a.example", "b.a.example"], &["ba.example"]),
            ("*.a.example", &["b.a.example"], &["ba.example"]),
            ("a.example.", &["a.example"], &["b.example"]),
            (
                "x.example,a.example , b.example\tc.example",
                &["a.example", "b.example", "c.example"],
                &["d.example"],
            ),
            ("10.0.0.1", &["10.0.0.1"], &["10.0.0.11", "a.example"]),
            ("10.0.0.0/8", &["10.255.0.1"], &["11.0.0.1"]),
            ("10.1.2.3/8", &["10.255.0.1"], &["11.0.0.1"]),
            (
                "2001:db8::1",
                &["2001:db8::1", "2001:db8:0::1"],
                &["2001:db8::2"],
            ),
            ("[2001:db8::1]", &["2001:db8::1"], &["2001:db8::2"]),
            ("2001:db8::/32", &["2001:db8:1::1"], &["2001:db9::1"]),
            (
                "a.example:443",
                &["a.example", "b.a.example"],
                &["b.example"],
            ),
            ("a.example:8443", &[], &["a.example"]),
            ("[2001:db8::1]:443", &["2001:db8::1"], &[]),
            ("[2001:db8::1]:80", &[], &["2001:db8::1"]),
            ("10.0.0.0/8:443", &["10.0.0.1"], &[]),
            ("*:80", &[], &["a.example"]),
            ("*:443", &["a.example", "10.0.0.1"], &[]),
        ] {
            let bypass = Bypass::parse(list);
            for host in named {
                assert!(bypass.contains(host, 443), "{host} in {list:?}");
            }
            for host in others {
                assert!(!bypass.contains(host, 443), "{host} not in {list:?}");
            }
        }
    }
}
