//! The only writer of stdout and stderr.
//!
//! stdout carries az's lines, or JSON events, or a kubeconfig, or nothing while a command has it;
//! stderr carries progress, warnings, errors and the log. A reader that has gone away is no
//! reason to fail, nor is one that does not read.

mod stderr;

use std::ffi::OsStr;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{LevelFilter, ParseError, Targets};
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::cli::Format;
use crate::error::{Code, Error};
use crate::settings::Telling;

/// The variable that says in full what is logged.
const FILTER: &str = "ARCPROXY_LOG";

/// Who has stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stdout {
    /// az's lines or JSON events.
    Events,
    /// A kubeconfig and nothing else, or a command.
    Taken,
}

/// Something that is now true.
#[derive(Debug)]
pub enum Event<'a> {
    /// Somebody is to sign in on this page, which is opened in the browser.
    SignInPage {
        /// The page.
        url: &'a str,
    },
    /// Somebody is to enter this code on any device.
    DeviceCode {
        /// The page to enter it on.
        url: &'a str,
        /// The code.
        code: &'a str,
        /// For how many minutes it is good.
        minutes: u64,
    },
    /// Signed in.
    SignedIn {
        /// As whom, and how.
        identity: &'a str,
        /// How long it took.
        took: Duration,
    },
    /// The cluster is known.
    Cluster {
        /// Its name.
        name: &'a str,
        /// Its region, agents' version and state, as far as they are known.
        facts: Vec<&'a str>,
        /// How long it took.
        took: Duration,
    },
    /// The local listener serves.
    Listening {
        /// Its port.
        port: u16,
    },
    /// A request has gone through the tunnel to the apiserver and back.
    Tunnel {
        /// The cluster.
        cluster: &'a str,
        /// The relay's host.
        relay: &'a str,
        /// The cluster's Kubernetes version, where it told.
        version: Option<&'a str>,
        /// How long it took.
        took: Duration,
    },
    /// The kubeconfig is written.
    Merged {
        /// The context that is current now.
        context: &'a str,
        /// The file.
        file: &'a Path,
    },
    /// kubectl may begin.
    Ready {
        /// The context.
        context: &'a str,
        /// The file.
        file: Option<&'a Path>,
    },
    /// The end has begun.
    Stopping,
    /// A sign-in that was kept is removed.
    SignedOut {
        /// Whose.
        who: &'a str,
        /// Where they had signed in.
        from: &'a str,
    },
    /// No sign-in was kept.
    NobodySignedIn,
}

impl Event<'_> {
    /// Whether nothing goes on until somebody has read it.
    fn asks(&self) -> bool {
        matches!(self, Self::SignInPage { .. } | Self::DeviceCode { .. })
    }
}

/// Writes for people and programs.
#[derive(Debug, Clone, Copy)]
pub struct Printer {
    telling: Telling,
    stdout: Stdout,
}

impl Printer {
    /// A printer in the way of `telling`.
    pub fn new(telling: Telling, stdout: Stdout) -> Self {
        Self { telling, stdout }
    }

    /// The form of stdout.
    pub fn output(&self) -> Format {
        self.telling.output
    }

    /// Starts the log on stderr. Call it once.
    ///
    /// # Errors
    /// `ARCPROXY_LOG` is no filter.
    pub fn start_log(&self) -> Result<(), Error> {
        let level = match self.telling.verbosity {
            0 => LevelFilter::WARN,
            1 => LevelFilter::INFO,
            _ => LevelFilter::DEBUG,
        };
        let given = std::env::var_os(FILTER).filter(|given| !given.is_empty());
        let filter = match given {
            Some(given) => filter(&given)?,
            None => Targets::new().with_target("arcproxy", level),
        };
        let lines = fmt::layer().with_writer(|| stderr::Log);
        let log = tracing_subscriber::registry();
        let started = match self.telling.log_format {
            Format::Text => log
                .with(lines.with_ansi(false).with_filter(filter))
                .try_init(),
            Format::Json => log.with(lines.json().with_filter(filter)).try_init(),
        };
        if let Err(error) = started {
            self.warn(&format!("there is no log: {error}"));
        }
        Ok(())
    }

