//! Fuzz targets: relay credentials, and the kubeconfig inside them.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::HeaderValue;

use crate::azure::cloud::Cloud;
use crate::azure::id::ClusterId;
use crate::azure::types::{CredentialResults, NamedKubeconfig};
use crate::secret::Secret;
use crate::tunnel::FarSide;

/// The kubeconfig of the far end: any text, in base64.
pub(crate) fn far_side(data: &[u8]) {
    let value = Secret::from(BASE64_STANDARD.encode(data));
    let Ok(far) = (NamedKubeconfig { value }).far_end() else {
        return;
    };
    let name = far.tls_server_name.as_deref();
    let authority = far.certificate_authority.as_deref();
    if let Ok(far_side) = FarSide::new(&far.server, name, authority) {
        HeaderValue::from_str(far_side.authority()).expect("a host is a header's value");
        let bad = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '/' | '@');
        assert!(!far_side.authority().contains(bad));
    }
}

/// The whole answer of `listClusterUserCredential`.
pub(crate) fn lease(data: &[u8]) {
    let Ok(answer) = serde_json::from_slice::<CredentialResults>(data) else {
        return;
    };
    let cloud = Cloud::named("AzureCloud").expect("a known cloud");
    let id = ClusterId {
        subscription: "s".to_owned(),
        resource_group: "g".to_owned(),
        name: "c".to_owned(),
    };
    let config = &answer.hybrid_connection_config;
    let token = config.token.expose().to_owned();
    let is_elsewhere = token.len() < 20 || config.relay.contains(&token);
    match super::access(answer, &cloud, &id, 1) {
        Ok(access) => {
            let rendezvous = access.rendezvous;
            assert!(rendezvous.host.ends_with(".servicebus.windows.net"));
            assert!(cloud.is_relay(&rendezvous.host, rendezvous.port));
        }
        Err(error) => {
            let told = format!("{error}");
            assert!(is_elsewhere || !told.contains(&token), "a secret is told");
        }
    }
}
