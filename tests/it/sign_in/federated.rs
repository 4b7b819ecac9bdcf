//! Identity tokens of other issuers: a cluster's, GitHub's and Azure Pipelines'.

use serde_json::json;

use super::{DEMO, PODS, Variables, ended, short_lived, variables};
use crate::harness::{Proxy, Ran, World};

const FILE: &str = "AZURE_FEDERATED_TOKEN_FILE";

impl World {
    /// A pod's variables, as the webhook sets them, and the file.
    pub(super) fn workload(&self) -> (Variables, std::path::PathBuf) {
        let file = self.emulator.federated_token_file().unwrap();
        let authority = self.emulator.entra().url();
        let variables = variables([
            (FILE, file.to_str().unwrap()),
            ("AZURE_AUTHORITY_HOST", authority),
        ]);
        (variables, file)
    }

    /// A workload's token with `subject`, which ends `seconds` from now.
    fn workload_token(&self, subject: &str, seconds: i64) -> String {
        let now = self.emulator.faults().cloud_time();
        let issuer = format!("{}/ci", self.emulator.entra().url());
        self.emulator.entra().keys().sign(&json!({
            "iss": issuer,
            "sub": subject,
            "aud": "api://AzureADTokenExchange",
            "iat": now - 7200,
            "exp": now.saturating_add_signed(seconds),
        }))
    }

    pub(super) fn github(&self) -> Variables {
        let mut variables = self.emulator.entra().github_env();
        variables.push(("GITHUB_ACTIONS".to_owned(), "true".to_owned()));
        variables
    }

    pub(super) fn pipelines(&self) -> Variables {
        self.emulator.entra().pipelines_env()
    }
}

