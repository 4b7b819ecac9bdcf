//! The catalogue of what can go wrong for a user.
//!
//! Each [`Code`] is stable: scripts match on it, `docs/errors.md` explains it, and it fixes the
//! exit code. An [`Error`] adds what failed just now (with the host, cluster or path), the causes
//! beneath it and, always, a hint: what to do next.

use std::fmt;

/// What kind of failure it is. The text form is stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// An argument or environment variable that makes no sense.
    Usage,
    /// No subscription was given and none could be found.
    SubscriptionMissing,
    /// The cloud file cannot be read or understood.
    CloudFile,
    /// A CA bundle cannot be read or understood.
    CaFile,
    /// No sign-in method is configured.
    NotSignedIn,
    /// Entra refused the sign-in.
    SignInRefused,
    /// Entra could not be reached or did not answer as Entra does.
    SignInUnreachable,
    /// The subscription does not exist or cannot be seen.
    SubscriptionNotFound,
    /// The resource group does not exist.
    ResourceGroupNotFound,
    /// The cluster does not exist.
    ClusterNotFound,
    /// Azure refuses the caller the relay credentials or the cluster.
    AccessDenied,
    /// Azure keeps answering "too many requests" or "unavailable".
    Throttled,
    /// ARM could not be reached.
    ArmUnreachable,
    /// ARM answered in a way that cannot be used.
    ArmAnswer,
    /// The cluster's agent is offline.
    ClusterOffline,
    /// No agent listens on the relay for the cluster.
    AgentAway,
    /// The relay could not be reached.
    RelayUnreachable,
    /// The relay refused the connection.
    RelayRefused,
    /// kube-aad-proxy's certificate does not verify.
    ProxyCertificate,
    /// The tunnel broke or does not answer.
    Tunnel,
    /// The cluster refused the caller.
    ClusterRefused,
    /// The caller is in more groups than the cluster can look up.
    GroupOverage,
    /// The local port is taken or cannot be listened on.
    Port,
    /// The kubeconfig cannot be read as one.
    KubeconfigInvalid,
    /// The kubeconfig cannot be written.
    KubeconfigWrite,
    /// Another program holds the kubeconfig's lock.
    KubeconfigLocked,
    /// The web proxy on the way out cannot be reached or does not answer as one.
    WebProxyUnreachable,
    /// The web proxy on the way out refuses a connection or cannot make it.
    WebProxyRefused,
    /// The web proxy on the way out wants credentials, or others.
    WebProxyCredentials,
    /// The command to run cannot be started.
    Command,
    /// Something that should not happen.
    Unexpected,
}

impl Code {
    /// Every code, in the order of `docs/errors.md`.
    pub const ALL: [Self; 31] = [
        Self::Usage,
        Self::SubscriptionMissing,
        Self::CloudFile,
        Self::CaFile,
        Self::NotSignedIn,
        Self::SignInRefused,
        Self::SignInUnreachable,
        Self::SubscriptionNotFound,
        Self::ResourceGroupNotFound,
        Self::ClusterNotFound,
        Self::AccessDenied,
        Self::Throttled,
        Self::ArmUnreachable,
        Self::ArmAnswer,
        Self::ClusterOffline,
        Self::AgentAway,
        Self::RelayUnreachable,
        Self::RelayRefused,
        Self::ProxyCertificate,
        Self::Tunnel,
        Self::ClusterRefused,
        Self::GroupOverage,
        Self::Port,
        Self::KubeconfigInvalid,
        Self::KubeconfigWrite,
        Self::KubeconfigLocked,
        Self::WebProxyUnreachable,
        Self::WebProxyRefused,
        Self::WebProxyCredentials,
        Self::Command,
        Self::Unexpected,
    ];

