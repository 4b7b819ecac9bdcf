//! Where a kubeconfig leads.

use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::HeaderValue;
use serde::Deserialize;
use url::Url;

use crate::Result;
use crate::peer::Peer;

/// An HTTPS server on this machine, and how to be let in.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    pub(crate) peer: Peer,
    /// What stands before every path; empty, or without a slash at its end.
    pub(crate) prefix: String,
    pub(crate) authorization: HeaderValue,
}

#[derive(Deserialize)]
struct Kubeconfig {
    clusters: Vec<Named>,
    users: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    cluster: Cluster,
    #[serde(default)]
    user: User,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    server: String,
    certificate_authority_data: String,
}

#[derive(Default, Deserialize)]
struct User {
    token: String,
}

impl Endpoint {
    /// Reads a kubeconfig of one context.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let kubeconfig: Kubeconfig = serde_saphyr::from_str(&std::fs::read_to_string(path)?)?;
        let ([cluster], [user]) = (&*kubeconfig.clusters, &*kubeconfig.users) else {
            return Err(format!("{} has not one context", path.display()).into());
        };
        let server: Url = cluster.cluster.server.parse()?;
        let address = server
            .socket_addrs(|| None)?
            .pop()
            .ok_or("the server has no address")?;
        let authority = BASE64_STANDARD.decode(&cluster.cluster.certificate_authority_data)?;
        let authority = String::from_utf8(authority)?;
        Ok(Self {
            peer: Peer { address, authority },
            prefix: server.path().trim_end_matches('/').to_owned(),
            authorization: bearer(&user.user.token)?,
        })
    }

    /// A server that is reached at `peer`.
    pub(crate) fn new(peer: Peer, authorization: HeaderValue) -> Self {
        Self {
            peer,
            prefix: String::new(),
            authorization,
        }
    }
}

/// What shows `token` to a server.
pub(crate) fn bearer(token: &str) -> Result<HeaderValue> {
    let mut authorization = HeaderValue::try_from(format!("Bearer {token}"))?;
    authorization.set_sensitive(true);
    Ok(authorization)
}
