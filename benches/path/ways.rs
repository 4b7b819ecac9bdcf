//! The ways to the apiserver that are compared, each with its client.

use crate::Result;
use crate::client::Client;
use crate::floors::Floors;
use crate::kubectl::KubectlProxy;
use crate::process::Process;
use crate::world::{Proxy, World};

/// A way to the apiserver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Direct,
    Proxied,
    /// kubectl's own proxy, which speaks HTTP/1.1 only.
    Kubectl,
    /// One forwarder of bytes.
    Floor1,
    /// A forwarder in arcproxy's place, with TLS where the emulated path has it.
    Floor3,
}

/// Which ways are compared with the direct one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Compared {
    pub(crate) arcproxy: bool,
    /// If it is installed.
    pub(crate) kubectl: bool,
    pub(crate) floors: bool,
}

/// What has to run so that the ways are open.
#[derive(Debug)]
pub(crate) struct Ways {
    proxy: Option<Proxy>,
    _kubectl: Option<KubectlProxy>,
    _floors: Option<Floors>,
}

/// A way that is open.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) way: Way,
    pub(crate) client: Client,
    /// What the way has in arcproxy's place; the client itself on the direct way.
    pub(crate) process: Process,
}

impl Ways {
    /// Opens them.
    pub(crate) async fn open(world: &World, compared: Compared) -> Result<(Self, Vec<Open>)> {
        let direct = Client::connect(&world.direct).await?;
        let mut open = vec![Open::new(Way::Direct, direct, Process::this())];
        let (mut proxy, mut kubectl, mut floors) = (None, None, None);
        if compared.arcproxy {
            let started = world.proxy().await?;
            let client = Client::connect(&started.arcproxy.endpoint).await?;
            open.push(Open::new(Way::Proxied, client, started.arcproxy.process()?));
            proxy = Some(started);
        }
        if compared.kubectl {
            kubectl = KubectlProxy::start(&world.emulator.kubeconfig()?).await?;
        }
        if let Some(kubectl) = &kubectl {
            let client = Client::connect_plain(kubectl.address).await?;
            open.push(Open::new(Way::Kubectl, client, kubectl.process()?));
        }
        if compared.floors {
            let started = Floors::start(&world.direct).await?;
            let one = Client::connect(&started.one).await?;
            open.push(Open::new(Way::Floor1, one, started.alone.process()?));
            let three = Client::connect(&started.three).await?;
            open.push(Open::new(Way::Floor3, three, started.near.process()?));
            floors = Some(started);
        }
        let ways = Self {
            proxy,
            _kubectl: kubectl,
            _floors: floors,
        };
        Ok((ways, open))
    }

    /// Ends what runs. The clients are to be gone before.
    pub(crate) async fn close(self) -> Result<()> {
        match self.proxy {
            Some(proxy) => proxy.stop().await,
            None => Ok(()),
        }
    }
}

impl Open {
    fn new(way: Way, client: Client, process: Process) -> Self {
        Self {
            way,
            client,
            process,
        }
    }
}
