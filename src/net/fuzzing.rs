//! Fuzz targets: where web proxies are, what they answer, and certificates that nobody vouches for.

use super::issuer;
use super::web_proxy::{self, Failure, WebProxies};
use crate::fuzzing::{Wire, block_on};
use crate::secret::Secret;

/// The issuer's name in a certificate.
pub(crate) fn issuer(data: &[u8]) {
    if let Some(name) = issuer::issuer(data) {
        assert!(!name.contains(char::is_control) && name.chars().count() <= 202);
    }
}

/// Three lines: a proxy's address, what goes without it, and a host.
pub(crate) fn web_proxy(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.splitn(3, '\n');
    let mut line = || lines.next().unwrap_or_default();
    let (address, list, host) = (Secret::from(line()), line(), line());
    let variable = |name: &str| (name == "no_proxy").then(|| list.to_owned());
    let Ok(proxies) = WebProxies::read(Some(&address), variable) else {
        return;
    };
    let _ = proxies.to(host, 443).map(ToString::to_string);
    for near in [
        "127.0.0.1",
        "localhost",
        "a.localhost",
        "::1",
        "[::1]",
        "169.254.169.254",
    ] {
        assert!(proxies.to(near, 443).is_none(), "{near}");
    }
    let all = WebProxies::read(Some(&address), |_| None).expect("the same address");
    let proxy = all.to("arm.example", 443).expect("nothing goes without");
    let shown = proxy.to_string();
    assert!(!shown.contains(['@', '\n', '\r']), "credentials: {shown}");
    assert!(!proxy.host.is_empty());
    // All of it goes without where the list says so.
    let none = WebProxies::read(Some(&address), |name| {
        (name == "no_proxy").then(|| format!("{},*", list.replace('\n', "")))
    });
    assert!(
        none.expect("the same address")
            .to("arm.example", 443)
            .is_none()
    );
}

/// What a web proxy answers to CONNECT. The first byte says how it comes.
pub(crate) fn connect(data: &[u8]) {
    let Some((piece, answer)) = data.split_first() else {
        return;
    };
    match block_on(web_proxy::fuzzing(Wire::new(answer, *piece).asked())) {
        Ok(_) => {
            // Empty lines before an answer are passed over (RFC 9112, section 2.2).
            let answer = answer.trim_ascii_start();
            assert!(answer.starts_with(b"HTTP/1."), "no answer");
        }
        Err(Failure::Refused(_, words) | Failure::Broken(words)) => {
            assert!(!words.contains(char::is_control), "{words:?}");
        }
        Err(_) => {}
    }
}