    /// Tells of `event`.
    pub fn tell(&self, event: &Event<'_>) {
        if let Some(line) = progress(event) {
            if event.asks() {
                stderr::needed(&said(&line));
            } else if !self.telling.quiet {
                stderr::line(&said(&line));
            }
        }
        if self.stdout == Stdout::Taken {
            return;
        }
        match self.telling.output {
            Format::Text => azs_lines(event).iter().for_each(|line| to_stdout(line)),
            Format::Json => to_stdout(&as_json(event).to_string()),
        }
    }

    /// Prints a kubeconfig to stdout.
    pub fn kubeconfig(&self, text: &str) {
        to_stdout(text.trim_end());
    }

    /// Tells what is not as it should be, though the work goes on.
    pub fn warn(&self, text: &str) {
        stderr::line(&said(&format!("warning: {text}")));
    }

    /// Tells why the run ends.
    pub fn fail(&self, error: &Error) {
        failed(error);
        if self.stdout == Stdout::Events && self.telling.output == Format::Json {
            let event = json!({
                "event": "error",
                "code": error.code().as_str(),
                "message": error.what(),
                "causes": error.causes(),
                "hint": error.hint(),
                "exitCode": error.code().exit_code(),
            });
            to_stdout(&event.to_string());
        }
    }
}

/// Prints a failure for people.
pub fn failed(error: &Error) {
    let mut text = format!("error: {}", error.what());
    for cause in error.causes() {
        text.push_str("\n  caused by: ");
        text.push_str(cause);
    }
    text.push_str("\n\nhint: ");
    text.push_str(error.hint());
    stderr::needed(&said(&text));
}

/// Prints clap's own message: help and version to stdout, errors to stderr.
pub fn clap(error: &clap::Error) {
    let _gone = error.print();
}

fn filter(given: &OsStr) -> Result<Targets, Error> {
    let bad = |why: String| {
        let what = format!("{FILTER}={} is no log filter", given.display());
        Error::new(Code::Usage, what).because(why).hinted(format!(
            "a filter looks like {FILTER}=arcproxy=debug,rustls=info"
        ))
    };
    let text = given
        .to_str()
        .ok_or_else(|| bad("it is no text".to_owned()))?;
    // What cannot be a module's name would be taken for one that never logs.
    if let Some(odd) = text.chars().find(|&c| !is_of_filter(c)) {
        return Err(bad(format!("{odd:?} is in no module's name")));
    }
    text.parse()
        .map_err(|error: ParseError| bad(error.to_string()))
}

fn is_of_filter(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '=' | ',')
}

/// `text` as a line.
fn said(text: &str) -> String {
    harmless(text) + "\n"
}

/// Words of other programs are in it: none may rule the terminal.
fn harmless(text: &str) -> String {
    let rules = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    text.replace("\r\n", "\n").replace(rules, "\u{fffd}")
}