/// The variables without the one called `name`, or with it set to `value`.
fn with(mut variables: Variables, name: &str, value: Option<&str>) -> Variables {
    variables.retain(|(other, _)| other != name);
    variables.extend(value.map(|value| (name.to_owned(), value.to_owned())));
    variables
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_signs_in() {
    let world = World::new().await;
    let (variables, _) = world.workload();
    let who = "(workload identity)";
    world
        .reaches_the_cluster(&variables, "workload-identity", who)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_github_signs_in() {
    let world = World::new().await;
    let variables = world.github();
    world
        .reaches_the_cluster(&variables, "github", "(GitHub Actions)")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_without_a_tenant_gets_the_subscriptions() {
    let world = World::new().await;
    let github = with(world.github(), "AZURE_TENANT_ID", None);
    let pipelines = with(world.pipelines(), "AZURESUBSCRIPTION_TENANT_ID", None);
    for (variables, method) in [(github, "github"), (pipelines, "azure-pipelines")] {
        let mut command = world.signing_in(&variables, &PODS);
        let ran = Ran::of(command.env_remove("AZURE_TENANT_ID")).await;
        let took = format!("signing in method={method}");
        assert!(ran.stderr.contains(&took), "{}", ran.stderr);
        ran.ok();
    }
    // One that has its own is not asked about.
    let before = world.emulator.arm().seen().operations["subscriptions.get"];
    let mut command = world.signing_in(&world.pipelines(), &PODS);
    Ran::of(command.env_remove("AZURE_TENANT_ID")).await.ok();
    let seen = world.emulator.arm().seen();
    assert_eq!(seen.operations["subscriptions.get"], before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_azure_pipelines_signs_in() {
    let world = World::new().await;
    // The task's own variables say as whom.
    let mut variables = world.pipelines();
    variables.push(("AZURE_CLIENT_ID".to_owned(), "another".to_owned()));
    variables.push(("AZURE_TENANT_ID".to_owned(), "another".to_owned()));
    world
        .reaches_the_cluster(&variables, "azure-pipelines", "(Azure Pipelines)")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_tasks_variables_azures_own_say_as_whom() {
    let world = World::new().await;
    let mut variables = world.pipelines();
    variables = with(variables, "AZURESUBSCRIPTION_CLIENT_ID", None);
    variables = with(variables, "AZURESUBSCRIPTION_TENANT_ID", None);
    let arguments = [&DEMO[..], &["--auth", "azure-pipelines", "--", "true"]].concat();
    Ran::of(&mut world.signing_in(&variables, &arguments))
        .await
        .ok();
}

/// Every request to Entra has an identity token of its own.
async fn fetches_one_for_each_renewal(world: &World, variables: &Variables) {
    let proxy = Proxy::start(world.signing_in(variables, &DEMO)).await;
    world
        .asks_until("two renewals of both tokens", || world.tokens_given() >= 6)
        .await;
    ended(proxy).await;
    let seen = world.emulator.entra().seen();
    assert!(seen.identity_tokens >= seen.token_requests, "{seen:?}");
    assert!(seen.refusals.is_empty(), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_github_fetches_an_identity_token_for_each_renewal() {
    let world = short_lived().await;
    fetches_one_for_each_renewal(&world, &world.github()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_azure_pipelines_fetches_an_identity_token_for_each_renewal() {
    let world = short_lived().await;
    fetches_one_for_each_renewal(&world, &world.pipelines()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_file_that_is_late_ends_nothing() {
    let world = short_lived().await;
    let (variables, file) = world.workload();
    let proxy = Proxy::start(world.signing_in(&variables, &DEMO)).await;
    let subject = "system:serviceaccount:default:arcproxy";
    std::fs::write(&file, world.workload_token(subject, -3600)).unwrap();
    world
        .asks_until("a refused renewal", || world.refusals(700_024) >= 1)
        .await;
    std::fs::write(&file, world.workload_token(subject, 3600)).unwrap();
    let before = world.tokens_given();
    world
        .tries_until("two renewals", || world.tokens_given() >= before + 4)
        .await;
    let said = ended(proxy).await;
    assert!(said.contains("WARN"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_workload_is_told() {
    let world = World::new().await;
    let (variables, file) = world.workload();
    let at = file.to_str().unwrap();
    std::fs::write(&file, world.workload_token("system:other", 3600)).unwrap();
    let words = ["AADSTS700213", "system:other", "federated-credential", at];
    world.is_refused(&variables, &[], &words).await;

    let subject = "system:serviceaccount:default:arcproxy";
    std::fs::write(&file, world.workload_token(subject, -3600)).unwrap();
    let words = ["AADSTS700024", "has ended", at];
    world.is_refused(&variables, &[], &words).await;

    let asked = world.emulator.entra().seen().token_requests;
    std::fs::write(&file, "\n").unwrap();
    let words = ["there is no identity token in", at, FILE];
    world.is_refused(&variables, &[], &words).await;
    std::fs::remove_file(&file).unwrap();
    let words = ["cannot read the identity token in", at, "No such file"];
    world.is_refused(&variables, &[], &words).await;
    let mut nobody = world.signing_in(&variables, &DEMO);
    Ran::of(nobody.env_remove("AZURE_CLIENT_ID"))
        .await
        .failed(3, &[FILE, "AZURE_CLIENT_ID is not"]);
    assert_eq!(world.emulator.entra().seen().token_requests, asked);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_authority_than_the_clouds_is_not_followed() {
    let world = World::new().await;
    let (variables, _) = world.workload();
    let elsewhere = Some("https://login.elsewhere.example/");
    let variables = with(variables, "AZURE_AUTHORITY_HOST", elsewhere);
    let arguments = [&DEMO[..], &["--debug", "--", "true"]].concat();
    let ran = Ran::of(&mut world.signing_in(&variables, &arguments)).await;
    let words = "AZURE_AUTHORITY_HOST is not of this cloud";
    assert!(ran.stderr.contains(words), "{}", ran.stderr);
    ran.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_job_of_github_is_told() {
    let world = World::new().await;
    let github = ["--auth", "github"];
    // Without the permission GitHub sets no variables for it.
    let forbidden = variables([("GITHUB_ACTIONS", "true")]);
    let permission = "permissions: id-token: write";
    let hint = format!("hint: give the job `{permission}`");
    let words = ["may not ask GitHub", hint.as_str()];
    world.is_refused(&forbidden, &github, &words).await;
    let mut auto = world.signing_in(&forbidden, &DEMO);
    let ran = Ran::of(auto.env("PATH", world.home()).arg("-v")).await;
    assert!(ran.stderr.contains(permission), "{}", ran.stderr);
    // Elsewhere it is not spoken of.
    let nothing = Variables::new();
    let words = ["--auth github is not configured", "are not set"];
    let ran = world.is_refused(&nothing, &github, &words).await;
    assert!(!ran.stderr.contains(permission), "{}", ran.stderr);

    let token = "ACTIONS_ID_TOKEN_REQUEST_TOKEN";
    let stale = with(world.github(), token, Some("stale"));
    let words = ["gave no identity token", "401", permission];
    world.is_refused(&stale, &github, &words).await;
    let broken = with(world.github(), token, Some("a\nb"));
    world.is_refused(&broken, &github, &[token]).await;
    let url = "ACTIONS_ID_TOKEN_REQUEST_URL";
    let plain = with(world.github(), url, Some("http://localhost:1/"));
    world
        .is_refused(&plain, &github, &[url, "is no https:// address"])
        .await;
    let away = with(world.github(), url, Some("https://localhost:1/"));
    world
        .is_refused(&away, &github, &["cannot reach localhost"])
        .await;
    let mut nobody = world.signing_in(&world.github(), &[&github[..], &DEMO].concat());
    Ran::of(nobody.env_remove("AZURE_CLIENT_ID"))
        .await
        .failed(3, &["AZURE_CLIENT_ID is not set"]);
    assert_eq!(world.emulator.entra().seen().token_requests, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_job_of_azure_pipelines_is_told() {
    let world = World::new().await;
    let pipelines = ["--auth", "azure-pipelines"];
    for (name, word) in [
        ("SYSTEM_OIDCREQUESTURI", "is not set"),
        ("SYSTEM_ACCESSTOKEN", "$(System.AccessToken)"),
        (
            "AZURESUBSCRIPTION_SERVICE_CONNECTION_ID",
            "`azureSubscription`",
        ),
    ] {
        let without = with(world.pipelines(), name, None);
        let words = ["--auth azure-pipelines is not configured", name, word];
        world.is_refused(&without, &pipelines, &words).await;
    }
    let connection = "AZURESUBSCRIPTION_SERVICE_CONNECTION_ID";
    let unknown = with(world.pipelines(), connection, Some("unknown"));
    let words = ["404", "Service connection not found", connection];
    world.is_refused(&unknown, &pipelines, &words).await;
    // Not a page to sign in at.
    let stale = with(world.pipelines(), "SYSTEM_ACCESSTOKEN", Some("stale"));
    let words = ["401 Unauthorized: Unauthorized", "$(System.AccessToken)"];
    world.is_refused(&stale, &pipelines, &words).await;
    assert_eq!(world.emulator.entra().seen().token_requests, 0);
}
