//! Who may pass, and where to: the bearer token of this run, and a cluster's path.

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use http::uri::PathAndQuery;
use http::{Request, Response, StatusCode, header};
use hyper::body::Incoming;

use super::{AnswerBody, Upstream, forward, respond, upgrade};
use crate::secret::Secret;
use crate::shutdown::Drain;

/// What stands in front of every cluster's path.
const PREFIX: &str = "/proxies/";

/// The gate: checks a request and sends it on its way.
#[derive(Debug)]
pub struct Gate<U> {
    /// The whole value that `Authorization` must have.
    authorization: Secret,
    routes: HashMap<String, Route<U>>,
    drain: Drain,
}

/// One cluster behind the gate.
#[derive(Debug)]
pub struct Route<U> {
    /// Where its requests go.
    pub upstream: Arc<U>,
}

impl<U: Upstream> Gate<U> {
    /// A gate that lets those pass who bear `token`. The keys of `routes` are the clusters' 64
    /// hex digits.
    pub fn new(token: &Secret, routes: HashMap<String, Route<U>>) -> Self {
        Self {
            authorization: Secret::from(format!("Bearer {}", token.expose())),
            routes,
            drain: Drain::default(),
        }
    }

    /// The tasks that serve connections and upgraded streams.
    pub(super) fn drain(&self) -> &Drain {
        &self.drain
    }

    /// Answers one request. Never fails: every failure is an answer.
    pub(super) async fn answer(
        &self,
        mut request: Request<Incoming>,
    ) -> Response<AnswerBody<U::Body>> {
        if request.uri().path() == "/healthz" {
            return respond::plain(StatusCode::OK, "text/plain", "ok");
        }
        if !self.is_authorized(&request) {
            let why = "arcproxy: this listener only serves the user whose kubeconfig names it";
            return respond::refused(StatusCode::UNAUTHORIZED, why);
        }
        let Some((route, path)) = self.route(&request) else {
            let why =
                "arcproxy: no such cluster on this listener; its paths are /proxies/<cluster>/…";
            return respond::refused(StatusCode::NOT_FOUND, why);
        };
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        parts.path_and_query = Some(path);
        let Ok(uri) = http::Uri::from_parts(parts) else {
            let why = "arcproxy: the request's address makes no sense";
            return respond::refused(StatusCode::BAD_REQUEST, why);
        };
        *request.uri_mut() = uri;
        if upgrade::is_upgrade(&request) {
            upgrade::answer(&*route.upstream, request, &self.drain).await
        } else {
            forward::answer(&*route.upstream, request).await
        }
    }

    fn is_authorized(&self, request: &Request<Incoming>) -> bool {
        let mut given = request.headers().get_all(header::AUTHORIZATION).iter();
        // Two tokens leave open which one counts.
        let (Some(given), None) = (given.next(), given.next()) else {
            return false;
        };
        verify_slices_are_equal(given.as_bytes(), self.authorization.expose().as_bytes()).is_ok()
    }

    fn route(&self, request: &Request<Incoming>) -> Option<(&Route<U>, PathAndQuery)> {
        let path = request.uri().path_and_query()?.as_str();
        let (hash, rest) = split(path)?;
        let rest = if rest.starts_with('/') {
            rest.to_owned()
        } else {
            format!("/{rest}")
        };
        Some((self.routes.get(hash)?, PathAndQuery::try_from(rest).ok()?))
    }
}

/// The cluster's hash and what follows it: empty, or beginning with `/` or `?`.
fn split(path: &str) -> Option<(&str, &str)> {
    let rest = path.strip_prefix(PREFIX)?;
    Some(rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_is_taken_off_and_nothing_else() {
        assert_eq!(split("/proxies/ab/api/v1?x=1"), Some(("ab", "/api/v1?x=1")));
        assert_eq!(split("/proxies/ab"), Some(("ab", "")));
        assert_eq!(split("/proxies/ab?timeout=1s"), Some(("ab", "?timeout=1s")));
        assert_eq!(split("/proxies/ab/../cd"), Some(("ab", "/../cd")));
        assert_eq!(split("/api/v1"), None);
        assert_eq!(split("//proxies/ab/"), None);
    }
}
