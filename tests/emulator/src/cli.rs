//! The command line: clap types, and the values that they parse.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use arc_emulator::agent;
use arc_emulator::faults::{FaultSet, STATUSES, ServiceFault};
use clap::{Args, Parser, Subcommand, ValueEnum};
use tracing_subscriber::filter::{LevelFilter, Targets};

/// A whole Azure Arc on this machine: Entra, Resource Manager, relay, agent, kube-aad-proxy and a
/// small Kubernetes apiserver, all on loopback ports.
///
/// Without a command it serves: it prints the settings that a client needs and runs until Ctrl+C.
///
/// All but the seed and the cluster behind can be changed while it runs, at the control endpoint,
/// whose address is one of these settings.
#[derive(Debug, Parser)]
#[command(name = "arc-emulator", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) settings: Settings,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print the settings that a client needs, and run until Ctrl+C
    Serve,
    /// Run a command with everything set, and exit with its status
    ///
    /// The command finds the cloud file, the demo app's credentials and the control endpoint in
    /// its environment; KUBECONFIG stays as it is.
    Exec {
        /// The command and its arguments
        #[arg(last = true, required = true, value_name = "COMMAND")]
        command: Vec<OsString>,
    },
    /// Run a client under load while faults strike, and tell what became of every request
    ///
    /// The seed says which faults strike, and when. The status is 1 if a request hung, was cut
    /// short without an error, or went wrong. Ctrl+C ends it early, with the table.
    Soak(SoakArgs),
}

#[derive(Debug, Args)]
pub(crate) struct SoakArgs {
    /// The arcproxy to start
    #[arg(long, value_name = "PATH")]
    pub(crate) client: PathBuf,

    /// How long the load lasts
    #[arg(long, value_name = "N", default_value = "1", value_parser = minutes)]
    pub(crate) minutes: Duration,

    /// How much load there is
    #[arg(long, value_enum, default_value = "usual")]
    pub(crate) load: LoadSize,

    /// Open so many connections to the client besides, and leave them alone
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) idle_connections: usize,

    /// Write the report to this file, too, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Let the client write all details of what it does to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) client_log: Option<PathBuf>,
}

/// How much load a soak puts on the client.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum LoadSize {
    /// 100 watches, 30 requests a second, a few streams of every kind
    Usual,
    /// 1,000 watches, 200 requests a second, 20 exec sessions, 10 port-forwards
    Full,
}

#[derive(Debug, Args)]
pub(crate) struct Settings {
    /// Put the current context of this kubeconfig behind Arc, instead of the built-in apiserver
    #[arg(long, global = true, value_name = "KUBECONFIG")]
    pub(crate) upstream: Option<PathBuf>,

    /// Add this round-trip time to every connection from outside, such as 50ms or 1s
    #[arg(long, global = true, value_name = "TIME", default_value = "0ms", value_parser = milliseconds)]
    rtt: u64,

    /// Limit each direction of the link to this, such as 100mbit or 1gbit
    #[arg(long, global = true, value_name = "RATE", value_parser = bits_per_second)]
    bandwidth: Option<u64>,

    /// How the agent speaks inside a relay stream
    #[arg(long, global = true, value_enum, default_value = "raw")]
    dialect: Dialect,

    /// Let kube-aad-proxy offer no HTTP/2
    #[arg(long, global = true)]
    no_h2: bool,

    /// Let kube-aad-proxy offer no HTTP/1.1
    #[arg(long, global = true, conflicts_with = "no_h2")]
    no_http1: bool,

    /// Where ids and names come from: the same seed, the same ids. It cannot change later
    #[arg(long, global = true, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,

    /// Log more: once for what happens, twice for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,

    #[command(flatten)]
    faults: FaultArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Faults")]
#[expect(
    clippy::struct_field_names,
    clippy::struct_excessive_bools,
    reason = "the fields are named as their flags are, and each is a switch of its own"
)]
struct FaultArgs {
    /// Let Entra's token endpoint answer with this status
    #[arg(long, global = true, value_name = "STATUS", value_parser = status)]
    fault_entra_status: Option<u16>,

    /// Send Retry-After with Entra's status
    #[arg(long, global = true, value_name = "SECONDS")]
    fault_entra_retry_after: Option<u64>,

    /// Answer with Entra's status only so many times
    #[arg(long, global = true, value_name = "N")]
    fault_entra_times: Option<u32>,

    /// Let Entra wait before each answer
    #[arg(long, global = true, value_name = "TIME", value_parser = milliseconds)]
    fault_entra_delay: Option<u64>,

    /// Let Resource Manager answer with this status
    #[arg(long, global = true, value_name = "STATUS", value_parser = status)]
    fault_arm_status: Option<u16>,

