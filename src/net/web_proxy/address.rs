//! Where a web proxy is, and the credentials for it.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use percent_encoding::percent_decode_str;
use url::Url;
use zeroize::Zeroizing;

use super::BadProxy;
use crate::secret::Secret;

const ENCODE: &str =
    "write it as http://USER:PASSWORD@HOST:PORT, with %40 for @, %2F for / and so on";

/// A web proxy. It prints as its address and what named it, without credentials.
#[derive(Debug)]
pub(in super::super) struct WebProxy {
    named_by: &'static str,
    /// Whether TLS is spoken with the proxy itself.
    pub(in super::super) is_tls: bool,
    pub(in super::super) host: String,
    pub(in super::super) port: u16,
    /// The value of a `Proxy-Authorization` header.
    pub(in super::super) authorization: Option<Secret>,
}

impl WebProxy {
    /// Reads `http://[user[:password]@]host[:port]`, or `https://`; without a scheme it is
    /// `http://`.
    pub(super) fn parse(named_by: &'static str, text: &str) -> Result<Self, BadProxy> {
        let bad = |why, hint| BadProxy {
            named_by,
            why,
            hint,
        };
        let text = text.trim();
        let text = match text.split_once("://") {
            None => Zeroizing::new(format!("http://{text}")),
            Some((scheme, _)) if scheme.to_ascii_lowercase().starts_with("socks") => {
                return Err(bad(
                    "SOCKS proxies are not supported",
                    "name an HTTP proxy (http:// or https://); many SOCKS servers offer one too",
                ));
            }
            Some(_) => Zeroizing::new(text.to_owned()),
        };
        let url =
            Url::parse(&text).map_err(|_| bad("what names the web proxy is no address", ENCODE))?;
        let is_tls = match url.scheme() {
            "http" => false,
            "https" => true,
            _ => {
                return Err(bad(
                    "web proxies of this scheme are not supported",
                    "name a proxy whose address begins with http:// or https://",
                ));
            }
        };
        // A slash, ? or # in a password ends the address early and makes a host of the user's name.
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(bad(
                "there is more to the web proxy's address than a host and a port",
                ENCODE,
            ));
        }
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
            return Err(bad("what names the web proxy has no host", ENCODE));
        };
        Ok(Self {
            named_by,
            is_tls,
            host: host.to_owned(),
            port,
            authorization: basic(&url),
        })
    }
}

/// The user and password of `url` for the Basic scheme (RFC 7617), if there are any.
fn basic(url: &Url) -> Option<Secret> {
    let password = url.password().unwrap_or_default();
    if url.username().is_empty() && password.is_empty() {
        return None;
    }
    let mut pair = Zeroizing::new(Vec::new());
    pair.extend(percent_decode_str(url.username()));
    pair.push(b':');
    pair.extend(percent_decode_str(password));
    let encoded = Zeroizing::new(BASE64_STANDARD.encode(&*pair));
    Some(Secret::from(format!("Basic {}", &*encoded)))
}

impl fmt::Display for WebProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            named_by,
            host,
            port,
            ..
        } = self;
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(f, "{scheme}://{host}:{port} (from {named_by})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (String, Option<String>) {
        let proxy = WebProxy::parse("--proxy", text).expect("a proxy");
        let authorization = proxy
            .authorization
            .as_ref()
            .map(|value| value.expose().to_owned());
        (proxy.to_string(), authorization)
    }

    #[test]
    fn addresses_are_read_as_curl_reads_them() {
        for (text, shown) in [
            ("http://proxy.example:3128", "http://proxy.example:3128"),
            ("http://proxy.example:3128/", "http://proxy.example:3128"),
            (" proxy.example:3128 ", "http://proxy.example:3128"),
            ("proxy.example", "http://proxy.example:80"),
            ("HTTPS://proxy.example", "https://proxy.example:443"),
            ("http://[2001:db8::1]:8080", "http://[2001:db8::1]:8080"),
            ("10.0.0.1:8080", "http://10.0.0.1:8080"),
        ] {
            let told = format!("{shown} (from --proxy)");
            assert_eq!(parsed(text), (told, None), "{text}");
        }
    }

    #[test]
    fn credentials_are_decoded_and_never_printed() {
        // RFC 7617's own example, then one whose characters must be encoded.
        for (text, basic) in [
            (
                "http://Aladdin:open%20sesame@p",
                "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
            ),
            (
                "ana%40corp:p%40ss%2F%C3%A9@p:8080",
                "Basic YW5hQGNvcnA6cEBzcy/DqQ==",
            ),
            ("http://ana@p", "Basic YW5hOg=="),
        ] {
            let (shown, authorization) = parsed(text);
            assert_eq!(authorization.as_deref(), Some(basic));
            assert!(
                !shown.contains("ana") && !shown.contains("Aladdin"),
                "{shown}"
            );
            let debug = format!("{:?}", WebProxy::parse("--proxy", text));
            assert!(
                !debug.contains("ana") && !debug.contains("Aladdin"),
                "{debug}"
            );
            assert!(!debug.contains(&basic["Basic ".len()..]), "{debug}");
        }
    }

    #[test]
    fn what_is_no_proxy_is_told_without_its_value() {
        for text in [
            "",
            "http://",
            "http://hunter2:99999",
            "http://ana:hunter2/x@proxy:3128",
            "http://ana:1#hunter2@proxy:3128",
            "http://ana:1?hunter2@proxy:3128",
            "ftp://hunter2",
            "socks5://ana:hunter2@proxy:1080",
            "SOCKS5H://hunter2",
        ] {
            let error = WebProxy::parse("--proxy", text).expect_err(text);
            assert!(error.to_string().starts_with("--proxy: "), "{error}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
            assert_eq!(
                error.why.contains("SOCKS"),
                text.to_ascii_lowercase().starts_with("socks"),
                "{error}"
            );
        }
    }
}
