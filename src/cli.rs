//! The command line, as clap types and nothing more.
//!
//! Flags keep the names and short forms of `az connectedk8s proxy`. Whatever a flag sets, an
//! environment variable can set; an empty variable counts as none. [`crate::settings`] turns these
//! into complete settings.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{FalseyValueParser, Resettable};
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{
    Arg, ArgAction, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum,
};

use crate::azure::login::Auth;
use crate::secret::Secret;

const EXAMPLES: &str = "\
Examples:
  arcproxy -n edge-42 -g factories                         until Ctrl+C
  arcproxy -n edge-42 -g factories -- kubectl get pods -A  for one command
  arcproxy -n edge-42 -g factories --token-file sa.token   as a Kubernetes service account
  arcproxy -n edge-42 -g factories -f -                    kubeconfig to stdout
  arcproxy logout                                          forget who signed in

Exit codes: 0 ok, 1 unexpected, 2 usage, 3 sign-in, 4 Azure refused, 5 tunnel, port or proxy,
6 kubeconfig; a command after -- gives its own (128+n when signal n ended it).";

/// Reach an Azure Arc-enabled Kubernetes cluster with kubectl through cluster connect.
#[derive(Debug, Parser)]
#[command(
    name = "arcproxy",
    version,
    after_help = EXAMPLES,
    max_term_width = 100,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true
)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub struct Cli {
    /// What to do in place of reaching a cluster
    #[command(subcommand)]
    pub instead: Option<Instead>,

    /// Name of the connected cluster
    #[arg(short, long, env = "ARCPROXY_NAME", value_name = "CLUSTER")]
    pub name: Option<String>,

    /// Resource group of the cluster
    #[arg(
        short = 'g',
        long,
        env = "ARCPROXY_RESOURCE_GROUP",
        value_name = "GROUP"
    )]
    pub resource_group: Option<String>,

    /// Full ARM id of a cluster, in place of --name and --resource-group; may be repeated
    #[arg(
        long,
        env = "ARCPROXY_IDS",
        value_name = "ID",
        num_args = 1..,
        value_delimiter = ' '
    )]
    pub ids: Vec<String>,

    /// Name or id of the subscription [default: az's default]
    #[arg(long, env = "AZURE_SUBSCRIPTION_ID", value_name = "SUBSCRIPTION")]
    pub subscription: Option<String>,

    /// Kubernetes service-account token to send in place of an Entra token; process lists show
    /// it, so prefer --token-file or the environment
    #[arg(
        long,
        env = "ARCPROXY_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN"
    )]
    pub token: Option<Secret>,

    /// Whether the token stands on the command line, where process lists show it.
    #[arg(skip)]
    pub token_is_shown: bool,

    /// File with the service-account token; `-` reads stdin
    #[arg(long, env = "ARCPROXY_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,

    /// Kubeconfig to write to; `-` prints one to stdout [default: $KUBECONFIG, ~/.kube/config]
    #[arg(short, long, env = "ARCPROXY_FILE", value_name = "FILE")]
    pub file: Option<PathBuf>,

    /// Name for the context, cluster and user [default: the cluster's name]
    #[arg(long, env = "ARCPROXY_KUBE_CONTEXT", value_name = "NAME")]
    pub kube_context: Option<String>,

    /// Local port; 0 takes any free one [default: 47011; with a command: 0]
    #[arg(long, env = "ARCPROXY_PORT", value_name = "PORT")]
    pub port: Option<u16>,

    /// Azure cloud: `AzureCloud`, `AzureUSGovernment`, `AzureChinaCloud`, the path of a cloud file, or
    /// the https:// address of its Resource Manager [default: `$AZURE_CLOUD`, az's, `AzureCloud`]
    #[arg(long, env = "ARCPROXY_CLOUD", value_name = "NAME|FILE|URL")]
    pub cloud: Option<OsString>,

    /// How to sign in to Azure
    #[arg(
        long,
        env = "ARCPROXY_AUTH",
        value_name = "METHOD",
        default_value = "auto"
    )]
    pub auth: Auth,

    /// Keep no sign-in of browser and device-code for the next run, and use none that was kept
    #[arg(long, env = "ARCPROXY_NO_CACHE", value_parser = FalseyValueParser::new(), action = ArgAction::SetTrue)]
    pub no_cache: bool,

    /// More certificate authorities to trust, PEM
    #[arg(long, env = "ARCPROXY_CA_FILE", value_name = "FILE")]
    pub ca_file: Option<PathBuf>,

    /// Web proxy to go out through, http:// or https://; wins over `HTTPS_PROXY`, not over `NO_PROXY`
    #[arg(
        long,
        env = "ARCPROXY_PROXY",
        hide_env_values = true,
        value_name = "URL"
    )]
    pub proxy: Option<Secret>,

    /// Log everything but secrets to stderr
    #[arg(long, env = "ARCPROXY_DEBUG", value_parser = FalseyValueParser::new(), action = ArgAction::SetTrue)]
    pub debug: bool,

    /// Log what happens; twice is --debug
    #[arg(short, long, env = "ARCPROXY_VERBOSE", action = ArgAction::Count)]
    pub verbose: u8,

    /// Show nothing but warnings and errors on stderr
    #[arg(short, long, visible_alias = "only-show-errors", env = "ARCPROXY_QUIET", value_parser = FalseyValueParser::new(), action = ArgAction::SetTrue)]
    pub quiet: bool,

    /// Form of the log
    #[arg(
        long,
        env = "ARCPROXY_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "text"
    )]
    pub log_format: Format,

    /// Form of stdout: az's lines, or one JSON object per event
    #[arg(
        short,
        long,
        env = "ARCPROXY_OUTPUT",
        global = true,
        value_name = "FORMAT",
        default_value = "text"
    )]
    pub output: Format,

    /// Command to run against the cluster; arcproxy ends with it and gives its exit code
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// Flags that exclude each other. Where the command line has one side, it wins over the
/// environment's other side.
const EXCLUSIVE: [(&[&str], &[&str]); 3] = [
    (&["ids"], &["name", "resource_group"]),
    (&["token"], &["token_file"]),
    (&["command"], &["file"]),
];