    /// Send Retry-After with Resource Manager's status
    #[arg(long, global = true, value_name = "SECONDS")]
    fault_arm_retry_after: Option<u64>,

    /// Answer with Resource Manager's status only so many times
    #[arg(long, global = true, value_name = "N")]
    fault_arm_times: Option<u32>,

    /// Let Resource Manager wait before each answer
    #[arg(long, global = true, value_name = "TIME", value_parser = milliseconds)]
    fault_arm_delay: Option<u64>,

    /// Refuse dials to the relay with this status
    #[arg(long, global = true, value_name = "STATUS", value_parser = status)]
    fault_refuse_dials: Option<u16>,

    /// Accept dials to the relay and then never answer
    #[arg(long, global = true)]
    fault_black_hole_dials: bool,

    /// Cut each tunnel once it has carried so many bytes
    #[arg(long, global = true, value_name = "BYTES")]
    fault_cut_after_bytes: Option<u64>,

    /// Let tunnels stand still, without losing anything
    #[arg(long, global = true)]
    fault_stall_tunnels: bool,

    /// Break each of kube-aad-proxy's answers off after so many bytes of its body
    #[arg(long, global = true, value_name = "BYTES")]
    fault_cut_body_after_bytes: Option<u64>,

    /// Keep the relay away
    #[arg(long, global = true)]
    fault_relay_away: bool,

    /// Keep the agent away from the relay
    #[arg(long, global = true)]
    fault_agent_away: bool,

    /// Let access tokens live this long
    #[arg(long, global = true, value_name = "SECONDS")]
    fault_access_token_seconds: Option<u64>,

    /// Let relay tokens live this long
    #[arg(long, global = true, value_name = "SECONDS")]
    fault_relay_token_seconds: Option<u64>,

    /// Let the cloud's clock run ahead by this, or behind if negative
    #[arg(
        long,
        global = true,
        value_name = "SECONDS",
        default_value_t = 0,
        allow_negative_numbers = true
    )]
    fault_clock_offset_seconds: i64,

    /// Let kube-aad-proxy answer as for a caller in more than 200 groups
    #[arg(long, global = true)]
    fault_group_overage: bool,
}

/// How the agent speaks inside a relay stream.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Dialect {
    /// TLS from the first byte
    Raw,
    /// A preamble that names a port, then TLS
    Bridge,
}

impl From<Dialect> for agent::Dialect {
    fn from(dialect: Dialect) -> Self {
        match dialect {
            Dialect::Raw => Self::Raw,
            Dialect::Bridge => Self::Bridge,
        }
    }
}

impl Settings {
    /// The faults in force from the start, and what else can change later.
    pub(crate) fn faults(&self) -> FaultSet {
        let args = &self.faults;
        FaultSet {
            entra: ServiceFault {
                status: args.fault_entra_status,
                retry_after_seconds: args.fault_entra_retry_after,
                times: args.fault_entra_times,
                delay_ms: args.fault_entra_delay.unwrap_or(0),
            },
            arm: ServiceFault {
                status: args.fault_arm_status,
                retry_after_seconds: args.fault_arm_retry_after,
                times: args.fault_arm_times,
                delay_ms: args.fault_arm_delay.unwrap_or(0),
            },
            refuse_dials: args.fault_refuse_dials,
            black_hole_dials: args.fault_black_hole_dials,
            cut_after_bytes: args.fault_cut_after_bytes,
            stall_tunnels: args.fault_stall_tunnels,
            cut_body_after_bytes: args.fault_cut_body_after_bytes,
            relay_away: args.fault_relay_away,
            agent_away: args.fault_agent_away,
            access_token_seconds: args.fault_access_token_seconds,
            relay_token_seconds: args.fault_relay_token_seconds,
            clock_offset_seconds: args.fault_clock_offset_seconds,
            rtt_ms: self.rtt,
            bandwidth_bits: self.bandwidth.unwrap_or(0),
            group_overage: args.fault_group_overage,
            dialect: self.dialect.into(),
            no_h2: self.no_h2,
            no_http1: self.no_http1,
        }
    }

    /// The filter of what is logged.
    pub(crate) fn log_filter(&self) -> Targets {
        let (all, own) = match self.verbose {
            0 => (LevelFilter::WARN, LevelFilter::WARN),
            1 => (LevelFilter::WARN, LevelFilter::DEBUG),
            _ => (LevelFilter::DEBUG, LevelFilter::TRACE),
        };
        Targets::new()
            .with_default(all)
            .with_target("arc_emulator", own)
    }
}

