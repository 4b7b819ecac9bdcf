//! az's list of subscriptions, `azureProfile.json`: names and ids, no secrets.
//!
//! It is the only file of az's that is read; its tokens are asked of az itself.

use std::path::PathBuf;

use serde::Deserialize;

/// The subscriptions that az knows.
#[derive(Debug, Default, Deserialize)]
pub struct Profile {
    #[serde(default)]
    subscriptions: Vec<ProfileSubscription>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProfileSubscription {
    id: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    is_default: bool,
}

impl Profile {
    /// Reads the profile in `AZURE_CONFIG_DIR`, or in `.azure` below the home folder. One that is
    /// missing or cannot be understood is as good as an empty one: az may not be in use at all.
    pub fn read(config_dir: Option<PathBuf>, home: Option<PathBuf>) -> Self {
        let Some(folder) = config_dir.or_else(|| home.map(|home| home.join(".azure"))) else {
            return Self::default();
        };
        let path = folder.join("azureProfile.json");
        let Ok(text) = std::fs::read_to_string(&path) else {
            return Self::default();
        };
        Self::parse(&text).unwrap_or_else(|error| {
            tracing::warn!(path = %path.display(), %error, "az's list of subscriptions cannot be read");
            Self::default()
        })
    }

    fn parse(text: &str) -> Result<Self, serde_json::Error> {
        // az writes the file with a byte-order mark.
        serde_json::from_str(text.trim_start_matches('\u{feff}'))
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
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\u{feff}{\"installationId\": \"x\", \"subscriptions\": [
        {\"id\": \"1\", \"name\": \"Lab\", \"isDefault\": false},
        {\"id\": \"2\", \"name\": \"Factories\", \"isDefault\": true},
        {\"id\": \"3\", \"name\": \"lab\"}]}";

    #[test]
    fn default_and_names_are_found_behind_the_byte_order_mark() {
        let profile = Profile::parse(TEXT).expect("valid");
        assert_eq!(profile.default_subscription(), Some("2"));
        assert_eq!(profile.named("FACTORIES"), Some("2"));
        assert_eq!(profile.named("lab"), None, "two are called so");
    }

    #[test]
    fn no_file_is_an_empty_profile() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(
            Profile::read(Some(folder.path().to_owned()), None)
                .default_subscription()
                .is_none()
        );
    }
}
