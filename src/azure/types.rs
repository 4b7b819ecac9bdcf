//! What ARM answers, and the checks that make it usable.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;

use crate::secret::Secret;

/// A connected cluster, as far as it matters here.
#[derive(Debug, Clone, Deserialize)]
pub struct Cluster {
    /// Its ARM id as ARM spells it.
    pub id: String,
    /// The region.
    #[serde(default)]
    pub location: String,
    /// The rest.
    #[serde(default)]
    pub properties: ClusterProperties,
}

/// The properties of a connected cluster. All may be missing.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterProperties {
    /// `Connected`, `Connecting`, `Offline` or `Expired`.
    pub connectivity_status: Option<String>,
    /// The agents' version.
    pub agent_version: Option<String>,
    /// When the agents were last heard of, RFC 3339.
    pub last_connectivity_time: Option<String>,
    /// `Enabled` or `Disabled`.
    pub private_link_state: Option<String>,
}

/// One page of a list.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Page<T> {
    /// The items.
    pub value: Vec<T>,
    /// Where the next page is.
    pub next_link: Option<String>,
}

/// A subscription.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subscription {
    /// Its id, a GUID.
    pub subscription_id: String,
    /// Its name.
    pub display_name: String,
}

/// The answer of `listClusterUserCredential`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CredentialResults {
    /// How to reach the cluster through the relay.
    pub hybrid_connection_config: HybridConnectionConfig,
    /// The kubeconfig of the far end.
    #[serde(default)]
    pub kubeconfigs: Vec<NamedKubeconfig>,
}

/// Relay credentials. `relayTid` and `relayType` are not used.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HybridConnectionConfig {
    /// The relay's name, the first label of its host.
    pub relay: String,
    /// The hybrid connection's path; it ends in a new number with every call.
    pub hybrid_connection_name: String,
    /// The shared access signature.
    pub token: Secret,
    /// When the signature ends, seconds since 1970.
    pub expiration_time: u64,
}

/// A kubeconfig in base64.
#[derive(Debug, Deserialize)]
pub struct NamedKubeconfig {
    /// The document.
    pub value: Secret,
}

/// What is known of kube-aad-proxy from ARM's kubeconfig.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FarEnd {
    /// Its URL inside the cluster.
    pub server: String,
    /// The name that its certificate must carry, where it is not the server's host.
    pub tls_server_name: Option<String>,
    /// The authority of its certificate, PEM; `None` without TLS.
    pub certificate_authority: Option<Vec<u8>>,
}

#[derive(Deserialize)]
struct Kubeconfig {
    #[serde(default)]
    clusters: Vec<NamedCluster>,
}

#[derive(Deserialize)]
struct NamedCluster {
    cluster: ClusterEntry,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct ClusterEntry {
    server: String,
    tls_server_name: Option<String>,
    certificate_authority_data: Option<String>,
}

impl NamedKubeconfig {
    /// Reads the far end out of the document, which may be in base64 once or twice.
    ///
    /// # Errors
    /// What is wrong with the document; nothing of its content.
    pub fn far_end(&self) -> Result<FarEnd, String> {
        let once = decode(self.value.expose()).ok_or("its value is not base64")?;
        let text = decode(&once).unwrap_or(once);
        let kubeconfig: Kubeconfig = serde_saphyr::from_str(&text)
            .map_err(|_| "its value is not a kubeconfig".to_owned())?;
        let Some(NamedCluster { cluster }) = kubeconfig.clusters.into_iter().next() else {
            return Err("it names no cluster".to_owned());
        };
        let certificate_authority = match cluster.certificate_authority_data {
            None => None,
            Some(data) => Some(
                BASE64_STANDARD
                    .decode(data.trim())
                    .map_err(|_| "its certificate-authority-data is not base64")?,
            ),
        };
        Ok(FarEnd {
            server: cluster.server,
            tls_server_name: cluster.tls_server_name,
            certificate_authority,
        })
    }
}

fn decode(text: &str) -> Option<String> {
    let compact: String = text.split_whitespace().collect();
    String::from_utf8(BASE64_STANDARD.decode(compact).ok()?).ok()
}

/// ARM's error document.
#[derive(Debug, Clone, Deserialize)]
pub struct ErrorDocument {
    /// The error.
    pub error: ErrorBody,
}

/// The error in an [`ErrorDocument`].
#[derive(Debug, Clone, Deserialize)]
pub struct ErrorBody {
    /// ARM's code, such as `ResourceNotFound`.
    pub code: String,
    /// ARM's words.
    #[serde(default)]
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_answers_parse() {
        let fixture = include_str!("../../tests/fixtures/arm-list-credentials.json");
        let samples: serde_json::Value = serde_json::from_str(fixture).expect("JSON");
        for (sample, relay) in [
            ("spec_example", "azgnrelay-ph0-l1"),
            ("without_optional_fields", "azgnrelay-eastus-l1"),
        ] {
            let answer: CredentialResults =
                serde_json::from_value(samples[sample].clone()).expect(sample);
            assert_eq!(answer.hybrid_connection_config.relay, relay);
            assert!(!answer.hybrid_connection_config.token.is_empty());
            assert_eq!(answer.kubeconfigs.len(), 1);
        }
    }

    const KUBECONFIG: &str = "apiVersion: v1\nclusters:\n- name: c\n  cluster:\n    server: https://kube-aad-proxy:443\n    certificate-authority-data: Q0E=\nusers: [{name: u, user: {token: t}}]\n";

    #[test]
    fn the_kubeconfig_may_be_encoded_once_or_twice() {
        let once = BASE64_STANDARD.encode(KUBECONFIG);
        let twice = BASE64_STANDARD.encode(&once);
        for value in [once, twice] {
            let far = NamedKubeconfig {
                value: value.into(),
            }
            .far_end()
            .expect("a far end");
            assert_eq!(far.server, "https://kube-aad-proxy:443");
            assert_eq!(far.certificate_authority.as_deref(), Some(&b"CA"[..]));
        }
    }

    #[test]
    fn a_bad_kubeconfig_is_told_without_its_content() {
        for value in ["%%", "aGVsbG86IFs=", "YXBpVmVyc2lvbjogdjEK"] {
            let error = NamedKubeconfig {
                value: value.into(),
            }
            .far_end()
            .expect_err("bad");
            assert!(
                error.starts_with("its") || error.starts_with("it "),
                "{error}"
            );
        }
    }
}
