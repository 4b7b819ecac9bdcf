//! The clusters that ARM knows: one for each way that things can be, and a group of many.

use serde_json::{Value, json};

use crate::names::Names;
use crate::request::rfc3339;

/// The relay namespace of every cluster that can be reached.
pub const RELAY: &str = "azgnrelay-local-l1";

/// The group of the clusters that show one state each.
pub const DEMO_GROUP: &str = "demo";

/// The group of many clusters.
pub const FACTORIES_GROUP: &str = "factories";

/// How many clusters the group of many has.
const FACTORIES: u32 = 42;

/// A resource group.
#[derive(Debug, Clone)]
pub(super) struct Group {
    pub(super) name: &'static str,
    pub(super) location: &'static str,
}

/// The groups of the first subscription.
pub(super) const GROUPS: [Group; 2] = [
    Group {
        name: DEMO_GROUP,
        location: "eastus",
    },
    Group {
        name: FACTORIES_GROUP,
        location: "westeurope",
    },
];

/// How a cluster is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// Connected, and an agent listens.
    Works,
    /// Its agent has not been heard of for days.
    Offline,
    /// Its agent has been away for so long that its identity has expired.
    Expired,
    /// Connected, but only by private link.
    Private,
    /// Connected, but cluster connect is disabled: nobody listens.
    Disabled,
    /// Nobody may have its credentials.
    Forbidden,
    /// Its credentials carry another authority than its kube-aad-proxy's certificate has.
    BadCertificate,
    /// Its credentials name a relay that does not know it.
    Nowhere,
}

/// A connected cluster.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// Its name.
    pub name: String,
    /// Its resource group.
    pub group: &'static str,
    /// Its region.
    pub location: &'static str,
    /// How it is.
    pub condition: Condition,
    /// Its ARM id.
    pub id: String,
    /// Where its agent listens: the hybrid connection's path.
    pub listener_path: String,
}

impl Cluster {
    fn new(
        names: Names,
        subscription: &str,
        group: &Group,
        name: &str,
        condition: Condition,
    ) -> Self {
        let id = format!(
            "/subscriptions/{subscription}/resourceGroups/{}/providers/Microsoft.Kubernetes/connectedClusters/{name}",
            group.name,
        );
        Self {
            name: name.to_owned(),
            group: group.name,
            location: group.location,
            condition,
            listener_path: format!("microsoft.kubernetes/connectedclusters/{}", names.hex(&id)),
            id,
        }
    }

    /// Whether an agent listens for it.
    pub fn has_agent(&self) -> bool {
        matches!(
            self.condition,
            Condition::Works | Condition::BadCertificate | Condition::Forbidden
        ) && self.group == DEMO_GROUP
    }

    /// The resource as ARM shows it at `now`, seconds since 1970.
    pub(super) fn resource(&self, names: Names, tenant: &str, now: u64) -> Value {
        const DAY: u64 = 86_400;
        let (status, heard) = match self.condition {
            Condition::Offline => ("Offline", now.saturating_sub(3 * DAY)),
            Condition::Expired => ("Expired", now.saturating_sub(120 * DAY)),
            _ => ("Connected", now.saturating_sub(60)),
        };
        let private = self.condition == Condition::Private;
        let mut properties = json!({
            "provisioningState": "Succeeded",
            "connectivityStatus": status,
            "lastConnectivityTime": rfc3339(heard),
            "managedIdentityCertificateExpirationTime": rfc3339(heard + 90 * DAY),
            "agentVersion": "1.28.1",
            "kubernetesVersion": "1.32.4",
            "totalNodeCount": 3,
            "totalCoreCount": 12,
            "distribution": "k3s",
            "infrastructure": "generic",
            "offering": "-",
            "agentPublicKeyCertificate": "",
            "azureHybridBenefit": "NotApplicable",
            "privateLinkState": if private { "Enabled" } else { "Disabled" },
            "aadProfile": { "enableAzureRBAC": false, "adminGroupObjectIDs": [], "tenantID": tenant },
        });
        if private {
            let group = self.id.split("/providers/").next().unwrap_or_default();
            properties["privateLinkScopeResourceId"] =
                format!("{group}/providers/Microsoft.HybridCompute/privateLinkScopes/edge").into();
        }
        json!({
            "id": self.id,
            "name": self.name,
            "type": "microsoft.kubernetes/connectedclusters",
            "location": self.location,
            "tags": {},
            "identity": {
                "type": "SystemAssigned",
                "principalId": names.guid(&format!("identity{}", self.id)),
                "tenantId": tenant,
            },
            "properties": properties,
        })
    }
}

/// All clusters of `subscription`.
pub fn fleet(names: Names, subscription: &str) -> Vec<Cluster> {
    let [demo, factories] = GROUPS;
    let mut clusters: Vec<_> = [
        ("edge-demo", Condition::Works),
        ("edge-second", Condition::Works),
        ("edge-offline", Condition::Offline),
        ("edge-expired", Condition::Expired),
        ("edge-private", Condition::Private),
        ("edge-disabled", Condition::Disabled),
        ("edge-forbidden", Condition::Forbidden),
        ("edge-badcert", Condition::BadCertificate),
        ("edge-nowhere", Condition::Nowhere),
    ]
    .into_iter()
    .map(|(name, condition)| Cluster::new(names, subscription, &demo, name, condition))
    .collect();
    clusters.extend((1..=FACTORIES).map(|number| {
        let name = format!("edge-{number:02}");
        Cluster::new(names, subscription, &factories, &name, Condition::Disabled)
    }));
    clusters
}
