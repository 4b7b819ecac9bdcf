//! From arguments and environment to settings that are complete and make sense.
//!
//! After this, nothing is checked again and nothing reads the environment. Only small local files
//! that are settings themselves are read here: the cloud file and az's list of subscriptions.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use url::Url;

use crate::azure::cloud::{Cloud, Whereabouts, is_service};
use crate::azure::id::{ClusterId, is_segment};
use crate::azure::login::{Kept, SignInSettings};
use crate::azure::profile::{AzFolder, Profile};
use crate::cli::{Cli, Format};
use crate::error::{Code, Error};
use crate::net::WebProxies;
use crate::secret::Secret;
use crate::session::TokenSource;

/// The port that az's proxy takes, which scripts and tools expect.
const DEFAULT_PORT: u16 = 47011;

/// What one run is to do.
#[derive(Debug)]
pub struct Settings {
    /// The clusters, at least one.
    pub clusters: Clusters,
    /// As whom requests are sent.
    pub mode: Mode,
    /// How to sign in.
    pub sign_in: SignInSettings,
    /// Where.
    pub cloud: Whereabouts,
    /// More certificate authorities to trust.
    pub ca_files: Vec<PathBuf>,
    /// What is reached through which web proxy.
    pub proxies: WebProxies,
    /// The local port; 0 is any free one.
    pub port: u16,
    /// The context's name, where it is not the cluster's.
    pub context: Option<String>,
    /// Where the kubeconfig goes, and what runs with it.
    pub target: Target,
    /// The folder for what one run leaves for the next; without it, nothing is left.
    pub state_folder: Option<PathBuf>,
}

/// How to tell people and programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Telling {
    /// The form of stdout.
    pub output: Format,
    /// The form of the log.
    pub log_format: Format,
    /// How much is logged: 0 warnings, 1 information, 2 everything.
    pub verbosity: u8,
    /// No progress on stderr.
    pub quiet: bool,
}

/// Which clusters.
#[derive(Debug, PartialEq, Eq)]
pub enum Clusters {
    /// By their ARM ids.
    Ids(Vec<ClusterId>),
    /// By the name of one, in a subscription whose id is known.
    Named(ClusterId),
    /// By the name of one, in a subscription whose name must be looked up.
    InSubscriptionNamed {
        /// The subscription's name.
        subscription: String,
        /// The resource group.
        resource_group: String,
        /// The cluster.
        name: String,
    },
}

/// As whom requests are sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Mode {
    /// As the Entra identity that signs in.
    Aad,
    /// As a Kubernetes service account.
    Token(TokenSource),
    /// As a Kubernetes service account whose token comes on stdin.
    TokenOnStdin,
}

/// Where the kubeconfig goes, and what runs with it.
#[derive(Debug, PartialEq, Eq)]
pub enum Target {
    /// Into this file, until a signal.
    File(PathBuf),
    /// To stdout, until a signal.
    Stdout,
    /// Into a private file for this command, until it ends.
    Command(OsString, Vec<OsString>),
}

/// The environment, as far as no flag reads it. It holds secrets, so it never prints.
#[derive(Clone, Default)]
pub struct Environment(Arc<HashMap<String, OsString>>);

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Environment").finish_non_exhaustive()
    }
}

impl Environment {
    /// The process's own.
    pub fn process() -> Self {
        let texts =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
        Self(Arc::new(texts.collect()))
    }

    /// The variable `name`, if it is text and not empty.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        let value = self.0.get(name)?.to_str()?;
        (!value.is_empty()).then(|| value.to_owned())
    }

    /// One of `variables` alone.
    #[cfg(test)]
    pub(crate) fn of<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let variables = variables.into_iter();
        let owned = variables.map(|(name, value)| (name.to_owned(), value.into()));
        Self(Arc::new(owned.collect()))
    }

    /// The variable `name` as a path, if it is not empty.
    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        let value = self.0.get(name)?;
        (!value.is_empty()).then(|| PathBuf::from(value))
    }
}

impl Telling {
    /// How the arguments want it.
    pub fn new(cli: &Cli) -> Self {
        Self {
            output: cli.output,
            log_format: cli.log_format,
            verbosity: if cli.debug { 2 } else { cli.verbose.min(2) },
            quiet: cli.quiet,
        }
    }
}

