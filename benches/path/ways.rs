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
    /// Three of them, with TLS where the path through arcproxy has it.
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

impl Ways {
    /// Opens them; a client of each is the other half.
    pub(crate) async fn open(
        world: &World,
        compared: Compared,
    ) -> Result<(Self, Vec<(Way, Client)>)> {
        let mut clients = vec![(Way::Direct, Client::connect(&world.direct).await?)];
        let (mut proxy, mut kubectl, mut floors) = (None, None, None);
        if compared.arcproxy {
            let started = world.proxy().await?;
            let client = Client::connect(&started.arcproxy.endpoint).await?;
            clients.push((Way::Proxied, client));
            proxy = Some(started);
        }
        if compared.kubectl {
            kubectl = KubectlProxy::start(&world.emulator.kubeconfig()?).await?;
        }
        if let Some(kubectl) = &kubectl {
            let client = Client::connect_plain(kubectl.address).await?;
            clients.push((Way::Kubectl, client));
        }
        if compared.floors {
            let started = Floors::start(&world.direct).await?;
            let one = Client::connect(&started.one).await?;
            let three = Client::connect(&started.three).await?;
            clients.extend([(Way::Floor1, one), (Way::Floor3, three)]);
            floors = Some(started);
        }
        let ways = Self {
            proxy,
            _kubectl: kubectl,
            _floors: floors,
        };
        Ok((ways, clients))
    }

    /// arcproxy, if it is compared.
    pub(crate) fn arcproxy(&self) -> Result<Option<Process>> {
        let proxy = self.proxy.as_ref();
        proxy.map(|proxy| proxy.arcproxy.process()).transpose()
    }

    /// Ends what runs. The clients are to be gone before.
    pub(crate) async fn close(self) -> Result<()> {
        match self.proxy {
            Some(proxy) => proxy.stop().await,
            None => Ok(()),
        }
    }
}
