//! A real forward proxy: Debian's squid, with rules of the test's own.

use std::fmt::Write as _;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::harness::DEADLINE;

/// Below those that the kernel gives to whoever asks for any.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
/// Names that nothing but a proxy resolves, all of this machine.
pub(crate) const LOGIN: &str = "login.lab.test";
pub(crate) const ARM: &str = "arm.lab.test";
pub(crate) const RELAY: &str = "azgnrelay-local-l1.relay.lab.test";

/// What a squid is to do.
#[derive(Debug, Clone, Default)]
pub(super) struct Rules {
    /// Lines of its configuration that come before all others.
    lines: String,
    /// The certificate and key that it serves TLS with.
    tls: Option<(PathBuf, PathBuf)>,
    /// `user password`, as its helper is told them.
    credentials: Option<&'static str>,
}

/// A squid that runs.
pub(super) struct Squid {
    rules: Rules,
    child: Child,
    port: u16,
    folder: TempDir,
}

impl Rules {
    /// A connection to `host` is refused.
    pub(super) fn deny(mut self, host: &str) -> Self {
        writeln!(
            self.lines,
            "acl denied dstdomain {host}\nhttp_access deny denied"
        )
        .unwrap();
        self
    }

    /// TLS is spoken with the proxy itself.
    pub(super) fn tls(mut self, certificate: &Path, key: &Path) -> Self {
        self.tls = Some((certificate.to_owned(), key.to_owned()));
        self
    }

    /// Who gives no credentials, or others, is refused.
    pub(super) fn credentials(mut self, user_and_password: &'static str) -> Self {
        self.credentials = Some(user_and_password);
        self
    }

    fn configuration(&self, folder: &Path, port: u16) -> String {
        let Self {
            lines,
            tls,
            credentials,
        } = self;
        let folder = folder.display();
        let mut text = match tls {
            None => format!("http_port 127.0.0.1:{port}\n"),
            Some((certificate, key)) => format!(
                "https_port 127.0.0.1:{port} tls-cert={} tls-key={}\n",
                certificate.display(),
                key.display()
            ),
        };
        if credentials.is_some() {
            write!(
                text,
                "auth_param basic program /bin/sh {folder}/helper\n\
                 auth_param basic children 1 startup=1\n\
                 acl known proxy_auth REQUIRED\n\
                 http_access deny !known\n"
            )
            .unwrap();
        }
        text + lines
            + &format!(
                "http_access allow all\n\
                 hosts_file {folder}/hosts\n\
                 dns_nameservers 127.0.0.1\n\
                 access_log stdio:{folder}/access.log\n\
                 cache_log {folder}/cache.log\n\
                 pid_filename none\n\
                 netdb_filename none\n\
                 visible_hostname proxy.lab.test\n\
                 cache deny all\n\
                 cache_mem 1 MB\n\
                 max_filedescriptors 1024\n\
                 pinger_enable off\n\
                 shutdown_lifetime 0 seconds\n"
            )
    }
}

impl Squid {
    pub(super) async fn start(rules: Rules) -> Self {
        // squid gives up being root, and must read and write here all the same.
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
        let hosts = [LOGIN, ARM, RELAY].map(|name| format!("127.0.0.1 {name}\n"));
        write(&folder.path().join("hosts"), &hosts.concat());
        if let Some(credentials) = rules.credentials {
            let helper = format!(
                "while read -r given; do\n\
                 if [ \"$given\" = '{credentials}' ]; then echo OK; else echo ERR; fi\n\
                 done\n"
            );
            write(&folder.path().join("helper"), &helper);
        }
        // Between finding a free port and squid's taking it, another may: it is asked to try.
        for _ in 0..50 {
            let port = fastrand::u16(PORTS);
            if let Some(child) = spawn(&rules, folder.path(), port).await {
                return Self {
                    rules,
                    child,
                    port,
                    folder,
                };
            }
        }
        let told = std::fs::read_to_string(folder.path().join("cache.log"));
        panic!("squid does not start: {told:?}");
    }

    /// Its address, with `credentials` before the host.
    pub(super) fn url(&self, credentials: &str) -> String {
        let scheme = if self.rules.tls.is_some() {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://{credentials}localhost:{}", self.port)
    }

    /// Ends it, and with it all that goes through it.
    pub(super) async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Starts it again where it was, with other rules.
    pub(super) async fn restart(&mut self, rules: Rules) {
        self.rules = rules;
        let started = async {
            loop {
                if let Some(child) = spawn(&self.rules, self.folder.path(), self.port).await {
                    return child;
                }
            }
        };
        self.child = timeout(DEADLINE, started).await.expect("it starts again");
    }

    /// What was asked of it: how it answered, and for which host and port. A tunnel is there once
    /// it has ended.
    pub(super) fn log(&self) -> Vec<(String, String)> {
        let log = std::fs::read_to_string(self.folder.path().join("access.log"));
        let log = log.unwrap_or_default();
        log.lines()
            .map(|line| {
                let mut words = line.split_whitespace().skip(3);
                let status = words.next().unwrap().to_owned();
                let method = words.nth(1).unwrap();
                assert_eq!(method, "CONNECT", "{line}");
                (status, words.next().unwrap().to_owned())
            })
            .collect()
    }
}

/// A squid on `port`; none if that is taken.
async fn spawn(rules: &Rules, folder: &Path, port: u16) -> Option<Child> {
    let file = folder.join("squid.conf");
    write(&file, &rules.configuration(folder, port));
    let mut child = Command::new(program())
        .args(["-N", "-d", "1", "-f"])
        .arg(&file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let ready = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.contains("Accepting") {
                return true;
            }
        }
        false
    };
    let ready = timeout(DEADLINE, ready).await.expect("it starts or ends");
    if !ready {
        child.wait().await.unwrap();
        return None;
    }
    // What it says later must not fill the pipe.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Some(child)
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, Permissions::from_mode(0o644)).unwrap();
}

fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|folder| folder.join("squid"))
        .find(|program| program.exists())
        .expect("squid is needed, on the PATH or in /usr/sbin: Debian's package squid")
}
