//! What az keeps of its settings: the list of subscriptions, the cloud it works in, and the clouds
//! that were registered with it.
//!
//! Names, ids and addresses, no secrets. az's other files are not read; its tokens are asked of az
//! itself.

use std::path::PathBuf;

use serde::Deserialize;

/// az's folder.
#[derive(Debug, Clone)]
pub struct AzFolder(Option<PathBuf>);

/// The subscriptions that az knows.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Profile {
    #[serde(default)]
    subscriptions: Vec<Account>,
}

/// A subscription, and who is signed in to it. az has one without a subscription's rights too, for
/// each tenant: its id is the tenant's.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Account {
    /// The subscription's id.
    pub id: String,
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// The tenant's id.
    #[serde(default)]
    pub tenant_id: Option<String>,
    /// Who is signed in.
    #[serde(default)]
    pub user: User,
    #[serde(default)]
    is_default: bool,
    /// The cloud, by the name that az has for it.
    #[serde(default)]
    environment_name: Option<String>,
}

/// Who is signed in to az.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// A user's name, or an application's client id.
    #[serde(default)]
    name: String,
    /// `user` or `servicePrincipal`.
    #[serde(default)]
    r#type: String,
    /// Only for the identity of a machine.
    #[serde(default)]
    assigned_identity_info: Option<String>,
    /// Set where the user signed in through Cloud Shell.
    #[serde(default, rename = "cloudShellID")]
    cloud_shell: Option<bool>,
}

impl User {
    /// Whether tokens come from a machine's endpoint: such are never bound to a key.
    pub fn is_machine(&self) -> bool {
        self.assigned_identity_info.is_some()
            || self.cloud_shell == Some(true)
            || matches!(
                self.name.as_str(),
                "systemAssignedIdentity" | "userAssignedIdentity"
            )
    }

    /// Who it is, for people.
    pub fn shown(&self) -> Option<String> {
        match (self.name.as_str(), self.r#type.as_str()) {
            ("", _) => None,
            (name, "servicePrincipal") if !self.is_machine() => {
                Some(format!("service principal {name}"))
            }
            (name, _) => Some(name.to_owned()),
        }
    }
}

impl AzFolder {
    /// `AZURE_CONFIG_DIR`, or `.azure` below the home folder.
    pub fn new(config_dir: Option<PathBuf>, home: Option<PathBuf>) -> Self {
        Self(config_dir.or_else(|| home.map(|home| home.join(".azure"))))
    }

    /// Reads the list of subscriptions. One that is missing or cannot be understood is as good as
    /// an empty one: az may not be in use at all.
    pub fn profile(&self) -> Profile {
        let file = "azureProfile.json";
        let Some(text) = self.read(file) else {
            return Profile::default();
        };
        Profile::parse(&text).unwrap_or_else(|error| {
            tracing::warn!(file, %error, "az's list of subscriptions cannot be read");
            Profile::default()
        })
    }

    /// The name of the cloud that az works in, where one was set.
    pub fn cloud(&self) -> Option<String> {
        option(&self.read("config")?, "cloud", "name")
    }

    /// Azure Resource Manager's address in the cloud that was registered with az as `name`.
    pub fn registered_cloud(&self, name: &str) -> Option<String> {
        option(
            &self.read("clouds.config")?,
            name,
            "endpoint_resource_manager",
        )
    }

    fn read(&self, file: &str) -> Option<String> {
        std::fs::read_to_string(self.0.as_ref()?.join(file)).ok()
    }
}

/// The value of `key` in `[section]` of a file as Python's `configparser` writes it.
pub(super) fn option(text: &str, section: &str, key: &str) -> Option<String> {
    let mut inside = false;
    for line in text.lines().map(str::trim) {
        if let Some(title) = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            inside = title == section;
        } else if inside
            && let Some((name, value)) = line.split_once(['=', ':'])
            && name.trim().eq_ignore_ascii_case(key)
        {
            return Some(value.trim().to_owned()).filter(|value| !value.is_empty());
        }
    }
    None
}

impl Profile {
    pub(super) fn parse(text: &str) -> Result<Self, serde_json::Error> {
        // az writes the file with a byte-order mark.
        serde_json::from_str(text.trim_start_matches('\u{feff}'))
    }

    /// Only what belongs to the cloud that az calls `name`: az itself does not see the rest, and
    /// has a default subscription for each cloud.
    #[must_use]
    pub fn of_cloud(mut self, name: &str) -> Self {
        self.subscriptions.retain(|account| {
            let environment = account.environment_name.as_deref();
            environment.is_none_or(|environment| environment.eq_ignore_ascii_case(name))
        });
        self
    }

    /// Whether nobody is signed in.
    pub fn is_empty(&self) -> bool {
        self.subscriptions.is_empty()
    }

    /// The id of the subscription that az takes when none is named.
    pub fn default_subscription(&self) -> Option<&str> {
        let default = self.subscriptions.iter().find(|one| one.is_default)?;
        Some(&default.id)
    }

    /// The id of the one subscription called `name`, in any case.
    pub fn named(&self, name: &str) -> Option<&str> {
        let mut found = self
            .subscriptions
            .iter()
            .filter(|one| one.name.eq_ignore_ascii_case(name));
        match (found.next(), found.next()) {
            (Some(one), None) => Some(&one.id),
            _ => None,
        }
    }

