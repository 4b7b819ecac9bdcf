//! `listClusterUserCredential`: the way to a cluster through the relay, and the certificate that
//! waits at its end.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde::Deserialize;
use serde_json::{Value, json};

use super::State;
use super::access::Caller;
use super::error::{self, ArmError};
use super::fleet::{Cluster, Condition, RELAY};

/// The right that it takes.
const ACTION: &str = "Microsoft.Kubernetes/connectedClusters/listClusterUserCredentials/action";

/// Without a fault that says otherwise, relay tokens live this many seconds.
const RELAY_TOKEN_SECONDS: u64 = 10_800;

/// Where kube-aad-proxy is in its cluster.
const PROXY_URL: &str = "https://kube-aad-proxy.azure-arc:443";

/// The request's body.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wanted {
    authentication_method: String,
    client_proxy: bool,
}

/// Answers with the credentials of `cluster`.
pub(super) fn list(
    state: &State,
    cluster: &Cluster,
    caller: &Caller,
    version: &str,
    body: &[u8],
) -> Result<Value, ArmError> {
    if cluster.condition == Condition::Forbidden || !state.entra.may_connect(&caller.object_id) {
        let (name, id) = (&caller.name, &caller.object_id);
        return Err(error::authorization_failed(name, id, ACTION, &cluster.id));
    }
    let wanted: Wanted = serde_json::from_slice(body)
        .map_err(|invalid| error::invalid_content(&invalid.to_string()))?;
    if !["AAD", "Token"].contains(&wanted.authentication_method.as_str()) {
        return Err(error::invalid_content("authenticationMethod"));
    }
    let mut answer = json!({ "kubeconfigs": [{
        "name": "KubeConfig",
        "value": BASE64_STANDARD.encode(kubeconfig(cluster, state.proxy_ca(cluster))),
    }]});
    // Without the client proxy, the caller reaches the cluster by itself.
    if wanted.client_proxy {
        answer["hybridConnectionConfig"] = hybrid_connection(state, cluster, version);
    }
    Ok(answer)
}

fn hybrid_connection(state: &State, cluster: &Cluster, version: &str) -> Value {
    let now = state.faults.cloud_time();
    let lifetime = state.faults.now().relay_token_seconds;
    let expires = now.saturating_add(lifetime.unwrap_or(RELAY_TOKEN_SECONDS));
    let path = format!("{}/{}", cluster.listener_path, state.next_connection(now));
    let relay = if cluster.condition == Condition::Nowhere {
        "azgnrelay-nowhere-l1"
    } else {
        state.relay.create(RELAY, &path, &cluster.listener_path);
        RELAY
    };
    let mut connection = json!({
        "relay": relay,
        "hybridConnectionName": path,
        "token": state.relay.sender_token(relay, &path, expires),
        "expirationTime": expires,
    });
    // Versions after 2024-01-01 tell two things more.
    if version > "2024-01-01" {
        connection["relayTid"] = state.tenant.as_str().into();
        connection["relayType"] = "byor".into();
    }
    connection
}

fn kubeconfig(cluster: &Cluster, ca_pem: &str) -> String {
    let name = &cluster.name;
    let user = format!("clusterUser_{}_{name}", cluster.group);
    let ca = BASE64_STANDARD.encode(ca_pem);
    format!(
        "apiVersion: v1\n\
         clusters:\n\
         - cluster:\n    certificate-authority-data: {ca}\n    server: {PROXY_URL}\n  name: {name}\n\
         contexts:\n\
         - context:\n    cluster: {name}\n    user: {user}\n  name: {name}\n\
         current-context: {name}\n\
         kind: Config\n\
         preferences: {{}}\n\
         users:\n\
         - name: {user}\n  user:\n    token: placeholder\n"
    )
}