    /// The stable text form.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Usage => "usage",
            Self::SubscriptionMissing => "subscription-missing",
            Self::CloudFile => "cloud-file",
            Self::CaFile => "ca-file",
            Self::NotSignedIn => "not-signed-in",
            Self::SignInRefused => "sign-in-refused",
            Self::SignInUnreachable => "sign-in-unreachable",
            Self::SubscriptionNotFound => "subscription-not-found",
            Self::ResourceGroupNotFound => "resource-group-not-found",
            Self::ClusterNotFound => "cluster-not-found",
            Self::AccessDenied => "access-denied",
            Self::Throttled => "throttled",
            Self::ArmUnreachable => "arm-unreachable",
            Self::ArmAnswer => "arm-answer",
            Self::ClusterOffline => "cluster-offline",
            Self::AgentAway => "agent-away",
            Self::RelayUnreachable => "relay-unreachable",
            Self::RelayRefused => "relay-refused",
            Self::ProxyCertificate => "proxy-certificate",
            Self::Tunnel => "tunnel",
            Self::ClusterRefused => "cluster-refused",
            Self::GroupOverage => "group-overage",
            Self::Port => "port",
            Self::KubeconfigInvalid => "kubeconfig-invalid",
            Self::KubeconfigWrite => "kubeconfig-write",
            Self::KubeconfigLocked => "kubeconfig-locked",
            Self::WebProxyUnreachable => "web-proxy-unreachable",
            Self::WebProxyRefused => "web-proxy-refused",
            Self::WebProxyCredentials => "web-proxy-credentials",
            Self::Command => "command",
            Self::Unexpected => "unexpected",
        }
    }

    /// The exit code of a run that ends with this failure.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Unexpected => 1,
            Self::Usage | Self::SubscriptionMissing | Self::CloudFile | Self::CaFile => 2,
            Self::NotSignedIn | Self::SignInRefused | Self::SignInUnreachable => 3,
            Self::SubscriptionNotFound
            | Self::ResourceGroupNotFound
            | Self::ClusterNotFound
            | Self::AccessDenied
            | Self::Throttled
            | Self::ArmUnreachable
            | Self::ArmAnswer
            | Self::ClusterRefused
            | Self::GroupOverage => 4,
            Self::ClusterOffline
            | Self::AgentAway
            | Self::RelayUnreachable
            | Self::RelayRefused
            | Self::ProxyCertificate
            | Self::Tunnel
            | Self::Port
            | Self::WebProxyUnreachable
            | Self::WebProxyRefused
            | Self::WebProxyCredentials => 5,
            Self::KubeconfigInvalid | Self::KubeconfigWrite | Self::KubeconfigLocked => 6,
            Self::Command => 127,
        }
    }

    /// What to do when nothing more exact is known.
    pub(crate) fn hint(self) -> &'static str {
        match self {
            Self::Usage => "run `arcproxy --help` for the flags and their environment variables",
            Self::SubscriptionMissing => {
                "give --subscription, set AZURE_SUBSCRIPTION_ID, or run `az account set --subscription NAME`"
            }
            Self::CloudFile => "see docs/clouds.md for the format of a cloud file",
            Self::CaFile => "give a PEM file with one or more certificates",
            Self::NotSignedIn => {
                "set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET, or run `az login`"
            }
            Self::SignInRefused => "check AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET",
            Self::SignInUnreachable => {
                "check that this machine may reach the sign-in host on port 443"
            }
            Self::SubscriptionNotFound => {
                "run `az account list -o table` to see the subscriptions you can use"
            }
            Self::ResourceGroupNotFound => {
                "run `az group list -o table` to see the resource groups"
            }
            Self::ClusterNotFound => "run `az connectedk8s list -o table` to see the clusters",
            Self::AccessDenied => {
                "ask for the role \"Azure Arc Enabled Kubernetes Cluster User Role\" on the cluster"
            }
            Self::Throttled => "wait a few minutes and try again",
            Self::ArmUnreachable => {
                "check that this machine may reach Azure Resource Manager on port 443"
            }
            Self::ArmAnswer => "run again with --debug and report the answer",
            Self::ClusterOffline => {
                "on the cluster, check the agents: `kubectl get pods -n azure-arc`"
            }
            Self::AgentAway => {
                "cluster connect may be disabled; with access to the cluster, enable it: `az connectedk8s enable-features --features cluster-connect -n NAME -g GROUP`"
            }
            Self::RelayUnreachable => {
                "check that this machine may reach the relay (*.servicebus.windows.net in Azure) on port 443 with WebSockets"
            }
            Self::RelayRefused => {
                "wait a minute and try again; Azure's support asks for the tracking id above"
            }
            Self::ProxyCertificate => {
                "the cluster's certificate may just have been replaced: try again in a minute, then restart kube-aad-proxy on the cluster"
            }
            Self::Tunnel => {
                "try again; if it stays, restart the cluster's agent: `kubectl rollout restart -n azure-arc deployment/clusterconnect-agent`"
            }
            Self::ClusterRefused => {
                "check that this machine's clock is right and that the cluster trusts this tenant"
            }
            Self::GroupOverage => {
                "sign in as a service principal, or use a Kubernetes service-account token with --token-file"
            }
            Self::Port => "give another port with --port, or --port 0 for any free one",
            Self::KubeconfigInvalid => "mend the file, or write to another one with --file",
            Self::KubeconfigWrite => {
                "check the file's owner and mode, or write to another one with --file"
            }
            Self::KubeconfigLocked => {
                "if no kubectl is running, remove the lock file and try again"
            }
            Self::WebProxyUnreachable => {
                "check the proxy's address in --proxy or HTTPS_PROXY; NO_PROXY names what is reached without it"
            }
            Self::WebProxyRefused => {
                "ask those who run the proxy to allow this host (docs/networks.md lists them all), or name it in NO_PROXY if it can be reached without"
            }
            Self::WebProxyCredentials => {
                "put the user and password into the proxy's address: http://USER:PASSWORD@HOST:PORT, special characters percent-encoded (%40 for @)"
            }
            Self::Command => "check that the command after `--` exists and may be run",
            Self::Unexpected => "run again with --debug and report what it prints",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A failure as the user sees it. `Display` is one line: what failed and its causes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    code: Code,
    what: String,
    causes: Vec<String>,
    hint: Option<String>,
}

