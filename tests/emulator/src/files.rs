//! The files that clients are pointed to: they last as long as the emulator runs.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::json;
use tempfile::TempDir;

use crate::apiserver::ApiServer;
use crate::arm::{self, Arm};
use crate::entra::{Entra, SERVER_APP};
use crate::tls::Authority;

/// The files, in a directory that only their owner can enter and that goes when this is dropped.
#[derive(Debug)]
pub(crate) struct Files {
    cloud: PathBuf,
    ca: PathBuf,
    kubeconfig: Option<PathBuf>,
    directory: TempDir,
}

impl Files {
    /// Writes them.
    pub(crate) fn write(
        entra: &Entra,
        arm: &Arm,
        authority: &Authority,
        apiserver: Option<&ApiServer>,
    ) -> io::Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("arc-emulator-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir()?;
        let ca = directory.path().join("ca.pem");
        std::fs::write(&ca, authority.pem())?;
        let cloud = directory.path().join("cloud.json");
        let document = json!({
            "name": "emulator",
            "resourceManager": arm.url(),
            "resourceManagerAudience": arm::AUDIENCE,
            "authority": entra.url(),
            "relaySuffix": arm.relay_suffix(),
            "serverAppId": SERVER_APP,
            "caFile": ca,
        });
        std::fs::write(&cloud, format!("{document:#}\n"))?;
        let kubeconfig = match apiserver {
            None => None,
            Some(apiserver) => {
                let path = directory.path().join("kubeconfig");
                std::fs::write(&path, apiserver.admin_kubeconfig())?;
                Some(path)
            }
        };
        Ok(Self {
            cloud,
            ca,
            kubeconfig,
            directory,
        })
    }

    /// Writes one file more.
    pub(crate) fn add(&self, name: &str, text: &str) -> io::Result<PathBuf> {
        let path = self.directory.path().join(name);
        std::fs::write(&path, text)?;
        Ok(path)
    }

    /// The cloud file.
    pub(crate) fn cloud(&self) -> &Path {
        &self.cloud
    }

    /// The authority's certificate.
    pub(crate) fn ca(&self) -> &Path {
        &self.ca
    }

    /// The kubeconfig that leads straight to the apiserver.
    pub(crate) fn kubeconfig(&self) -> Option<&Path> {
        self.kubeconfig.as_deref()
    }
}
