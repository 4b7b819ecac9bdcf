//! Which cloud: where Azure Resource Manager, Entra and the relay are.
//!
//! Three clouds are known by name; any other is described by a cloud file, a JSON document whose
//! form is in `docs/clouds.md`, or by its own Azure Resource Manager ([`super::metadata`]).
//! Nothing in the program treats a named cloud otherwise than one that was described.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use url::Url;

use super::metadata;
use crate::error::{Code, Error};
use crate::net::Https;

/// The application id of kube-aad-proxy, the audience of every cluster's access tokens.
const SERVER_APP_ID: &str = "6256c85f-0aad-4d50-b960-e6e9b21efe35";

/// A cloud's addresses and audiences.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cloud {
    /// Its name, for people.
    pub name: String,
    /// Azure Resource Manager's endpoint, without a trailing slash in its path.
    pub resource_manager: Url,
    /// The audience of ARM's tokens.
    pub resource_manager_audience: String,
    /// Entra's endpoint.
    pub authority: Url,
    /// What follows a relay's name to make its host, with a port where it is not 443.
    pub relay_suffix: String,
    /// The application id whose tokens kube-aad-proxy takes.
    pub server_app_id: String,
    /// More certificate authorities to trust for all of the above, PEM.
    pub ca_file: Option<PathBuf>,
}

/// A cloud as the settings know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whereabouts {
    /// All of it is known.
    Known(Box<Cloud>),
    /// The rest has to be asked of the Azure Resource Manager at this address.
    ByResourceManager(Url),
}

/// The document that describes a cloud.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Description {
    pub(super) name: String,
    pub(super) resource_manager: Url,
    pub(super) resource_manager_audience: Option<String>,
    pub(super) authority: Url,
    pub(super) relay_suffix: String,
    pub(super) server_app_id: Option<String>,
    pub(super) ca_file: Option<PathBuf>,
}

/// Whether `url` can be a service's: TLS, a host, and no user, query or fragment.
pub(crate) fn is_service(url: &Url) -> bool {
    let is_bare = url.username().is_empty() && url.password().is_none();
    let ends = url.query().is_none() && url.fragment().is_none();
    url.scheme() == "https" && url.has_host() && is_bare && ends
}

impl Whereabouts {
    /// The certificate authorities of the cloud's own file.
    pub fn ca_file(&self) -> Option<&Path> {
        match self {
            Self::Known(cloud) => cloud.ca_file.as_deref(),
            Self::ByResourceManager(_) => None,
        }
    }

    /// The cloud, asked for where need be.
    ///
    /// # Errors
    /// Azure Resource Manager cannot be reached, or does not tell all that is needed.
    pub async fn resolve(&self, https: &Https) -> Result<Cloud, Error> {
        match self {
            Self::Known(cloud) => Ok(Cloud::clone(cloud)),
            Self::ByResourceManager(arm) => metadata::cloud(https, arm).await,
        }
    }
}

impl Cloud {
    /// The cloud that Azure calls `name`, in any case.
    pub fn named(name: &str) -> Option<Self> {
        let known = [
            (
                "AzureCloud",
                "https://management.azure.com",
                "https://login.microsoftonline.com",
                "servicebus.windows.net",
            ),
            (
                "AzureUSGovernment",
                "https://management.usgovcloudapi.net",
                "https://login.microsoftonline.us",
                "servicebus.usgovcloudapi.net",
            ),
            (
                "AzureChinaCloud",
                "https://management.chinacloudapi.cn",
                "https://login.chinacloudapi.cn",
                "servicebus.chinacloudapi.cn",
            ),
        ];
        let (name, arm, authority, suffix) = known
            .into_iter()
            .find(|(known, ..)| known.eq_ignore_ascii_case(name))?;
        Some(Self {
            name: name.to_owned(),
            resource_manager: Url::parse(arm).expect("a literal URL"),
            resource_manager_audience: arm.to_owned(),
            authority: Url::parse(authority).expect("a literal URL"),
            relay_suffix: suffix.to_owned(),
            server_app_id: SERVER_APP_ID.to_owned(),
            ca_file: None,
        })
    }

