//! Who may pass, and where to: each cluster has a bearer token of its own for this run.
//!
//! The token alone decides the cluster. A cluster's server has the path `/proxies/<64 hex>`, by
//! which tools recognise an Arc context; requests that leave it out (`kubectl get --raw` does)
//! mean the same cluster, and one that names another cluster's is refused.
//!
//! Whoever asks must have gone to this machine by one of its own names: a page that had its own
//! name resolve to it would not. No answer carries a header that lets a page read it.

use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use http::uri::PathAndQuery;
use http::{Request, Response, StatusCode, Uri, Version, header};
use hyper::body::Incoming;

use super::listener::Visitor;
use super::{AnswerBody, Upstream, forward, local, respond, upgrade};
use crate::secret::Secret;
use crate::shutdown::Drain;

/// What stands in front of every cluster's path.
const PREFIX: &str = "/proxies/";
/// The largest header list that is forwarded, in bytes as HTTP/2 counts them: what an apiserver
/// takes. The listener reads more, so that who sends too much is told so.
pub(super) const HEADER_LIST: u32 = 1 << 20;
/// What HTTP/2 adds for each field (RFC 9113, section 6.5.2).
const FIELD: usize = 32;

/// The gate: checks a request and sends it on its way.
#[derive(Debug)]
pub struct Gate<U> {
    routes: Vec<Route<U>>,
    drain: Drain,
}

/// One cluster behind the gate.
#[derive(Debug)]
pub struct Route<U> {
    /// The whole value that `Authorization` must have.
    authorization: Secret,
    hash: String,
    upstream: Arc<U>,
}

impl<U> Route<U> {
    /// A way to `upstream` for those who bear `token`, below the path `/proxies/<hash>`.
    pub fn new(token: &Secret, hash: String, upstream: Arc<U>) -> Self {
        Self {
            authorization: Secret::from(format!("Bearer {}", token.expose())),
            hash,
            upstream,
        }
    }

    /// Whether `given`, the value of an `Authorization` header, is this route's. However much of it
    /// is right, a wrong one takes as long.
    fn is_opened_by(&self, given: &[u8]) -> bool {
        verify_slices_are_equal(given, self.authorization.expose().as_bytes()).is_ok()
    }
}

impl<U: Upstream> Gate<U> {
    /// A gate with these ways through it.
    pub fn new(routes: Vec<Route<U>>) -> Self {
        Self {
            routes,
            drain: Drain::default(),
        }
    }

    /// The tasks that serve connections and upgraded streams.
    pub(super) fn drain(&self) -> &Drain {
        &self.drain
    }

    /// Answers one request of `visitor`, who is let stay once it has shown a token. Never fails:
    /// every failure is an answer.
    pub(super) async fn answer(
        &self,
        mut request: Request<Incoming>,
        visitor: Arc<Visitor>,
    ) -> Response<AnswerBody<U::Body>> {
        if let Err(why) = local::check(&request) {
            return respond::refused(StatusCode::MISDIRECTED_REQUEST, why);
        }
        let length = header_list(&request);
        if length > HEADER_LIST as usize {
            let why = format!(
                "arcproxy: the request's headers take {length} bytes; an apiserver takes no more than {HEADER_LIST}"
            );
            return respond::refused(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, &why);
        }
        // With a token it is the cluster's health that is asked for.
        let anonymous = !request.headers().contains_key(header::AUTHORIZATION);
        if anonymous && request.uri().path() == "/healthz" {
            return respond::plain(StatusCode::OK, "text/plain", "ok");
        }
        if request.version() == Version::HTTP_10 {
            // Where a length is missing it would take an answer that is cut for a whole one.
            let why = "arcproxy: HTTP/1.0 is not spoken here; ask with HTTP/1.1 or HTTP/2";
            return respond::refused(StatusCode::HTTP_VERSION_NOT_SUPPORTED, why);
        }
        let Some(route) = self.route(&request) else {
            let why = "arcproxy: this listener only serves the user whose kubeconfig names it";
            return respond::refused(StatusCode::UNAUTHORIZED, why);
        };
        visitor.newcomer.welcome();
        let Some(uri) = without_prefix(request.uri(), &route.hash) else {
            let why = "arcproxy: this token is not for that cluster; its path is another one";
            return respond::refused(StatusCode::NOT_FOUND, why);
        };
        *request.uri_mut() = uri;
        if upgrade::is_upgrade(&request) {
            upgrade::answer(&*route.upstream, request, &self.drain, visitor).await
        } else {
            forward::answer(&*route.upstream, request).await
        }
    }