fn to_stdout(line: &str) {
    let mut stdout = io::stdout().lock();
    let _gone = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

fn progress(event: &Event<'_>) -> Option<String> {
    let line =
        |text: String, took: &Duration| Some(format!("✓ {text}   {:.1} s", took.as_secs_f64()));
    match event {
        Event::SignInPage { url } => Some(format!(
            "Sign in with the browser that opens now. If none does, go to\n\n  {url}\n"
        )),
        Event::DeviceCode { url, code, minutes } => Some(device_code(url, code, *minutes)),
        Event::SignedIn { identity, took } => line(format!("Signed in as {identity}"), took),
        Event::Cluster { name, facts, took } => {
            let all: Vec<_> = std::iter::once(name).chain(facts).copied().collect();
            line(all.join(" · "), took)
        }
        Event::Tunnel {
            relay,
            version,
            took,
            ..
        } => {
            let version = version
                .map(|version| format!(" · Kubernetes {version}"))
                .unwrap_or_default();
            line(format!("Tunnel open through {relay}{version}"), took)
        }
        Event::Stopping => Some("Stopping.".to_owned()),
        Event::Listening { .. }
        | Event::Merged { .. }
        | Event::Ready { .. }
        | Event::SignedOut { .. }
        | Event::NobodySignedIn => None,
    }
}

/// The code in a frame, where nobody overlooks it; in one piece, so that it can be copied.
fn device_code(url: &str, code: &str, minutes: u64) -> String {
    let bar = "─".repeat(code.chars().count() + 8);
    format!(
        "To sign in, open this page in any browser\n\n  {url}\n\nand enter the code\n\n  \
         ┌{bar}┐\n  │    {code}    │\n  └{bar}┘\n\nIt is good for {minutes} minutes. \
         Enter it only if you started this sign-in yourself.\n"
    )
}

/// The lines of az's proxy, which tools wait for word by word.
fn azs_lines(event: &Event<'_>) -> Vec<String> {
    match event {
        Event::Listening { port } => vec![format!("Proxy is listening on port {port}")],
        Event::Merged { context, file } => {
            vec![format!(
                "Merged \"{context}\" as current context in {}",
                file.display()
            )]
        }
        Event::Ready { context, file } => {
            let file = file
                .map(|file| file.display().to_string())
                .unwrap_or_default();
            vec![
                format!(
                    "Start sending kubectl requests on '{context}' context using kubeconfig at {file}"
                ),
                "Press Ctrl+C to close proxy.".to_owned(),
            ]
        }
        Event::SignedOut { who, from } => vec![format!("Signed out {who} at {from}")],
        Event::NobodySignedIn => vec!["No sign-in was kept.".to_owned()],
        Event::SignInPage { .. }
        | Event::DeviceCode { .. }
        | Event::SignedIn { .. }
        | Event::Cluster { .. }
        | Event::Tunnel { .. }
        | Event::Stopping => Vec::new(),
    }
}

fn as_json(event: &Event<'_>) -> Value {
    let seconds = Duration::as_secs_f64;
    match event {
        Event::SignInPage { url } => json!({"event": "sign-in-page", "url": url}),
        Event::DeviceCode { url, code, minutes } => {
            json!({"event": "device-code", "url": url, "code": code, "minutes": minutes})
        }
        Event::SignedIn { identity, took } => {
            json!({"event": "signed-in", "identity": identity, "seconds": seconds(took)})
        }
        Event::Cluster { name, facts, took } => {
            json!({"event": "cluster", "cluster": name, "facts": facts, "seconds": seconds(took)})
        }
        Event::Listening { port } => json!({"event": "listening", "port": port}),
        Event::Tunnel {
            cluster,
            relay,
            version,
            took,
        } => json!({
            "event": "tunnel", "cluster": cluster, "relay": relay,
            "kubernetesVersion": version, "seconds": seconds(took),
        }),
        Event::Merged { context, file } => {
            json!({"event": "merged", "context": context, "file": file})
        }
        Event::Ready { context, file } => {
            json!({"event": "ready", "context": context, "file": file})
        }
        Event::Stopping => json!({"event": "stopping"}),
        Event::SignedOut { who, from } => {
            json!({"event": "signed-out", "identity": who, "authority": from})
        }
        Event::NobodySignedIn => json!({"event": "nobody-signed-in"}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_told_rules_the_terminal() {
        let told = "error: a\u{1b}[2Jb\u{9b}31m\rc\u{7}\n\thint: d é ✓";
        assert_eq!(
            harmless(told),
            "error: a\u{fffd}[2Jb\u{fffd}31m\u{fffd}c\u{fffd}\n\thint: d é ✓"
        );
    }

    #[test]
    fn stdout_keeps_azs_words() {
        let file = Path::new("/home/ana/.kube/config");
        let lines: Vec<_> = [
            Event::Listening { port: 47011 },
            Event::Merged {
                context: "edge-42",
                file,
            },
            Event::Ready {
                context: "edge-42",
                file: Some(file),
            },
        ]
        .iter()
        .flat_map(azs_lines)
        .collect();
        assert_eq!(
            lines,
            [
                "Proxy is listening on port 47011",
                "Merged \"edge-42\" as current context in /home/ana/.kube/config",
                "Start sending kubectl requests on 'edge-42' context using kubeconfig at /home/ana/.kube/config",
                "Press Ctrl+C to close proxy.",
            ]
        );
    }

    #[test]
    fn every_json_event_names_itself() {
        assert_eq!(as_json(&Event::Listening { port: 1 })["event"], "listening");
        assert_eq!(as_json(&Event::Stopping)["event"], "stopping");
    }
}