/// A number with a unit, such as `50ms`.
fn measure(text: &str, units: &[(&str, u64)]) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let names: Vec<_> = units.iter().map(|(name, _)| *name).collect();
    let expected = || format!("expected a number with a unit of {}", names.join(", "));
    let factor = units
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(unit.trim()))
        .map(|(_, factor)| *factor)
        .ok_or_else(expected)?;
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(factor))
        .ok_or_else(expected)
}

/// Minutes, which may be a fraction of one.
fn minutes(text: &str) -> Result<Duration, String> {
    let minutes = text.parse::<f64>().ok().map(|minutes| minutes * 60.0);
    minutes
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|time| !time.is_zero() && *time <= Duration::from_hours(24 * 30))
        .ok_or_else(|| "expected a number of minutes above 0".to_owned())
}

fn milliseconds(text: &str) -> Result<u64, String> {
    measure(text, &[("ms", 1), ("s", 1_000)])
}

fn bits_per_second(text: &str) -> Result<u64, String> {
    let units = [
        ("kbit", 1_000),
        ("mbit", 1_000_000),
        ("gbit", 1_000_000_000),
        ("bit", 1),
    ];
    measure(text, &units)
}

fn status(text: &str) -> Result<u16, String> {
    text.parse()
        .ok()
        .filter(|status| STATUSES.contains(status))
        .ok_or_else(|| {
            let (first, last) = (STATUSES.start(), STATUSES.end());
            format!("expected an HTTP status from {first} to {last}")
        })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_hold_before_and_after_the_command() {
        let parse = |args: &[&str]| Cli::try_parse_from(args).expect("valid arguments").settings;
        let before = parse(&["arc-emulator", "--rtt", "1s", "exec", "--", "true"]);
        let after = parse(&["arc-emulator", "exec", "--rtt", "1s", "--", "true"]);
        let alone = parse(&["arc-emulator", "--rtt", "1s"]);
        for settings in [before, after, alone] {
            assert_eq!(settings.faults().rtt_ms, 1_000);
        }
    }

    #[test]
    fn measures_need_their_unit() {
        assert_eq!(milliseconds("50ms"), Ok(50));
        assert_eq!(bits_per_second("100mbit"), Ok(100_000_000));
        assert!(milliseconds("50").is_err());
        assert!(bits_per_second("fast").is_err());
        assert!(milliseconds("99999999999999999999s").is_err());
    }

    #[test]
    fn a_soak_may_be_short_but_not_none() {
        assert_eq!(minutes("0.1"), Ok(Duration::from_secs(6)));
        for wrong in ["0", "-1", "nan", "inf", "1e300", "a minute"] {
            assert!(minutes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_fault_has_its_flag() {
        let parse = |args: &[&str]| {
            let settings = Cli::try_parse_from(args).expect("valid arguments").settings;
            serde_json::to_value(settings.faults()).expect("faults serialize")
        };
        let many = parse(&[
            "arc-emulator",
            "--rtt=50ms",
            "--bandwidth=100mbit",
            "--fault-entra-status=500",
            "--fault-entra-retry-after=1",
            "--fault-entra-times=2",
            "--fault-entra-delay=3ms",
            "--fault-arm-status=429",
            "--fault-arm-retry-after=4",
            "--fault-arm-times=5",
            "--fault-arm-delay=6ms",
            "--fault-refuse-dials=503",
            "--fault-black-hole-dials",
            "--fault-cut-after-bytes=7",
            "--fault-stall-tunnels",
            "--fault-cut-body-after-bytes=8",
            "--fault-relay-away",
            "--fault-agent-away",
            "--fault-access-token-seconds=8",
            "--fault-relay-token-seconds=9",
            "--fault-clock-offset-seconds=-10",
            "--fault-group-overage",
            "--dialect=bridge",
            "--no-h2",
        ]);
        // Only one version of HTTP can be left out at a time.
        let other = parse(&["arc-emulator", "--no-http1"]);
        let none = parse(&["arc-emulator"]);
        for (name, value) in none.as_object().expect("an object") {
            let reached = &many[name] != value || &other[name] != value;
            assert!(reached, "{name} is not reachable");
        }
    }

    #[test]
    fn without_flags_there_are_no_faults() {
        let cli = Cli::try_parse_from(["arc-emulator"]).expect("valid arguments");
        assert_eq!(cli.settings.faults(), FaultSet::default());
    }

    #[test]
    fn one_version_of_http_has_to_be_left() {
        let error = Cli::try_parse_from(["arc-emulator", "--no-h2", "--no-http1"])
            .expect_err("none is left");
        assert!(error.to_string().contains("cannot be used with"), "{error}");
    }
}
