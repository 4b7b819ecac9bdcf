//! From settings to clusters with an open session.

use std::io::Read as _;
use std::sync::Arc;
use std::time::Instant;

use http::HeaderValue;
use tokio::sync::OnceCell;
use tokio::task::{JoinHandle, spawn_blocking};

use super::upstream::Cluster;
use crate::azure::arm::{Arm, AuthenticationMethod};
use crate::azure::cloud::Cloud;
use crate::azure::id::ClusterId;
use crate::azure::login::{self, Prompt, SignIn, Teller};
use crate::azure::pop::PopKey;
use crate::azure::types::ClusterProperties;
use crate::clock::Clock;
use crate::error::{Code, Error};
use crate::net::{Https, Net, TlsError, Trust};
use crate::printer::{Event, Printer};
use crate::relay::Dialer;
use crate::remembered::Remembered;
use crate::secret::Secret;
use crate::session::{Identity, Session, TokenSource};
use crate::settings::{Clusters, Mode, Settings};
use crate::tunnel::{Connect, Credentials, Opener, Pool};

/// As much of stdin as can be a token.
const TOKEN_LIMIT: u64 = 1 << 20;
/// A clock that is off by more than this many seconds is worth a warning.
const CLOCK_WARNING: i64 = 5 * 60;

/// What all clusters of a run share.
pub(super) struct Azure {
    cloud: Cloud,
    arm: Arm,
    clock: Clock,
    dialer: Dialer,
    remembered: Arc<Remembered>,
    sign_in: Arc<dyn SignIn>,
}

impl Azure {
    /// Readies the way to Azure. Nothing is sent yet, but to ask about the cloud or the tenant where
    /// the settings do not say all.
    pub(super) async fn new(settings: &Settings, printer: Printer) -> Result<Self, Error> {
        let clock = Clock::system();
        let trust = Trust::system(settings.ca_files.iter().map(std::path::PathBuf::as_path))
            .map_err(|error| tls(&error))?;
        let net = Net::through(settings.proxies.clone(), trust);
        let https = Https::new(net.clone(), clock.clone()).map_err(|error| tls(&error))?;
        let cloud = settings.cloud.resolve(&https).await?;
        let teller = Teller::new(move |prompt| printer.tell(&event(prompt)));
        let sign_in = login::choose(&settings.sign_in, &cloud, &https, &clock, &teller).await?;
        let folder = settings.state_folder.clone();
        let remembered = folder.map_or_else(Remembered::disabled, Remembered::in_folder);
        Ok(Self {
            arm: Arm::new(https, &cloud, sign_in.clone()),
            cloud,
            dialer: Dialer::new(net).map_err(|error| tls(&error))?,
            remembered: Arc::new(remembered),
            clock,
            sign_in,
        })
    }

    /// A dialler for one cluster. It is on its way already where an earlier run tells the relay.
    fn dialer(&self, id: &ClusterId) -> Dialer {
        match self.remembered.relay(&self.cloud, id) {
            Some((host, port)) => self.dialer.approach(&host, port),
            None => self.dialer.clone(),
        }
    }

    /// Begins to write down for the next run which relays the clusters were reached through.
    pub(super) fn remember(&self, clusters: &[Arc<Cluster>]) -> JoinHandle<()> {
        let (remembered, cloud) = (self.remembered.clone(), self.cloud.clone());
        let relays = clusters
            .iter()
            .map(|cluster| (cluster.session.id().clone(), cluster.session.relay()))
            .collect();
        spawn_blocking(move || remembered.keep(&cloud, relays))
    }
}

/// What a person has to do, as an event.
fn event<'a>(prompt: &Prompt<'a>) -> Event<'a> {
    match *prompt {
        Prompt::Browser { url } => Event::SignInPage { url },
        Prompt::DeviceCode { url, code, minutes } => Event::DeviceCode { url, code, minutes },
    }
}

/// Opens a session with every cluster that the settings name.
pub(super) async fn open(
    azure: &Azure,
    settings: &Settings,
    printer: Printer,
) -> Result<Vec<Arc<Cluster>>, Error> {
    // ARM's token and the cluster's come side by side; both are refused in Entra's words.
    let ((), clusters) =
        tokio::try_join!(sign_in(azure, printer), open_all(azure, settings, printer))?;
    Ok(clusters)
}

