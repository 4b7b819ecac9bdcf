//! One cluster as the proxy's upstream: the session's authorization, the pool's tunnels.

use std::sync::Arc;

use http::{HeaderValue, Request, Response, StatusCode, header};
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
    /// is: whoever asked may ask again, and arcproxy will then have another one.
    fn heed<B>(&self, response: Response<B>) -> Response<B> {
        if response.status() == StatusCode::UNAUTHORIZED {
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
        self.pool
            .request(request)
            .await
            .map(|response| self.heed(response))
            .map_err(|error| error.explain(self.name()))
    }

    async fn upgrade(
        &self,
        mut request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, Error> {
        self.authorize(&mut request).await?;
        self.pool
            .upgrade(request)
            .await
            .map(|response| self.heed(response))
            .map_err(|error| error.explain(self.name()))
    }

    fn body(declined: Incoming) -> PooledBody {
        PooledBody::new(declined)
    }
}
