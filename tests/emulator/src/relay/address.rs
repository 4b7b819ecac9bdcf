//! What a request asks of the relay: `wss://{namespace}/$hc/{path}?sb-hc-action=…`.

use http::header::{self, HeaderMap};
use http::{Method, Request, Version};
use percent_encoding::percent_decode_str;
use url::form_urlencoded;

use super::sas::namespace_of;

/// The role that a client takes with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// A sender opens a tunnel.
    Connect,
    /// A listener opens its control channel.
    Listen,
    /// A listener meets a sender, or refuses to.
    Accept,
}

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) action: Action,
    /// As the client named it, with its port if it named one.
    pub(super) host: String,
    pub(super) namespace: String,
    /// As it was written, without slashes at its ends.
    pub(super) raw_path: String,
    pub(super) path: String,
    /// What the query holds besides the relay's own parameters.
    pub(super) query: String,
    pub(super) id: Option<String>,
    pub(super) token: Option<String>,
    /// A listener's refusal: a status and a description.
    pub(super) refusal: Option<(String, String)>,
}

/// Why a request is no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Malformed {
    /// It does not lead to a hybrid connection at all.
    NotAnEndpoint,
    /// It leads to one, but cannot be understood.
    BadRequest(&'static str),
}

impl Address {
    pub(super) fn of<B>(request: &Request<B>) -> Result<Self, Malformed> {
        let host = request
            .headers()
            .get(header::HOST)
            .and_then(|host| host.to_str().ok())
            .ok_or(Malformed::BadRequest("The host header is missing."))?;
        let target = request
            .uri()
            .path_and_query()
            .map_or("/", |target| target.as_str());
        let target = target
            .strip_prefix("/$hc/")
            .or_else(|| target.strip_prefix("/%24hc/"))
            .ok_or(Malformed::NotAnEndpoint)?;
        let (path, query) = split(target);
        let mut address = Self {
            action: Action::Connect,
            namespace: namespace_of(host).to_lowercase(),
            host: host.to_owned(),
            raw_path: path.trim_matches('/').to_owned(),
            path: percent_decode_str(path.trim_matches('/'))
                .decode_utf8()
                .map_err(|_| Malformed::BadRequest("The path is not UTF-8."))?
                .into_owned(),
            query: String::new(),
            id: None,
            token: None,
            refusal: None,
        };
        address.read_query(query)?;
        if let Some(token) = request.headers().get("ServiceBusAuthorization") {
            address.token = token.to_str().ok().map(str::to_owned);
        }
        check_upgrade(request)?;
        Ok(address)
    }

    fn read_query(&mut self, query: &str) -> Result<(), Malformed> {
        let (mut action, mut status, mut description) = (None, None, None);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let Some((name, value)) = form_urlencoded::parse(pair.as_bytes()).next() else {
                continue;
            };
            match name.to_ascii_lowercase().as_str() {
                "sb-hc-action" => action = Some(value.into_owned()),
                "sb-hc-id" => self.id = Some(value.into_owned()),
                "sb-hc-token" => self.token = Some(value.into_owned()),
                "sb-hc-statuscode" => status = Some(value.into_owned()),
                "sb-hc-statusdescription" => description = Some(value.into_owned()),
                other if other.starts_with("sb-hc-") => {}
                _ => {
                    if !self.query.is_empty() {
                        self.query.push('&');
                    }
                    self.query.push_str(pair);
                }
            }
        }
        self.action = match action.as_deref() {
            Some("connect") => Action::Connect,
            Some("listen") => Action::Listen,
            Some("accept") => Action::Accept,
            Some(_) => return Err(Malformed::BadRequest("The sb-hc-action is unknown.")),
            None => return Err(Malformed::BadRequest("The sb-hc-action is missing.")),
        };
        self.refusal = status.map(|status| (status, description.unwrap_or_default()));
        Ok(())
    }
}

/// Parts path and query. Some Go clients put the query into the path, and the relay takes it.
fn split(target: &str) -> (&str, &str) {
    if let Some((path, query)) = target.split_once('?') {
        return (path, query);
    }
    match target.to_ascii_lowercase().find("%3fsb-hc-") {
        Some(at) => (&target[..at], &target[at + "%3f".len()..]),
        None => (target, ""),
    }
}