    fn route(&self, request: &Request<Incoming>) -> Option<&Route<U>> {
        let mut given = request.headers().get_all(header::AUTHORIZATION).iter();
        // Two tokens leave open which one counts.
        let (Some(given), None) = (given.next(), given.next()) else {
            return None;
        };
        let given = given.as_bytes();
        self.routes.iter().find(|route| route.is_opened_by(given))
    }
}

/// The size of the request's header list, its target included.
fn header_list<B>(request: &Request<B>) -> usize {
    let fields = request.headers().iter();
    let fields: usize = fields
        .map(|(name, value)| name.as_str().len() + value.len() + FIELD)
        .sum();
    let target = request.uri().path_and_query();
    fields + target.map_or(0, |target| target.as_str().len())
}

/// `uri` without the path of the cluster `hash`; `None` where it names another cluster's.
fn without_prefix(uri: &Uri, hash: &str) -> Option<Uri> {
    let path = uri.path_and_query()?.as_str();
    let Some(named) = path.strip_prefix(PREFIX) else {
        return Some(uri.clone());
    };
    let rest = named.strip_prefix(hash)?;
    let rest = match rest.chars().next() {
        Some('/') => rest.to_owned(),
        Some('?') | None => format!("/{rest}"),
        Some(_) => return None,
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(rest).ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    /// So long that the time of a comparison shows where it stopped.
    #[test]
    fn a_wrong_token_takes_as_long_wherever_it_is_wrong() {
        const LENGTH: usize = 2 << 20;
        let token = Secret::from("a".repeat(LENGTH));
        let route = Route::new(&token, String::new(), Arc::new(()));
        let takes = |wrong_at: usize| {
            let mut given = format!("Bearer {}", token.expose()).into_bytes();
            assert!(route.is_opened_by(&given));
            given[wrong_at] = b'b';
            let once = |_| {
                let begun = Instant::now();
                assert!(!route.is_opened_by(&given));
                begun.elapsed()
            };
            // What else the machine does only adds to it.
            (0..20).map(once).min().unwrap_or(Duration::MAX)
        };
        let (first, last) = (takes(0), takes("Bearer ".len() + LENGTH - 1));
        assert!(
            first * 3 > last * 2 && last * 3 > first * 2,
            "{first:?} for the first byte, {last:?} for the last"
        );
    }

    #[test]
    fn the_prefix_is_taken_off_and_nothing_else() {
        let without = |path: &str| {
            let uri = path.parse().expect("a path");
            without_prefix(&uri, "ab").map(|uri| uri.to_string())
        };
        for (path, rest) in [
            ("/proxies/ab/api/v1?x=1", "/api/v1?x=1"),
            ("/proxies/ab", "/"),
            ("/proxies/ab?timeout=1s", "/?timeout=1s"),
            ("/proxies/ab/../cd", "/../cd"),
            ("/version", "/version"),
            ("//proxies/cd/", "//proxies/cd/"),
        ] {
            assert_eq!(without(path).as_deref(), Some(rest));
        }
        for path in ["/proxies/cd/api", "/proxies/abc/api", "/proxies/"] {
            assert_eq!(without(path), None, "{path}");
        }
    }
}