impl Settings {
    /// Turns arguments and environment into settings.
    ///
    /// # Errors
    /// What is missing, contradicts itself or makes no sense.
    pub fn new(cli: Cli, environment: &Environment) -> Result<Self, Error> {
        let az = AzFolder::new(
            environment.path("AZURE_CONFIG_DIR"),
            environment.path("HOME"),
        );
        let cloud = cloud(cli.cloud.clone(), environment, &az)?;
        let profile = az.profile().of_cloud(&az_name(&cloud, environment, &az));
        let clusters = clusters(&cli, &profile)?;
        if let (Clusters::Ids(ids), Some(_)) = (&clusters, &cli.kube_context)
            && ids.len() > 1
        {
            return Err(Error::new(
                Code::Usage,
                "--kube-context names one context, but --ids gives several clusters",
            )
            .hinted("leave --kube-context out: each context is named after its cluster"));
        }
        if cli.kube_context.as_deref().is_some_and(str::is_empty) {
            return Err(Error::new(Code::Usage, "--kube-context is empty"));
        }
        let ca_files = cli.ca_file.as_deref().into_iter().chain(cloud.ca_file());
        let ca_files = ca_files.map(Path::to_owned).collect();
        let proxies = WebProxies::read(cli.proxy.as_ref(), |name| environment.text(name))
            .map_err(|bad| Error::new(Code::Usage, bad.to_string()).hinted(bad.hint))?;
        let mode = mode(cli.token, cli.token_file);
        let state_folder = state_folder(environment);
        let kept = if cli.no_cache {
            Kept::default()
        } else {
            Kept::new(environment, state_folder.clone())
        };
        let sign_in = SignInSettings {
            auth: cli.auth,
            tenant: environment.text("AZURE_TENANT_ID"),
            client_id: environment.text("AZURE_CLIENT_ID"),
            client_secret: environment.text("AZURE_CLIENT_SECRET").map(Secret::from),
            subscription: clusters.subscription().map(str::to_owned),
            az_profile: profile,
            environment: environment.clone(),
            needs_bound: matches!(mode, Mode::Aad),
            kept,
            tenant_is_found: false,
        };
        let default_port = if cli.command.is_empty() {
            DEFAULT_PORT
        } else {
            0
        };
        Ok(Self {
            clusters,
            mode,
            sign_in,
            cloud,
            ca_files,
            proxies,
            port: cli.port.unwrap_or(default_port),
            context: cli.kube_context,
            target: target(cli.command, cli.file, environment)?,
            state_folder: state_folder.filter(|_| !cli.no_cache),
        })
    }
}

/// Where sign-ins are kept, for a run that only removes them.
pub fn kept(environment: &Environment) -> Kept {
    Kept::new(environment, state_folder(environment))
}

impl Clusters {
    fn subscription(&self) -> Option<&str> {
        match self {
            Self::Ids(ids) => ids.first().map(|id| id.subscription.as_str()),
            Self::Named(id) => Some(&id.subscription),
            Self::InSubscriptionNamed { subscription, .. } => Some(subscription),
        }
    }
}

