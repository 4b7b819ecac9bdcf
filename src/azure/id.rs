//! The ARM id of a connected cluster.

use std::fmt;
use std::str::FromStr;

/// The parts of `/subscriptions/…/resourceGroups/…/providers/Microsoft.Kubernetes/connectedClusters/…`.
///
/// ARM compares ids without case; two that differ only in case are equal here too.
#[derive(Debug, Clone)]
pub struct ClusterId {
    /// The subscription's id.
    pub subscription: String,
    /// The resource group's name.
    pub resource_group: String,
    /// The cluster's name.
    pub name: String,
}

impl ClusterId {
    /// 64 hex digits that stand for this cluster in the local listener's paths.
    pub fn hash(&self) -> String {
        let id = self.to_string().to_ascii_lowercase();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, id.as_bytes());
        crate::secret::hex(digest.as_ref())
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "/subscriptions/{}/resourceGroups/{}/providers/Microsoft.Kubernetes/connectedClusters/{}",
            self.subscription, self.resource_group, self.name
        )
    }
}

impl PartialEq for ClusterId {
    fn eq(&self, other: &Self) -> bool {
        self.to_string().eq_ignore_ascii_case(&other.to_string())
    }
}

impl Eq for ClusterId {}

impl FromStr for ClusterId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<_> = text.trim_matches('/').split('/').collect();
        let [
            subscriptions,
            subscription,
            groups,
            resource_group,
            providers,
            provider,
            kind,
            name,
        ] = parts[..]
        else {
            return Err(malformed(text));
        };
        let fixed = [
            (subscriptions, "subscriptions"),
            (groups, "resourceGroups"),
            (providers, "providers"),
            (provider, "Microsoft.Kubernetes"),
            (kind, "connectedClusters"),
        ];
        let well_formed = fixed
            .iter()
            .all(|(is, should)| is.eq_ignore_ascii_case(should))
            && [subscription, resource_group, name]
                .into_iter()
                .all(is_segment);
        if !well_formed {
            return Err(malformed(text));
        }
        Ok(Self {
            subscription: subscription.to_owned(),
            resource_group: resource_group.to_owned(),
            name: name.to_owned(),
        })
    }
}

/// Whether `text` can stand as one segment of an ARM id: letters, digits and `-_.()`, as ARM's
/// rules for resource groups allow.
pub fn is_segment(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 90
        && !text.ends_with('.')
        && text
            .chars()
            .all(|c| c.is_alphanumeric() || "-_.()".contains(c))
}

fn malformed(text: &str) -> String {
    format!(
        "{text:?} is not the ARM id of a connected cluster \
         (/subscriptions/…/resourceGroups/…/providers/Microsoft.Kubernetes/connectedClusters/…)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "/subscriptions/00000000-0000-0000-0000-0000000000aa/resourceGroups/factories/providers/Microsoft.Kubernetes/connectedClusters/edge-42";

    #[test]
    fn reads_in_any_case_and_prints_as_arm_does() {
        let id: ClusterId = ID.to_ascii_lowercase().parse().expect("valid");
        assert_eq!(id, ID.parse().expect("valid"));
        assert_eq!(id.hash(), ID.parse::<ClusterId>().expect("valid").hash());
        assert_eq!(id.to_string(), ID);
    }

    #[test]
    fn refuses_what_is_no_cluster() {
        let vm = ID.replace("Kubernetes/connectedClusters", "Compute/virtualMachines");
        for text in [
            "",
            "edge-42",
            &vm,
            &format!("{ID}/extra"),
            &ID.replace("edge-42", "a?b"),
        ] {
            assert!(text.parse::<ClusterId>().is_err(), "{text}");
        }
    }
}
