//! People who sign in: by the browser and by a device code.

mod auto;
mod browser;
mod challenges;
mod device_code;
mod kept;

use std::path::PathBuf;
use std::process::Stdio;

use arcproxy::azure::cloud::Cloud;
use arcproxy::clock::Clock;
use arcproxy::net::{Https, Net, Trust};
use bytes::Bytes;
use http::Request;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;
use url::Url;

use crate::harness::{DEADLINE, Ran, World};

const ANA: &str = "ana@contoso.com";
const DEMO: [&str; 4] = ["-n", "edge-demo", "-g", "demo"];
const TRUE: [&str; 2] = ["--", "true"];

impl World {
    /// arcproxy for `edge-demo` where no service principal is configured.
    pub(crate) fn by_person(&self, arguments: &[&str]) -> Command {
        let mut command = self.arcproxy(&[&DEMO[..], arguments].concat());
        for name in ["AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"] {
            command.env_remove(name);
        }
        // What else might open a page here.
        command.env("BROWSER", "true");
        command
    }

    /// Runs arcproxy to its end as `upn`, who answers in the browser as often as is asked; gives
    /// the pages that were asked for.
    pub(crate) async fn seated(&self, upn: &str, command: Command) -> (Ran, Vec<Url>) {
        self.emulator.entra().seat(Some(upn));
        let mut asking = Asking::start(command);
        let mut pages = Vec::new();
        while let Some(page) = asking.page().await {
            self.visit(page.as_str()).await;
            pages.push(page);
        }
        (asking.ended().await, pages)
    }

    /// What a browser shows in the end that is sent to `url`.
    async fn visit(&self, url: &str) -> Shown {
        get(self.sent_back(url).await.as_str()).await
    }

    /// Where Entra sends a browser back to from `url`.
    async fn sent_back(&self, url: &str) -> Url {
        let cloud = Cloud::read(self.emulator.cloud_file()).unwrap();
        let trust = Trust::system(cloud.ca_file.as_deref()).unwrap();
        let https = Https::new(Net::new(trust), Clock::system()).unwrap();
        let request = Request::builder().uri(url).body(Bytes::new()).unwrap();
        let answer = https.send(request).await.unwrap();
        Url::parse(answer.headers["location"].to_str().unwrap()).unwrap()
    }

    fn sign_ins(&self) -> PathBuf {
        self.path(".local/state/arcproxy/sign-ins.json")
    }
}

/// What a browser shows.
#[derive(Debug)]
struct Shown {
    status: u16,
    body: String,
}

/// Fetches a page of this machine's.
async fn get(url: &str) -> Shown {
    let url = Url::parse(url).unwrap();
    let address = (url.host_str().unwrap(), url.port().unwrap());
    let mut tcp = TcpStream::connect(address).await.unwrap();
    let path = &url[url::Position::BeforePath..];
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    tcp.read_to_string(&mut text).await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    Shown {
        status: head[9..12].parse().unwrap(),
        body: body.to_owned(),
    }
}

/// An arcproxy that may ask somebody to do something.
struct Asking {
    child: Child,
    stderr: Lines<BufReader<ChildStderr>>,
    said: String,
}

impl Asking {
    fn start(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap()).lines();
        Self {
            child,
            stderr,
            said: String::new(),
        }
    }

    async fn line(&mut self) -> Option<String> {
        let line = timeout(DEADLINE, self.stderr.next_line()).await;
        let line = line.unwrap_or_else(|_| panic!("it goes on after: {}", self.said));
        let line = line.unwrap()?;
        self.said.push_str(&line);
        self.said.push('\n');
        Some(line)
    }

    /// The next page that it names; `None` once it has ended.
    async fn page(&mut self) -> Option<Url> {
        loop {
            let line = self.line().await?;
            if let Some(url) = line.strip_prefix("  https://") {
                return Some(Url::parse(&format!("https://{url}")).unwrap());
            }
        }
    }

    /// The code that it shows, in its frame.
    async fn code(&mut self) -> String {
        loop {
            let line = self.line().await.expect("a code");
            if let Some(rest) = line.strip_prefix("  │") {
                return rest.trim_end_matches('│').trim().to_owned();
            }
        }
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().unwrap().to_string();
        let sent = std::process::Command::new("kill")
            .args(["-s", name, &pid])
            .status();
        assert!(sent.unwrap().success());
    }

    async fn ended(mut self) -> Ran {
        while self.line().await.is_some() {}
        let output = timeout(DEADLINE, self.child.wait_with_output()).await;
        let mut ran = Ran::from(output.expect("it ends in time").unwrap());
        ran.stderr = self.said;
        ran
    }
}

fn value(url: &Url, name: &str) -> Option<String> {
    url.query_pairs()
        .find_map(|(found, value)| (found == name).then(|| value.into_owned()))
}

fn with_value(url: &Url, name: &str, value: &str) -> Url {
    let mut changed = url.clone();
    let kept: Vec<_> = url
        .query_pairs()
        .filter(|(found, _)| found != name)
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect();
    changed
        .query_pairs_mut()
        .clear()
        .extend_pairs(kept)
        .append_pair(name, value);
    changed
}