fn check_upgrade<B>(request: &Request<B>) -> Result<(), Malformed> {
    let headers = request.headers();
    let upgrades = request.method() == Method::GET
        && request.version() == Version::HTTP_11
        && has_token(headers, &header::CONNECTION, "upgrade")
        && has_token(headers, &header::UPGRADE, "websocket");
    if !upgrades {
        return Err(Malformed::BadRequest("A WebSocket upgrade is required."));
    }
    let version = headers.get(header::SEC_WEBSOCKET_VERSION);
    if version.is_none_or(|version| version != "13")
        || !headers.contains_key(header::SEC_WEBSOCKET_KEY)
    {
        return Err(Malformed::BadRequest("The WebSocket upgrade is malformed."));
    }
    Ok(())
}

/// Whether the comma-separated lists of `name` hold `token`, in any case.
fn has_token(headers: &HeaderMap, name: &header::HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|value| value.trim().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    fn request(target: &str) -> Request<()> {
        Request::get(target)
            .header("host", "Contoso.servicebus.localhost:8443")
            .header("connection", "keep-alive, Upgrade")
            .header("upgrade", "WebSocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .body(())
            .unwrap()
    }

    #[test]
    fn a_sender_names_path_suffix_and_query() {
        let address = Address::of(&request(
            "/$hc/hyco/a%20suffix?p=1&sb-hc-action=connect&sb-hc-id=42&q=%26&sb-hc-token=a%3Db",
        ))
        .unwrap();
        assert_eq!(address.action, Action::Connect);
        assert_eq!(address.namespace, "contoso");
        assert_eq!(address.host, "Contoso.servicebus.localhost:8443");
        assert_eq!(address.path, "hyco/a suffix");
        assert_eq!(address.raw_path, "hyco/a%20suffix");
        assert_eq!(address.query, "p=1&q=%26");
        assert_eq!(address.id.as_deref(), Some("42"));
        assert_eq!(address.token.as_deref(), Some("a=b"));
        assert_eq!(address.refusal, None);
    }

    #[test]
    fn the_header_token_wins() {
        let mut request = request("/$hc/hyco?sb-hc-action=connect&sb-hc-token=query");
        request
            .headers_mut()
            .insert("servicebusauthorization", "header".parse().unwrap());
        let address = Address::of(&request).unwrap();
        assert_eq!(address.token.as_deref(), Some("header"));
    }

    #[test]
    fn a_query_may_hide_in_the_path() {
        let address =
            Address::of(&request("/$hc/hyco/v2%3Fsb-hc-action=connect&sb-hc-id=7")).unwrap();
        assert_eq!(
            (address.path.as_str(), address.id.as_deref()),
            ("hyco/v2", Some("7"))
        );
    }

    #[test]
    fn a_listener_may_refuse() {
        let address = Address::of(&request(
            "/$hc/hyco?sb-hc-action=accept&sb-hc-id=1&sb-hc-statusCode=503&sb-hc-statusDescription=not+now",
        ))
        .unwrap();
        assert_eq!(address.action, Action::Accept);
        assert_eq!(
            address.refusal,
            Some(("503".to_owned(), "not now".to_owned()))
        );
    }

    #[test]
    fn what_is_no_address_is_told_apart() {
        let of = |target| Address::of(&request(target)).unwrap_err();
        assert_eq!(of("/"), Malformed::NotAnEndpoint);
        assert_eq!(of("/hyco?sb-hc-action=connect"), Malformed::NotAnEndpoint);
        assert!(matches!(of("/$hc/hyco"), Malformed::BadRequest(_)));
        assert!(matches!(
            of("/$hc/hyco?sb-hc-action=dance"),
            Malformed::BadRequest(_)
        ));
        let mut plain = request("/$hc/hyco?sb-hc-action=connect");
        plain.headers_mut().remove("upgrade");
        assert!(matches!(Address::of(&plain), Err(Malformed::BadRequest(_))));
    }
}
