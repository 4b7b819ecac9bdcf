//! All parts together: starting them in order, handing them out, stopping them.

mod builder;
mod error;
mod parts;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256, RsaKeySize};

pub use self::builder::Builder;
pub(crate) use self::builder::LISTENER_TOKEN_SECONDS;
pub use self::error::Error;
pub(crate) use self::parts::Parts;
pub use self::parts::Seen;
pub use crate::arm::DEMO_GROUP;

use self::parts::Site;
use crate::aad_proxy::AadProxy;
use crate::agent::Agent;
use crate::apiserver::ApiServer;
use crate::arm::Arm;
use crate::control::Control;
use crate::entra::{DemoApp, Entra};
use crate::faults::Faults;
use crate::files::Files;
use crate::relay::Relay;
use crate::tls::{self, Authority};

/// The cluster that works and that examples speak of.
pub const DEMO_CLUSTER: &str = "edge-demo";

/// A running emulator. Dropping it stops every part without waiting.
#[derive(Debug)]
pub struct Emulator {
    control: Control,
    parts: Arc<Parts>,
    files: Files,
    authority: Arc<Authority>,
    proxy_authority: Arc<Authority>,
    upstream: Option<PathBuf>,
}

impl Emulator {
    /// Starts describing an emulator.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The faults in force.
    pub fn faults(&self) -> &Faults {
        &self.parts.faults
    }

    /// Entra.
    pub fn entra(&self) -> &Entra {
        &self.parts.entra
    }

    /// ARM.
    pub fn arm(&self) -> &Arm {
        &self.parts.arm
    }

    /// The relay.
    pub fn relay(&self) -> &Relay {
        &self.parts.relay
    }

    /// The demo cluster's kube-aad-proxy.
    pub fn aad_proxy(&self) -> &AadProxy {
        &self.demo().aad_proxy
    }

    /// The demo cluster's agent.
    pub fn agent(&self) -> &Agent {
        &self.demo().agent
    }

    /// The agent of the cluster of that name, if it has one.
    pub fn agent_of(&self, cluster: &str) -> Option<&Agent> {
        self.parts.sites.get(cluster).map(|site| &site.agent)
    }

    /// The kube-aad-proxy of the cluster of that name, if it has one.
    pub fn aad_proxy_of(&self, cluster: &str) -> Option<&AadProxy> {
        self.parts.sites.get(cluster).map(|site| &site.aad_proxy)
    }

    /// The apiserver, unless a real cluster stands in its place.
    pub fn apiserver(&self) -> Option<&ApiServer> {
        self.parts.apiserver.as_ref()
    }

    /// The environment in which a client reaches the emulator as the demo app.
    pub fn env(&self) -> Vec<(String, String)> {
        let demo = self.entra().credentials(DemoApp::Demo);
        let path = |path: &Path| path.display().to_string();
        let mut env = vec![
            ("AZURE_TENANT_ID", self.tenant()),
            ("AZURE_CLIENT_ID", demo.client_id),
            ("AZURE_CLIENT_SECRET", demo.client_secret),
            ("AZURE_SUBSCRIPTION_ID", self.subscription()),
            ("ARCPROXY_CLOUD", path(self.cloud_file())),
            ("ARC_EMULATOR_CONTROL", self.control_url().to_owned()),
        ];
        if let Some(apiserver) = self.apiserver() {
            env.push(("ARC_EMULATOR_SA_TOKEN", apiserver.service_account_token()));
        }
        if let Some(kubeconfig) = self.admin_kubeconfig() {
            env.push(("ARC_EMULATOR_KUBECONFIG", path(kubeconfig)));
        }
        env.into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }

    /// The cloud file, JSON, that a client is pointed to.
    pub fn cloud_file(&self) -> &Path {
        self.files.cloud()
    }

    /// A kubeconfig that leads straight to the apiserver, past everything else.
    pub fn admin_kubeconfig(&self) -> Option<&Path> {
        self.files.kubeconfig().or(self.upstream.as_deref())
    }

    /// The authority of Entra, ARM and the relay.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The authority of every kube-aad-proxy.
    pub fn proxy_authority(&self) -> &Authority {
        &self.proxy_authority
    }

    /// The certificate, PEM, of the authority of Entra, ARM and the relay.
    pub fn ca_pem(&self) -> &str {
        self.authority.pem()
    }

    /// The same certificate, in a file.
    pub fn ca_file(&self) -> &Path {
        self.files.ca()
    }

    /// A certificate and its key, PEM in one file, that the demo app can sign in with. Each call
    /// makes and registers a new one.
    ///
    /// # Errors
    ///
    /// When they cannot be made or written.
    pub async fn client_certificate(&self) -> Result<PathBuf, Error> {
        let pair = tokio::task::spawn_blocking(client_certificate)
            .await
            .map_err(io::Error::other)?;
        let (certificate, key) = pair?;
        self.entra()
            .register_certificate(&self.client_id(), &certificate)?;
        let both = format!("{key}{certificate}");
        Ok(self.files.add("client.pem", &both)?)
    }

    /// A file with an identity token as a Kubernetes workload finds it, which the demo app accepts.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn federated_token_file(&self) -> io::Result<PathBuf> {
        self.files.add("token", &self.entra().workload_token())
    }

    /// The control endpoint, whose path is the only secret that it takes.
    pub fn control_url(&self) -> &str {
        self.control.url()
    }

    /// The ARM id of the cluster of that name, if there is one.
    pub fn cluster_id(&self, name: &str) -> Option<&str> {
        let mut clusters = self.arm().clusters().iter();
        clusters
            .find(|cluster| cluster.name == name)
            .map(|cluster| cluster.id.as_str())
    }

    /// The tenant's id.
    pub fn tenant(&self) -> String {
        self.entra().tenant()
    }

    /// The demo app's client id.
    pub fn client_id(&self) -> String {
        self.entra().credentials(DemoApp::Demo).client_id
    }

    /// The demo app's secret.
    pub fn client_secret(&self) -> String {
        self.entra().credentials(DemoApp::Demo).client_secret
    }

    /// The id of the subscription that the clusters are in.
    pub fn subscription(&self) -> String {
        self.arm().subscriptions()[0].id.clone()
    }

    /// What happened so far.
    pub fn seen(&self) -> Seen {
        self.parts.seen()
    }

    /// Stops every part and waits until each has ended.
    pub async fn stop(self) {
        self.control.stop().await;
        for site in self.parts.sites.values() {
            site.agent.stop().await;
        }
        self.parts.relay.stop().await;
        for site in self.parts.sites.values() {
            site.aad_proxy.stop().await;
        }
        self.parts.arm.stop().await;
        self.parts.entra.stop().await;
        if let Some(apiserver) = &self.parts.apiserver {
            apiserver.stop().await;
        }
    }

    fn demo(&self) -> &Site {
        self.parts
            .sites
            .get(DEMO_CLUSTER)
            .expect("the demo cluster always has an agent")
    }
}

/// A self-signed certificate and its key, RSA as Entra wants it, both PEM.
fn client_certificate() -> Result<(String, String), tls::Error> {
    let pair = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?;
    let certificate = CertificateParams::default().self_signed(&pair)?;
    Ok((certificate.pem(), pair.serialize_pem()))
}