/// Signs in to ARM and says so. Whoever calls ARM meanwhile waits for the same token.
async fn sign_in(azure: &Azure, printer: Printer) -> Result<(), Error> {
    let started = Instant::now();
    let scope = azure.cloud.resource_manager_scope();
    azure.sign_in.bearer(&scope).await?;
    let identity = azure.sign_in.description();
    printer.tell(&Event::SignedIn {
        identity: &identity,
        took: started.elapsed(),
    });
    let offset = azure.clock.offset();
    if offset.abs() > CLOCK_WARNING {
        printer.warn(&format!(
            "this machine's clock is {} seconds {} Azure's; tokens are made with Azure's time",
            offset.abs(),
            if offset > 0 { "behind" } else { "ahead of" },
        ));
    }
    Ok(())
}

async fn open_all(
    azure: &Azure,
    settings: &Settings,
    printer: Printer,
) -> Result<Vec<Arc<Cluster>>, Error> {
    // Made once, beside what does not need it: who asks first begins, all wait.
    let identities = OnceCell::new();
    let ready = || Identities::ready(&settings.mode);
    if !matches!(settings.mode, Mode::Aad) {
        // What cannot be a token is told before anything is sent.
        identities.get_or_try_init(ready).await?;
    }
    azure.arm.approach();
    let ids = match &settings.clusters {
        Clusters::Ids(ids) => ids.clone(),
        Clusters::Named(id) => vec![id.clone()],
        Clusters::InSubscriptionNamed {
            subscription,
            resource_group,
            name,
        } => vec![ClusterId {
            subscription: azure.arm.subscription_named(subscription).await?,
            resource_group: resource_group.clone(),
            name: name.clone(),
        }],
    };
    let opening = ids.into_iter().map(|id| {
        let identity = async {
            let identities = identities.get_or_try_init(ready).await?;
            Ok(identities.identity(azure))
        };
        open_one(azure, settings, id, identity, printer)
    });
    futures_util::future::try_join_all(opening).await
}

async fn open_one(
    azure: &Azure,
    settings: &Settings,
    id: ClusterId,
    identity: impl Future<Output = Result<Identity, Error>>,
    printer: Printer,
) -> Result<Arc<Cluster>, Error> {
    let started = Instant::now();
    let dialer: Arc<dyn Connect> = Arc::new(azure.dialer(&id));
    let session = Session::open(
        id.clone(),
        azure.cloud.clone(),
        azure.arm.clone(),
        azure.clock.clone(),
        method(&settings.mode),
        identity,
    );
    let (read, session) = tokio::join!(azure.arm.cluster(&id), session);
    // What is merely worth knowing may be missing: the right to it is another one.
    let known = match read {
        Ok(cluster) => Some(cluster),
        Err(error) => {
            tracing::debug!(%error, "the cluster cannot be read");
            None
        }
    };
    let properties = known.as_ref().map(|cluster| &cluster.properties);
    let session = Arc::new(session.map_err(|error| offline(error, properties, &id))?);
    let facts = known.as_ref().map_or_else(Vec::new, |cluster| {
        let ClusterProperties {
            connectivity_status,
            agent_version,
            ..
        } = &cluster.properties;
        let agent = agent_version
            .as_deref()
            .map(|version| format!("agent {version}"));
        [
            Some(cluster.location.clone()),
            agent,
            connectivity_status.clone(),
        ]
        .into_iter()
        .flatten()
        .collect()
    });
    let facts = facts
        .iter()
        .map(String::as_str)
        .filter(|fact| !fact.is_empty())
        .collect();
    printer.tell(&Event::Cluster {
        name: &id.name,
        facts,
        took: started.elapsed(),
    });
    if properties.and_then(|known| known.private_link_state.as_deref()) == Some("Enabled") {
        printer.warn(&format!(
            "{} is enabled for Azure Private Link, with which Microsoft's documents say cluster connect does not work; trying anyway",
            id.name
        ));
    }
    let credentials: Arc<dyn Credentials> = session.clone();
    let pool = Pool::new(Opener::new(dialer, credentials));
    // The first tunnel, while nothing else has to be done: a failure is told with what ARM knows.
    if let Err(error) = pool.warm().await {
        return Err(offline(error.explain(&id.name), properties, &id));
    }
    Ok(Arc::new(Cluster { session, pool }))
}