    /// Reads a cloud file. A relative `caFile` is taken from the cloud file's own folder.
    ///
    /// # Errors
    /// [`Code::CloudFile`], with the path and, where the text is at fault, its line and column.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            Error::new(
                Code::CloudFile,
                format!("cannot read cloud file {}", path.display()),
            )
            .caused_by(&error)
        })?;
        let mut cloud = Self::parse(&text).map_err(|why| {
            Error::new(
                Code::CloudFile,
                format!("cloud file {} is not valid", path.display()),
            )
            .because(why)
        })?;
        if let (Some(ca), Some(folder)) = (&mut cloud.ca_file, path.parent()) {
            *ca = folder.join(&*ca);
        }
        Ok(cloud)
    }

    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let description = serde_json::from_str(text).map_err(|error| error.to_string())?;
        Self::described(description)
    }

    /// The cloud of `description`, if that makes sense.
    pub(super) fn described(description: Description) -> Result<Self, String> {
        for (field, url) in [
            ("resourceManager", &description.resource_manager),
            ("authority", &description.authority),
        ] {
            if !is_service(url) {
                return Err(format!(
                    "{field} must be https:// and a host, with nothing behind it but a path"
                ));
            }
        }
        // The relay's name goes in front of the suffix: together they must make a host and port.
        let probe = format!("https://relay.{}", description.relay_suffix);
        let relay = Url::parse(&probe).map_err(|error| format!("relaySuffix: {error}"))?;
        if description.relay_suffix.is_empty()
            || relay.path() != "/"
            || !relay.username().is_empty()
        {
            return Err(format!(
                "relaySuffix must be a host with an optional port, not {:?}",
                description.relay_suffix
            ));
        }
        let arm = description.resource_manager.as_str().trim_end_matches('/');
        Ok(Self {
            resource_manager_audience: description
                .resource_manager_audience
                .unwrap_or_else(|| arm.to_owned()),
            name: description.name,
            resource_manager: description.resource_manager,
            authority: description.authority,
            relay_suffix: description.relay_suffix,
            server_app_id: description
                .server_app_id
                .unwrap_or_else(|| SERVER_APP_ID.to_owned()),
            ca_file: description.ca_file,
        })
    }

    /// The host and port of the relay `name`.
    ///
    /// # Errors
    /// The name and the cloud's suffix do not make a host.
    pub fn relay(&self, name: &str) -> Result<(String, u16), Error> {
        let bad = || {
            Error::new(
                Code::ArmAnswer,
                format!("ARM named a relay that is not a host name: {name:?}"),
            )
        };
        let label = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if name.is_empty() || !name.chars().all(label) {
            return Err(bad());
        }
        let url =
            Url::parse(&format!("https://{name}.{}", self.relay_suffix)).map_err(|_| bad())?;
        let host = url.host_str().ok_or_else(bad)?.to_owned();
        Ok((host, url.port_or_known_default().unwrap_or(443)))
    }

    /// Whether `host` and `port` are what [`Self::relay`] makes of some relay's name.
    pub fn is_relay(&self, host: &str, port: u16) -> bool {
        let name = host.split('.').next().unwrap_or_default();
        self.relay(name)
            .is_ok_and(|(relay, relay_port)| relay == host && relay_port == port)
    }

    /// The scope that asks Entra for a token for ARM.
    pub fn resource_manager_scope(&self) -> String {
        format!(
            "{}/.default",
            self.resource_manager_audience.trim_end_matches(' ')
        )
    }

    /// The scope that asks Entra for a token for kube-aad-proxy.
    pub fn server_app_scope(&self) -> String {
        format!("{}/.default", self.server_app_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"{"name":"lab","resourceManager":"https://arm.lab.example","authority":"https://login.lab.example",
        "relaySuffix":"relay.lab.example:8443"}"#;

    /// The addresses are those of Microsoft's lists of national clouds.
    #[test]
    fn known_clouds_are_found_in_any_case() {
        for (name, arm, authority, relay) in [
            (
                "azurecloud",
                "https://management.azure.com/",
                "https://login.microsoftonline.com/",
                "r1.servicebus.windows.net",
            ),
            (
                "AZUREUSGOVERNMENT",
                "https://management.usgovcloudapi.net/",
                "https://login.microsoftonline.us/",
                "r1.servicebus.usgovcloudapi.net",
            ),
            (
                "AzureChinaCloud",
                "https://management.chinacloudapi.cn/",
                "https://login.chinacloudapi.cn/",
                "r1.servicebus.chinacloudapi.cn",
            ),
        ] {
            let cloud = Cloud::named(name).expect("a known cloud");
            assert_eq!(cloud.resource_manager.as_str(), arm);
            assert_eq!(cloud.authority.as_str(), authority);
            assert_eq!(cloud.resource_manager_scope(), format!("{arm}.default"));
            let host = cloud.relay("r1").expect("a host");
            assert_eq!(host, (relay.to_owned(), 443));
        }
        assert!(Cloud::named("AzureMars").is_none());
    }

    #[test]
    fn an_address_that_is_none_is_not_told() {
        for bad in [
            "http://hunter2.example",
            "https://ana:hunter2@arm.example",
            "https://arm.example?hunter2",
            "https://arm.example#hunter2",
        ] {
            for field in ["https://arm.lab.example", "https://login.lab.example"] {
                let told = Cloud::parse(&FILE.replace(field, bad)).expect_err(bad);
                assert!(!told.contains("hunter2"), "{told}");
            }
        }
    }

    #[test]
    fn a_file_describes_any_other() {
        let cloud = Cloud::parse(FILE).expect("a valid file");
        assert_eq!(
            cloud.resource_manager_scope(),
            "https://arm.lab.example/.default"
        );
        assert_eq!(
            cloud.server_app_scope(),
            format!("{SERVER_APP_ID}/.default")
        );
        assert_eq!(
            cloud.relay("r1").expect("a host"),
            ("r1.relay.lab.example".to_owned(), 8443)
        );
    }

    #[test]
    fn faults_are_named() {
        let plain = FILE.replace("https://arm", "http://arm");
        assert!(
            Cloud::parse(&plain)
                .expect_err("http")
                .contains("resourceManager")
        );
        let typo = FILE.replace("relaySuffix", "relaySufix");
        assert!(
            Cloud::parse(&typo)
                .expect_err("typo")
                .contains("relaySufix")
        );
        let path = FILE.replace(":8443", "/x");
        assert!(
            Cloud::parse(&path)
                .expect_err("path")
                .contains("relaySuffix")
        );
    }

    #[test]
    fn a_relay_name_cannot_lead_elsewhere() {
        let cloud = Cloud::named("AzureCloud").expect("known");
        for name in ["evil.example/", "evil.example:1", "a@b", "", "a.b"] {
            assert!(cloud.relay(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_host_elsewhere_is_no_relay() {
        let cloud = Cloud::named("AzureCloud").expect("known");
        assert!(cloud.is_relay("r1.servicebus.windows.net", 443));
        for (host, port) in [
            ("r1.servicebus.windows.net", 444),
            ("r1.servicebus.windows.net.evil.example", 443),
            ("r1.evil.example", 443),
            ("a.b.servicebus.windows.net", 443),
            ("servicebus.windows.net", 443),
            (".servicebus.windows.net", 443),
            ("evil.example/.servicebus.windows.net", 443),
            ("", 443),
        ] {
            assert!(!cloud.is_relay(host, port), "{host}:{port}");
        }
    }
}
