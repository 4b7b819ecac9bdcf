//! One cluster as the proxy's upstream: the session's authorization, the pool's tunnels.

use std::sync::Arc;

use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use hyper::body::Incoming;

use crate::error::Error;
use crate::proxy::{RequestBody, Upstream};
use crate::session::Session;
use crate::tunnel::{Pool, PooledBody};

/// A cluster that requests can be sent to.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) session: Arc<Session>,
    pub(super) pool: Pool<RequestBody>,
}

impl Cluster {
    fn name(&self) -> &str {
        &self.session.id().name
    }

    async fn authorize(&self, request: &mut Request<RequestBody>) -> Result<(), Error> {
        let authorization: HeaderValue = self.session.authorization().await?;
        request
            .headers_mut()
            .insert(header::AUTHORIZATION, authorization);
        Ok(())
    }

    /// Looks whether the cluster has taken the authorization. The answer is passed on whatever it
    /// is: whoever asked may ask again, and arcproxy will then have another one. What is reached
    /// through the apiserver's own proxy (`is_proxied`) has passwords of its own to refuse.
    fn heed<B>(&self, response: Response<B>, is_proxied: bool) -> Response<B> {
        if response.status() == StatusCode::UNAUTHORIZED && !is_proxied {
            self.session.refused();
        }
        response
    }
}

impl Upstream for Cluster {
    type Body = PooledBody;

    async fn request(
        &self,
        mut request: Request<RequestBody>,
    ) -> Result<Response<PooledBody>, Error> {
        self.authorize(&mut request).await?;
        let is_proxied = is_proxied(request.uri());
        self.pool
            .request(request)
            .await
            .map(|response| self.heed(response, is_proxied))
            .map_err(|error| error.explain(self.name()))
    }

    async fn upgrade(
        &self,
        mut request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, Error> {
        self.authorize(&mut request).await?;
        let is_proxied = is_proxied(request.uri());
        self.pool
            .upgrade(request)
            .await
            .map(|response| self.heed(response, is_proxied))
            .map_err(|error| error.explain(self.name()))
    }

    fn body(declined: Incoming) -> PooledBody {
        PooledBody::new(declined)
    }
}

/// Whether a pod, a service or a node is asked through the apiserver.
fn is_proxied(uri: &Uri) -> bool {
    uri.path().split('/').any(|segment| segment == "proxy")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_behind_the_apiserver_is_told_apart() {
        let is_proxied = |path: &str| is_proxied(&path.parse().expect("a path"));
        assert!(is_proxied(
            "/api/v1/namespaces/demo/services/web/proxy/login"
        ));
        assert!(is_proxied("/api/v1/nodes/one/proxy"));
        assert!(!is_proxied("/api/v1/namespaces/demo/pods/proxy-1?proxy"));
    }
}