/// The error, in the light of what ARM knows of the cluster's agents.
fn offline(error: Error, properties: Option<&ClusterProperties>, id: &ClusterId) -> Error {
    let Some(properties) = properties else {
        return error;
    };
    let status = properties.connectivity_status.as_deref();
    if error.code() != Code::AgentAway
        || !matches!(status, Some("Offline" | "Expired" | "Connecting"))
    {
        return error.for_cluster(id);
    }
    let status = status.unwrap_or_default();
    let since = properties
        .last_connectivity_time
        .as_deref()
        .map(|time| format!("; its agents were last heard of at {time}"))
        .unwrap_or_default();
    let what = format!("{} is {status}{since}", id.name);
    error
        .causes()
        .iter()
        .fold(Error::new(Code::ClusterOffline, what), |error, cause| {
            error.because(cause.clone())
        })
}

impl Error {
    /// The hint that needs the cluster's own names.
    fn for_cluster(self, id: &ClusterId) -> Self {
        if self.code() != Code::AgentAway {
            return self;
        }
        let ClusterId {
            name,
            resource_group,
            ..
        } = id;
        self.hinted(format!(
            "cluster connect may be disabled; with access to the cluster, enable it: \
             `az connectedk8s enable-features --features cluster-connect -n {name} -g {resource_group}`"
        ))
    }
}

/// What identities are made of.
enum Identities {
    Aad(Arc<PopKey>),
    Token(TokenSource, HeaderValue),
}

impl Identities {
    async fn ready(mode: &Mode) -> Result<Self, Error> {
        let gone = |error: tokio::task::JoinError| {
            Error::new(Code::Unexpected, "a task broke").caused_by(&error)
        };
        match mode {
            // A tenth of a second of CPU.
            Mode::Aad => spawn_blocking(PopKey::generate)
                .await
                .map_err(gone)?
                .map(|key| Self::Aad(Arc::new(key)))
                .map_err(|error| {
                    Error::new(Code::Unexpected, "cannot make a key").caused_by(&error)
                }),
            Mode::Token(source) => Ok(Self::Token(source.clone(), source.header().await?)),
            Mode::TokenOnStdin => {
                let token = spawn_blocking(stdin)
                    .await
                    .map_err(gone)?
                    .map_err(|error| {
                        Error::new(Code::Usage, "cannot read the token from stdin")
                            .caused_by(&error)
                    })?;
                let source = TokenSource::Given(token);
                let header = source.header().await?;
                Ok(Self::Token(source, header))
            }
        }
    }

    fn identity(&self, azure: &Azure) -> Identity {
        match self {
            Self::Aad(key) => Identity::aad(
                azure.sign_in.clone(),
                azure.cloud.server_app_scope(),
                key.clone(),
            ),
            Self::Token(source, header) => {
                Identity::service_account(source.clone(), header.clone())
            }
        }
    }
}

fn stdin() -> std::io::Result<Secret> {
    let mut text = String::new();
    std::io::stdin()
        .lock()
        .take(TOKEN_LIMIT)
        .read_to_string(&mut text)?;
    Ok(Secret::from(text.trim()))
}

/// What ARM calls the run's way of authentication.
pub(super) fn method(mode: &Mode) -> AuthenticationMethod {
    match mode {
        Mode::Aad => AuthenticationMethod::Aad,
        Mode::Token(_) | Mode::TokenOnStdin => AuthenticationMethod::Token,
    }
}

fn tls(error: &TlsError) -> Error {
    let code = match error {
        TlsError::Read(..) | TlsError::Bundle(..) => Code::CaFile,
        TlsError::Certificate(_) | TlsError::Settings(_) => Code::Unexpected,
    };
    let what = error.to_string();
    match std::error::Error::source(error) {
        Some(source) => Error::new(code, what).caused_by(source),
        None => Error::new(code, what),
    }
}
