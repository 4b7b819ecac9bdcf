//! What every measurement stands on: the emulator, and how to start an arcproxy before it.

use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use crate::Result;
use crate::arcproxy::Arcproxy;
use crate::binaries::Binaries;
use crate::effort::Effort;
use crate::emulator::Emulator;
use crate::kubeconfig::Endpoint;

/// A small object of every cluster.
pub(crate) const SMALL: &str = "/version";

/// The running emulator and the programs.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) emulator: Emulator,
    pub(crate) effort: Effort,
    /// Straight to the apiserver.
    pub(crate) direct: Endpoint,
    binaries: Binaries,
}

/// An arcproxy and the home folder that it was started with.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) arcproxy: Arcproxy,
    _home: TempDir,
}

impl World {
    pub(crate) async fn start(binaries: Binaries, effort: Effort) -> Result<Self> {
        let emulator = Emulator::start(&binaries.emulator).await?;
        let direct = Endpoint::read(&emulator.kubeconfig()?)?;
        Ok(Self {
            emulator,
            effort,
            direct,
            binaries,
        })
    }

    /// An arcproxy that finds nothing of an earlier one.
    pub(crate) async fn proxy(&self) -> Result<Proxy> {
        let home = tempfile::tempdir()?;
        Ok(Proxy {
            arcproxy: self.proxy_at_home(home.path()).await?,
            _home: home,
        })
    }

    /// An arcproxy that finds what an earlier one left in `home`.
    pub(crate) async fn proxy_at_home(&self, home: &Path) -> Result<Arcproxy> {
        Arcproxy::start(&self.binaries.arcproxy, &self.emulator.environment, home).await
    }

    /// An arcproxy that the cluster sees as a service account, and that makes no key therefore.
    pub(crate) async fn proxy_as_account(&self) -> Result<Proxy> {
        let home = tempfile::tempdir()?;
        let mut environment = self.emulator.environment.clone();
        let token = self.emulator.account_token()?.to_owned();
        environment.push(("ARCPROXY_TOKEN".to_owned(), token));
        Ok(Proxy {
            arcproxy: Arcproxy::start(&self.binaries.arcproxy, &environment, home.path()).await?,
            _home: home,
        })
    }

    /// Makes the path as short as this machine has it.
    pub(crate) async fn lay_nothing(&self) -> Result<()> {
        self.emulator.lay(Duration::ZERO, 0).await
    }

    pub(crate) async fn stop(self) -> Result<()> {
        self.emulator.stop().await
    }
}

impl Proxy {
    /// Ends arcproxy, then forgets its home.
    pub(crate) async fn stop(self) -> Result<()> {
        self.arcproxy.stop().await
    }
}
