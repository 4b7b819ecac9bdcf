//! The whole emulator: that it starts complete and leaves nothing behind.

use std::time::Duration;

use arc_emulator::emulator::{DEMO_CLUSTER, Emulator};
use arc_emulator::tls::provider;
use http::StatusCode;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use crate::apps::{ASSERTION, Signer};
use crate::client::post;

/// A client that trusts the emulator.
fn tls_of(emulator: &Emulator) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(emulator.ca_pem().as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

fn variable(emulator: &Emulator, name: &str) -> String {
    let env = emulator.env();
    let found = env.into_iter().find(|(key, _)| key == name);
    found.map(|(_, value)| value).unwrap()
}

#[tokio::test]
async fn the_cloud_file_and_the_environment_lead_to_every_part() {
    let emulator = Emulator::builder().seed(3).start().await.unwrap();
    let path = variable(&emulator, "ARCPROXY_CLOUD");
    let cloud: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(cloud["resourceManager"], emulator.arm().url());
    assert_eq!(cloud["authority"], emulator.entra().url());
    assert_eq!(cloud["relaySuffix"], emulator.arm().relay_suffix());
    let ca = std::fs::read_to_string(cloud["caFile"].as_str().unwrap()).unwrap();
    assert_eq!(ca, emulator.ca_pem());
    assert_eq!(variable(&emulator, "AZURE_TENANT_ID"), emulator.tenant());
    assert_eq!(variable(&emulator, "AZURE_CLIENT_ID"), emulator.client_id());
    let id = emulator.cluster_id(DEMO_CLUSTER).unwrap();
    assert!(
        id.contains(&variable(&emulator, "AZURE_SUBSCRIPTION_ID")),
        "{id}"
    );
    let kubeconfig = variable(&emulator, "ARC_EMULATOR_KUBECONFIG");
    assert!(std::fs::metadata(kubeconfig).unwrap().is_file());
    emulator.stop().await;
}

#[cfg(unix)]
#[tokio::test]
async fn only_the_owner_can_reach_the_files() {
    use std::os::unix::fs::PermissionsExt as _;
    let emulator = Emulator::builder().start().await.unwrap();
    let directory = emulator.cloud_file().parent().unwrap();
    let mode = std::fs::metadata(directory).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    emulator.stop().await;
}

#[tokio::test]
async fn stopping_leaves_no_port_and_no_file() {
    let emulator = Emulator::builder().start().await.unwrap();
    let directory = emulator.cloud_file().parent().unwrap().to_owned();
    let control: url::Url = emulator.control_url().parse().unwrap();
    let ports = [
        emulator.entra().address().port(),
        emulator.arm().address().port(),
        emulator.relay().address().port(),
        emulator.aad_proxy().address().port(),
        control.port().unwrap(),
    ];
    emulator.stop().await;
    assert!(!directory.exists());
    for port in ports {
        let error = TcpStream::connect(("127.0.0.1", port)).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    }
}

/// Waits until nothing runs on `runtime` any more. A task has ended for those who wait for it a
/// moment before the runtime has put it away.
async fn no_task_is_left(runtime: &Runtime) {
    let ended = async {
        while runtime.metrics().num_alive_tasks() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), ended)
        .await
        .expect("every task ends");
}

#[test]
fn stopping_leaves_no_task() {
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        Emulator::builder().start().await.unwrap().stop().await;
        no_task_is_left(&runtime).await;
    });
}

#[test]
fn dropping_leaves_no_task() {
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        drop(Emulator::builder().start().await.unwrap());
        no_task_is_left(&runtime).await;
    });
}

#[tokio::test]
async fn the_same_seed_gives_the_same_ids_and_other_secrets() {
    let one = Emulator::builder().seed(11).start().await.unwrap();
    let two = Emulator::builder().seed(11).start().await.unwrap();
    assert_eq!(one.cluster_id(DEMO_CLUSTER), two.cluster_id(DEMO_CLUSTER));
    assert_eq!(one.client_id(), two.client_id());
    assert_ne!(one.client_secret(), two.client_secret());
    assert_ne!(one.ca_pem(), two.ca_pem());
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn the_demo_app_has_other_ways_to_sign_in_on_request() {
    let emulator = Emulator::builder().start().await.unwrap();
    let pem = std::fs::read_to_string(emulator.client_certificate().await.unwrap()).unwrap();
    let signer = Signer::from_pem(&pem);
    let tls = tls_of(&emulator);
    let url = format!(
        "{}/{}/oauth2/v2.0/token",
        emulator.entra().url(),
        emulator.tenant()
    );
    let id = emulator.client_id();
    let now = emulator.faults().cloud_time();
    let by_certificate = signer.sign(
        &json!({ "alg": "PS256", "x5t#S256": signer.sha256 }),
        &json!({ "iss": id, "sub": id, "aud": url, "nbf": now, "exp": now + 60 }),
    );
    let path = emulator.federated_token_file().unwrap();
    let by_workload = std::fs::read_to_string(path).unwrap();
    for assertion in [by_certificate, by_workload] {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", id.as_str()),
            ("client_assertion_type", ASSERTION),
            ("client_assertion", &assertion),
            ("scope", "https://management.azure.com/.default"),
        ];
        let answer = post(&tls, &url, &form).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    }
    emulator.stop().await;
}

#[tokio::test]
async fn an_upstream_that_cannot_be_used_is_an_error_that_names_it() {
    let error = Emulator::builder()
        .upstream(Some("/nonexistent/kubeconfig".into()))
        .start()
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("/nonexistent/kubeconfig"),
        "{error}"
    );
}

#[tokio::test]
async fn a_real_cluster_takes_the_built_in_ones_place() {
    let behind = Emulator::builder().start().await.unwrap();
    let kubeconfig = behind.admin_kubeconfig().unwrap().to_owned();
    let emulator = Emulator::builder()
        .upstream(Some(kubeconfig.clone()))
        .start()
        .await
        .unwrap();
    assert!(emulator.apiserver().is_none());
    assert_eq!(
        variable(&emulator, "ARC_EMULATOR_KUBECONFIG"),
        kubeconfig.display().to_string()
    );
    let names: Vec<_> = emulator.env().into_iter().map(|(name, _)| name).collect();
    assert!(
        !names.contains(&"ARC_EMULATOR_SA_TOKEN".to_owned()),
        "{names:?}"
    );
    emulator.stop().await;
    behind.stop().await;
}