    /// The account to ask for tokens: that of `subscription`, by id or name, or else one of
    /// `tenant`, or else az's default one. The list may lack a subscription that is new.
    pub fn account(&self, subscription: Option<&str>, tenant: Option<&str>) -> Option<&Account> {
        let all = || self.subscriptions.iter();
        let by_id = subscription
            .and_then(|wanted| all().find(|account| account.id.eq_ignore_ascii_case(wanted)));
        let by_name = || {
            let id = self.named(subscription?)?;
            all().find(|account| account.id == id)
        };
        let by_tenant = || {
            let tenant = tenant?;
            let is_of = |account: &&Account| {
                let other = account.tenant_id.as_deref();
                other.is_some_and(|other| other.eq_ignore_ascii_case(tenant))
            };
            let default = all().filter(is_of).find(|account| account.is_default);
            default.or_else(|| all().find(is_of))
        };
        let default = || match tenant {
            // Tokens of another tenant would be refused.
            Some(_) => None,
            None => all().find(|account| account.is_default),
        };
        by_id.or_else(by_name).or_else(by_tenant).or_else(default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\u{feff}{\"installationId\": \"x\", \"subscriptions\": [
        {\"id\": \"1\", \"name\": \"Lab\", \"isDefault\": false, \"tenantId\": \"T1\",
         \"environmentName\": \"AzureCloud\", \"user\": {\"name\": \"ana@contoso.com\", \"type\": \"user\"}},
        {\"id\": \"2\", \"name\": \"Factories\", \"isDefault\": true, \"tenantId\": \"t2\",
         \"environmentName\": \"AzureCloud\", \"user\": {\"name\": \"0a\", \"type\": \"servicePrincipal\"}},
        {\"id\": \"3\", \"name\": \"lab\"},
        {\"id\": \"4\", \"name\": \"Mars\", \"isDefault\": true, \"environmentName\": \"mars\"}]}";

    fn profile() -> Profile {
        Profile::parse(TEXT).expect("valid")
    }

    #[test]
    fn default_and_names_are_found_behind_the_byte_order_mark() {
        let profile = profile();
        assert_eq!(profile.default_subscription(), Some("2"));
        assert_eq!(profile.named("FACTORIES"), Some("2"));
        assert_eq!(profile.named("lab"), None, "two are called so");
    }

    #[test]
    fn each_cloud_has_its_own() {
        let mars = profile().of_cloud("Mars");
        assert_eq!(mars.default_subscription(), Some("4"));
        assert_eq!(mars.named("Factories"), None);
        assert_eq!(mars.named("lab"), Some("3"), "it may be of any cloud");
    }

    #[test]
    fn the_account_follows_the_subscription_then_the_tenant() {
        let profile = profile();
        let id = |subscription, tenant| {
            profile
                .account(subscription, tenant)
                .map(|account| account.id.as_str())
        };
        assert_eq!(id(Some("1"), None), Some("1"));
        assert_eq!(id(Some("factories"), Some("t1")), Some("2"));
        assert_eq!(id(Some("new"), Some("t1")), Some("1"));
        assert_eq!(id(Some("new"), None), Some("2"));
        assert_eq!(id(None, None), Some("2"));
        assert_eq!(id(None, Some("t9")), None, "nobody is signed in to it");
    }

    #[test]
    fn people_applications_and_machines_are_told_apart() {
        let profile = profile();
        let shown = |id| {
            profile
                .account(Some(id), None)
                .and_then(|account| account.user.shown())
        };
        assert_eq!(shown("1").as_deref(), Some("ana@contoso.com"));
        assert_eq!(shown("2").as_deref(), Some("service principal 0a"));
        assert_eq!(shown("3"), None);
        for machine in [
            r#"{"name": "systemAssignedIdentity", "type": "servicePrincipal"}"#,
            r#"{"name": "x", "assignedIdentityInfo": "MSIClient-1"}"#,
            r#"{"name": "ana@contoso.com", "type": "user", "cloudShellID": true}"#,
        ] {
            let user: User = serde_json::from_str(machine).expect("a user");
            assert!(user.is_machine(), "{machine}");
            assert!(!user.shown().expect("a name").contains("principal"));
        }
    }

    #[test]
    fn no_file_is_an_empty_profile() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = AzFolder::new(Some(folder.path().to_owned()), None);
        assert!(folder.profile().is_empty());
        assert_eq!(folder.cloud(), None);
        assert!(AzFolder::new(None, None).profile().is_empty());
    }

    #[test]
    fn the_cloud_and_where_it_is_are_read_as_az_writes_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |file, text| std::fs::write(folder.path().join(file), text).expect("writes");
        write(
            "config",
            "[core]\nname = no\n# name = no\n\n[cloud]\nname = lab\n",
        );
        write(
            "clouds.config",
            "[other]\nendpoint_resource_manager = https://other\n[lab]\nprofile = latest\nendpoint_resource_manager = https://arm.lab.example\n",
        );
        let az = AzFolder::new(Some(folder.path().to_owned()), None);
        assert_eq!(az.cloud().as_deref(), Some("lab"));
        assert_eq!(
            az.registered_cloud("lab").as_deref(),
            Some("https://arm.lab.example")
        );
        assert_eq!(az.registered_cloud("mars"), None);
        write("config", "[cloud]\nname =\n");
        assert_eq!(az.cloud(), None);
    }
}
