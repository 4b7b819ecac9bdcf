//! A workload in a cluster, by the token that Kubernetes keeps in a file.
//!
//! Follows the contract of Azure Workload Identity's webhook: it sets the variables, and the
//! kubelet replaces the file before its token ends, so that the file is read at every use.

use std::path::PathBuf;

use async_trait::async_trait;
use url::Url;

use super::assertion::{Application, Asserted, Assertions, federation_hint, in_part, read};
use super::{Gear, Made, Unavailable};
use crate::error::{Code, Error};
use crate::secret::Secret;

const FILE: &str = "AZURE_FEDERATED_TOKEN_FILE";
const AUTHORITY: &str = "AZURE_AUTHORITY_HOST";

/// The file.
#[derive(Debug)]
struct TokenFile(PathBuf);

pub(super) fn make(gear: &Gear<'_>) -> Made {
    let Some(path) = gear.settings.environment.path(FILE) else {
        return Err(Unavailable::NotConfigured(format!("{FILE} is not set")));
    };
    let application = Application::of(gear).map_err(|missing| in_part(FILE, missing))?;
    note_authority(gear);
    let file = TokenFile(path);
    Asserted::make(gear, &application, "workload identity", file)
}

/// The cloud says where Entra is; a variable that disagrees is not followed, since the cluster's
/// own addresses are the cloud's too.
fn note_authority(gear: &Gear<'_>) {
    let authority = &gear.cloud.authority;
    if let Some(other) = gear.variable(AUTHORITY)
        && !is_same(authority, &other)
    {
        let cloud = &gear.cloud.name;
        tracing::debug!(ignored = other, %authority, cloud, "{AUTHORITY} is not of this cloud");
    }
}

fn is_same(authority: &Url, other: &str) -> bool {
    let plain = |url: &Url| url.as_str().trim_end_matches('/').to_owned();
    Url::parse(other).is_ok_and(|other| plain(&other) == plain(authority))
}

#[async_trait]
impl Assertions for TokenFile {
    async fn fresh(&self) -> Result<Secret, Error> {
        let path = self.0.display();
        let bytes = read(&self.0).await.map_err(|error| {
            Error::new(
                Code::NotSignedIn,
                format!("cannot read the identity token in {path}"),
            )
            .caused_by(&error)
            .hinted(format!("check {FILE}, and that the file is mounted"))
        })?;
        let text = std::str::from_utf8(&bytes).unwrap_or_default().trim();
        let token = Secret::from(text);
        if token.is_empty() {
            return Err(Error::new(
                Code::NotSignedIn,
                format!("there is no identity token in {path}"),
            )
            .hinted(format!("check {FILE}, and who writes the file")));
        }
        Ok(token)
    }

    fn hint(&self, number: u32) -> Option<String> {
        federation_hint(number, &format!("the token in {}", self.0.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_the_same_with_and_without_a_slash() {
        let authority = Url::parse("https://login.example").expect("a literal URL");
        assert!(is_same(&authority, "https://login.example/"));
        assert!(is_same(&authority, "https://LOGIN.example"));
        assert!(!is_same(&authority, "https://login.example.org/"));
        assert!(!is_same(&authority, "login.example"));
    }
}