fn clusters(cli: &Cli, profile: &Profile) -> Result<Clusters, Error> {
    let usage = |what: String| Error::new(Code::Usage, what);
    if !cli.ids.is_empty() {
        let mut ids: Vec<ClusterId> = Vec::new();
        for text in &cli.ids {
            let id: ClusterId = text
                .parse()
                .map_err(|why: String| usage(format!("--ids: {why}")))?;
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        return Ok(Clusters::Ids(ids));
    }
    let (Some(name), Some(resource_group)) = (&cli.name, &cli.resource_group) else {
        let missing = match (&cli.name, &cli.resource_group) {
            (None, Some(_)) => "the cluster is not named",
            (Some(_), None) => "the resource group is not named",
            _ => "no cluster is named",
        };
        return Err(usage(missing.to_owned())
            .hinted("give --name and --resource-group, or --ids with a full ARM id"));
    };
    for (flag, value) in [("--name", name), ("--resource-group", resource_group)] {
        if !is_segment(value) {
            return Err(usage(format!(
                "{flag}: {value:?} cannot be the name of one"
            )));
        }
    }
    let given = cli
        .subscription
        .as_deref()
        .map(str::trim)
        .filter(|text| !text.is_empty());
    let subscription = match given {
        Some(id) if uuid::Uuid::try_parse(id).is_ok() => id,
        Some(name) => match profile.named(name) {
            Some(id) => id,
            None => {
                return Ok(Clusters::InSubscriptionNamed {
                    subscription: name.to_owned(),
                    resource_group: resource_group.clone(),
                    name: cli.name.clone().unwrap_or_default(),
                });
            }
        },
        None => profile.default_subscription().ok_or_else(|| {
            Error::new(
                Code::SubscriptionMissing,
                "no subscription is given and az has no default one",
            )
        })?,
    };
    Ok(Clusters::Named(ClusterId {
        subscription: subscription.to_owned(),
        resource_group: resource_group.clone(),
        name: name.clone(),
    }))
}

/// The names by which Azure knows its own clouds, and az the one that it takes by itself.
const DEFAULT_CLOUD: &str = "AzureCloud";

/// The cloud that the flag names, or `AZURE_CLOUD`, or the one that az works in.
fn cloud(
    given: Option<OsString>,
    environment: &Environment,
    az: &AzFolder,
) -> Result<Whereabouts, Error> {
    if let Some(given) = given {
        return described(&given, "--cloud");
    }
    if let Some(given) = environment.path("AZURE_CLOUD") {
        return described(given.as_os_str(), "AZURE_CLOUD");
    }
    let name = az_cloud(environment, az);
    if let Some(cloud) = Cloud::named(&name) {
        return Ok(Whereabouts::Known(Box::new(cloud)));
    }
    let what = format!("az works in the cloud {name}, which is not known here");
    let unknown = Error::new(Code::CloudFile, what);
    let arm = az
        .registered_cloud(&name)
        .and_then(|arm| Url::parse(&arm).ok())
        .filter(is_service);
    arm.map(Whereabouts::ByResourceManager).ok_or_else(|| {
        unknown.hinted(
            "give --cloud, or run `az cloud set --name AzureCloud` for Azure's public cloud",
        )
    })
}

/// The name of the cloud that az works in.
fn az_cloud(environment: &Environment, az: &AzFolder) -> String {
    environment
        .text("AZURE_CLOUD_NAME")
        .or_else(|| az.cloud())
        .unwrap_or_else(|| DEFAULT_CLOUD.to_owned())
}

/// The name that az has for `cloud`. Of a described one, whatever it is called, az's own counts.
fn az_name(cloud: &Whereabouts, environment: &Environment, az: &AzFolder) -> String {
    match cloud {
        Whereabouts::Known(cloud) if Cloud::named(&cloud.name).is_some() => cloud.name.clone(),
        _ => az_cloud(environment, az),
    }
}

/// The cloud of a name, a file or an address that `source` gives.
fn described(given: &OsStr, source: &str) -> Result<Whereabouts, Error> {
    let text = given.to_str().unwrap_or_default();
    if let Some(cloud) = Cloud::named(text) {
        return Ok(Whereabouts::Known(Box::new(cloud)));
    }
    let bad = |what: String| Error::new(Code::CloudFile, what);
    if text.contains("://") {
        let url = Url::parse(text)
            // The text may hold a password.
            .map_err(|error| bad(format!("{source} is no address")).caused_by(&error))?;
        if !is_service(&url) {
            let what =
                format!("{source}: the address of a Resource Manager is https:// and a host");
            return Err(bad(what).hinted("give it as in --cloud https://management.azure.com"));
        }
        return Ok(Whereabouts::ByResourceManager(url));
    }
    let path = Path::new(given);
    if !path.exists() {
        let shown = if given.is_empty() {
            "\"\"".into()
        } else {
            given.to_string_lossy()
        };
        let what = format!("{source}: {shown} is neither the name of a cloud nor a file");
        return Err(bad(what).hinted(
            "the names are AzureCloud, AzureUSGovernment and AzureChinaCloud; see docs/clouds.md for files and addresses",
        ));
    }
    Cloud::read(path).map(Box::new).map(Whereabouts::Known)
}

fn mode(token: Option<Secret>, file: Option<PathBuf>) -> Mode {
    match (token, file) {
        (Some(token), _) => Mode::Token(TokenSource::Given(token)),
        (None, Some(file)) if file.as_os_str() == "-" => Mode::TokenOnStdin,
        (None, Some(file)) => Mode::Token(TokenSource::File(file)),
        (None, None) => Mode::Aad,
    }
}

fn target(
    command: Vec<OsString>,
    file: Option<PathBuf>,
    environment: &Environment,
) -> Result<Target, Error> {
    let mut words = command.into_iter();
    if let Some(program) = words.next() {
        return Ok(Target::Command(program, words.collect()));
    }
    match file {
        Some(file) if file.as_os_str() == "-" => Ok(Target::Stdout),
        Some(file) => Ok(Target::File(file)),
        None => default_kubeconfig(environment).map(Target::File),
    }
}

/// Where kubectl itself would write: the first file of `KUBECONFIG` that exists, else its last
/// one, else `~/.kube/config`.
fn default_kubeconfig(environment: &Environment) -> Result<PathBuf, Error> {
    if let Some(list) = environment.path("KUBECONFIG") {
        let files: Vec<_> = std::env::split_paths(&list)
            .filter(|file| !file.as_os_str().is_empty())
            .collect();
        if let Some(file) = files.iter().find(|file| file.exists()).or(files.last()) {
            return Ok(file.clone());
        }
    }
    let home = environment.path("HOME").ok_or_else(|| {
        Error::new(
            Code::Usage,
            "there is no home folder to write a kubeconfig to",
        )
        .hinted("give --file")
    })?;
    Ok(home.join(".kube").join("config"))
}

/// `arcproxy` in `XDG_STATE_HOME`, or in `.local/state` of the home folder if there is one.
fn state_folder(environment: &Environment) -> Option<PathBuf> {
    let given = environment.path("XDG_STATE_HOME");
    let base = match given.filter(|folder| folder.is_absolute()) {
        Some(folder) => folder,
        // A home folder that does not exist is not to come into being for this.
        None => environment
            .path("HOME")
            .filter(|home| home.is_dir())?
            .join(".local/state"),
    };
    Some(base.join("arcproxy"))
}

#[cfg(test)]
mod tests;
