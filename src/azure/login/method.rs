//! The names of the ways to sign in, and the order in which they are tried.

use std::fmt;

use clap::ValueEnum;

/// What `--auth` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, ValueEnum)]
pub enum Auth {
    /// The first of the others that is configured
    #[default]
    Auto,
    /// `AZURE_CLIENT_SECRET`, or `AZURE_CLIENT_CERTIFICATE_PATH`
    ServicePrincipal,
    /// `AZURE_FEDERATED_TOKEN_FILE`, as Kubernetes mounts it
    WorkloadIdentity,
    /// A job of GitHub Actions with `id-token: write`
    Github,
    /// A job of Azure Pipelines with a service connection
    AzurePipelines,
    /// Whoever is signed in to az
    AzureCli,
    /// Whoever is signed in to azd
    Azd,
    /// The system's browser
    Browser,
    /// A code to enter in a browser elsewhere
    DeviceCode,
    /// The identity of the machine; with a service-account token only
    ManagedIdentity,
}

impl Auth {
    /// What `auto` tries, in its order.
    pub(super) const ORDER: [Self; 9] = [
        Self::ServicePrincipal,
        Self::WorkloadIdentity,
        Self::Github,
        Self::AzurePipelines,
        Self::AzureCli,
        Self::Azd,
        Self::Browser,
        Self::DeviceCode,
        Self::ManagedIdentity,
    ];

    /// Whether it signs in an application, which is of a tenant that has to be named.
    pub(super) fn goes_by_tenant(self) -> bool {
        match self {
            Self::ServicePrincipal
            | Self::WorkloadIdentity
            | Self::Github
            | Self::AzurePipelines => true,
            Self::Auto
            | Self::AzureCli
            | Self::Azd
            | Self::Browser
            | Self::DeviceCode
            | Self::ManagedIdentity => false,
        }
    }

    /// Whether it signs in a person, who may be a guest in the tenant that is meant.
    pub(super) fn is_a_person(self) -> bool {
        matches!(self, Self::Azd | Self::Browser | Self::DeviceCode)
    }
}

/// The value's own name.
impl fmt::Display for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        f.write_str(value.as_ref().map_or("", |value| value.get_name()))
    }
}
