//! Every way to sign in, against an Entra that checks what it is shown.

mod certificate;
mod federated;
mod managed_identity;

use arc_emulator::emulator::Emulator;
use arc_emulator::faults::FaultSet;
use tokio::process::Command;
use tokio::time::Instant;

use crate::harness::{DEADLINE, Proxy, Ran, World};

const DEMO: [&str; 4] = ["-n", "edge-demo", "-g", "demo"];
const PODS: [&str; 12] = [
    "-v",
    "-n",
    "edge-demo",
    "-g",
    "demo",
    "--",
    "kubectl",
    "get",
    "pods",
    "-A",
    "-o",
    "name",
];

/// A way to sign in: what the environment has for it.
type Variables = Vec<(String, String)>;

fn variables<const N: usize>(pairs: [(&str, &str); N]) -> Variables {
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

impl World {
    /// arcproxy with these variables in the place of the client secret.
    fn signing_in(&self, variables: &Variables, arguments: &[&str]) -> Command {
        let mut command = self.arcproxy(arguments);
        command
            .env_remove("AZURE_CLIENT_SECRET")
            .envs(variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Reaches the cluster as this identity, with a token for ARM and a bound one, and then
    /// with ARM's alone.
    async fn reaches_the_cluster(&self, variables: &Variables, method: &str, who: &str) {
        let ran = Ran::of(&mut self.signing_in(variables, &PODS)).await;
        let took = format!("signing in method={method}");
        for word in [took.as_str(), who] {
            assert!(ran.stderr.contains(word), "{word:?}: {}", ran.stderr);
        }
        let pods = ran.ok();
        assert!(pods.contains("pod/shell"), "{pods}");
        let seen = self.emulator.entra().seen();
        assert_eq!((seen.pop_tokens, seen.refusals.len()), (1, 0), "{seen:?}");

        let mut alone = self.signing_in(variables, &PODS);
        alone.env("ARCPROXY_TOKEN", self.service_account_token());
        let pods = Ran::of(&mut alone).await.ok();
        assert!(pods.contains("pod/shell"), "{pods}");
        assert_eq!(self.emulator.entra().seen().pop_tokens, 1);
    }

    /// Fails to sign in, with these words.
    async fn is_refused(&self, variables: &Variables, arguments: &[&str], words: &[&str]) -> Ran {
        let all = [arguments, &DEMO].concat();
        let ran = Ran::of(&mut self.signing_in(variables, &all)).await;
        ran.failed(3, words)
    }

    fn tokens_given(&self) -> u64 {
        self.emulator.entra().seen().grants.values().sum()
    }

    fn refusals(&self, number: u32) -> u64 {
        let seen = self.emulator.entra().seen();
        seen.refusals.get(&number).copied().unwrap_or(0)
    }

    /// Asks the cluster through the proxy until `done`, and each time with success.
    async fn asks_until(&self, what: &str, done: impl Fn() -> bool) {
        let started = Instant::now();
        while !done() {
            assert!(started.elapsed() < DEADLINE, "{what} did not come about");
            self.version().await.ok();
        }
    }

    /// Asks the cluster through the proxy until `done`, and then with success.
    async fn tries_until(&self, what: &str, done: impl Fn() -> bool) {
        let started = Instant::now();
        while !done() {
            assert!(started.elapsed() < DEADLINE, "{what} did not come about");
            self.version().await;
        }
        self.version().await.ok();
    }

    async fn version(&self) -> Ran {
        Ran::of(&mut self.kubectl(&["get", "--raw", "/version"])).await
    }
}

/// A world whose tokens live as long as a few requests take.
async fn short_lived() -> World {
    let faults = FaultSet {
        relay_token_seconds: Some(5),
        access_token_seconds: Some(5),
        ..FaultSet::default()
    };
    World::with(Emulator::builder().faults(faults)).await
}

/// Ends the proxy; gives what it said.
async fn ended(proxy: Proxy) -> String {
    proxy.signal("TERM");
    let (code, stderr) = proxy.ended().await;
    assert_eq!(code, Some(0), "{stderr}");
    stderr
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_first_is_taken() {
    let world = World::new().await;
    let secret = variables([("AZURE_CLIENT_SECRET", &world.emulator.client_secret())]);
    let ways = [
        ("service-principal", secret),
        ("workload-identity", world.workload().0),
        ("github", world.github()),
        ("azure-pipelines", world.pipelines()),
    ];
    for first in 0..ways.len() {
        let all = ways[first..].iter().flat_map(|(_, way)| way.clone());
        let mut command = world.signing_in(&all.collect(), &PODS);
        let ran = Ran::of(&mut command).await;
        let took = format!("signing in method={}", ways[first].0);
        assert!(ran.stderr.contains(&took), "{took}: {}", ran.stderr);
        for (earlier, _) in &ways[..first] {
            let passed = format!("passed over method={earlier}");
            assert!(ran.stderr.contains(&passed), "{passed}: {}", ran.stderr);
        }
        ran.ok();
    }
}