impl Error {
    /// `what` failed; it names the host, cluster or path.
    pub fn new(code: Code, what: impl Into<String>) -> Self {
        Self {
            code,
            what: what.into(),
            causes: Vec::new(),
            hint: None,
        }
    }

    /// Adds the error beneath this one, with its own sources.
    #[must_use]
    pub fn caused_by(mut self, cause: &(dyn std::error::Error + 'static)) -> Self {
        let mut next = Some(cause);
        while let Some(error) = next {
            let text = error.to_string();
            // Many errors repeat their source in their own text.
            if !self.causes.last().is_some_and(|last| last.contains(&text)) {
                self.causes.push(text);
            }
            next = error.source();
        }
        self
    }

    /// Adds what the other side said.
    #[must_use]
    pub fn because(mut self, cause: impl Into<String>) -> Self {
        self.causes.push(cause.into());
        self
    }

    /// Replaces the code's own hint by a more exact one.
    #[must_use]
    pub fn hinted(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Replaces the hint where there is a more exact one.
    #[must_use]
    pub fn maybe_hinted(self, hint: Option<&str>) -> Self {
        match hint {
            Some(hint) => self.hinted(hint),
            None => self,
        }
    }

    /// The kind of failure.
    pub fn code(&self) -> Code {
        self.code
    }

    /// What failed, without causes.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// The causes, outermost first.
    pub fn causes(&self) -> &[String] {
        &self.causes
    }

    /// What to do next.
    pub fn hint(&self) -> &str {
        self.hint.as_deref().unwrap_or(self.code.hint())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        self.causes
            .iter()
            .try_for_each(|cause| write!(f, ": {cause}"))
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn codes_are_distinct_and_every_one_has_a_hint() {
        let names: HashSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(names.len(), Code::ALL.len());
        assert!(
            Code::ALL
                .iter()
                .all(|code| !Error::new(*code, "x").hint().is_empty())
        );
    }

    #[test]
    fn causes_are_told_once() {
        let inner = std::io::Error::other("refused");
        let error = Error::new(Code::Tunnel, "cannot reach relay.example").caused_by(&inner);
        assert_eq!(error.to_string(), "cannot reach relay.example: refused");
    }
}