impl Cli {
    /// Reads `arguments` (the program's own name first) and the environment.
    ///
    /// # Errors
    /// clap's, with its own words for help, version and what makes no sense.
    pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let mut command = Self::command().mut_args(without_empty_variable);
        let matches = command.try_get_matches_from_mut(arguments)?;
        let mut cli = Self::from_arg_matches(&matches)?;
        cli.token_is_shown = matches.value_source("token") == Some(ValueSource::CommandLine);
        for (one, other) in EXCLUSIVE {
            let given = |side: &[&str], by: ValueSource| {
                side.iter()
                    .any(|name| matches.value_source(name) == Some(by))
            };
            let (line, environment) = (ValueSource::CommandLine, ValueSource::EnvVariable);
            match (given(one, line), given(other, line)) {
                (true, true) => return Err(exclusive(&mut command, one, other)),
                (true, false) => cli.forget(other),
                (false, true) => cli.forget(one),
                (false, false) if given(one, environment) && given(other, environment) => {
                    return Err(exclusive(&mut command, one, other));
                }
                (false, false) => {}
            }
        }
        Ok(cli)
    }

    fn forget(&mut self, names: &[&str]) {
        for name in names {
            match *name {
                "ids" => self.ids.clear(),
                "name" => self.name = None,
                "resource_group" => self.resource_group = None,
                "token" => self.token = None,
                "token_file" => self.token_file = None,
                "file" => self.file = None,
                _ => {}
            }
        }
    }
}

/// A variable that is set to nothing, as pipelines do with what they do not know, is not set. Not
/// so the token's: that a secret is missing must not change as whom requests are sent.
fn without_empty_variable(argument: Arg) -> Arg {
    let is_token = matches!(argument.get_id().as_str(), "token" | "token_file");
    let variable = argument.get_env().and_then(std::env::var_os);
    if is_token || variable.is_none_or(|value| !value.is_empty()) {
        return argument;
    }
    argument.env(Resettable::Reset)
}

fn exclusive(command: &mut clap::Command, one: &[&str], other: &[&str]) -> clap::Error {
    let flag = |name: &&str| match *name {
        "command" => "a command".to_owned(),
        name => format!("--{}", name.replace('_', "-")),
    };
    let other: Vec<_> = other.iter().map(flag).collect();
    let text = format!(
        "{} cannot be used together with {}",
        flag(&one[0]),
        other.join(" and ")
    );
    command.error(ErrorKind::ArgumentConflict, text)
}

/// What to do in place of reaching a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub enum Instead {
    /// Remove the sign-ins that were kept for the next run
    Logout,
}

/// Lines for people, or JSON for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Lines of text
    Text,
    /// One JSON object a line
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_that_exclude_each_other_are_told() {
        let read = |arguments: &[&str]| {
            Cli::read(["arcproxy"].iter().chain(arguments).map(OsString::from))
        };
        for arguments in [
            &["--ids", "x", "-n", "y"][..],
            &["--token", "x", "--token-file", "y"],
            &["-f", "x", "--", "true"],
        ] {
            let error = read(arguments).expect_err("a conflict");
            assert_eq!(error.kind(), ErrorKind::ArgumentConflict, "{error}");
        }
        assert!(read(&["-n", "a", "-g", "b", "-f", "x"]).is_ok());
        let logout = read(&["logout", "-o", "json"]).expect("a subcommand");
        assert_eq!(logout.output, Format::Json);
    }
}
