//! Commands that read what is there and end.

use super::{Mode, Session};

const READS: &[&str] = &[
    "get pods -n demo -o wide",
    "get pods -n demo -o yaml",
    "get pods -n demo -o json",
    "get pods -n demo --chunk-size=1",
    "get pods -n demo --show-labels",
    "get pods -A",
    "get all -A",
    "get namespaces",
    "get events -A",
    "get deployments,services,configmaps -n demo",
    "get deployment web -n demo -o jsonpath={.spec.replicas}",
    "get pods -n demo -l app=web -o name",
    "describe deployment web -n demo",
    "describe pod shell -n demo",
    "rollout status deployment/web -n demo",
    "api-resources",
    "api-versions",
    "explain pod.spec.containers",
    "explain deployment.spec --recursive",
    "version",
    "auth can-i create pods -n demo",
    "auth can-i --list -n demo",
    // The start of a log stands, while its end moves on.
    "logs deployment/web -n demo --limit-bytes=200 --timestamps",
    "logs deployment/worker -n demo --limit-bytes=100",
];

/// What only some may read.
const CLUSTER_READS: &[&str] = &["get nodes -o wide", "describe node"];

async fn reads(mode: Mode) -> Session {
    let session = Session::open(mode).await;
    let pods = session.same("get pods -n demo").await;
    assert!(pods.contains("NAME") && pods.contains("Running"), "{pods}");
    for command in READS {
        let printed = session.same(command).await;
        // Nothing has happened yet of which there would be events.
        assert_eq!(printed.is_empty(), *command == "get events -A", "{command}");
    }
    for (command, said) in [
        ("get pods no-such-pod -n demo", "(NotFound)"),
        ("get no-such-kind", "doesn't have a resource type"),
        ("logs no-such-pod -n demo", "(NotFound)"),
    ] {
        let refusal = session.refused(command).await;
        assert!(refusal.contains(said), "{refusal}");
    }
    session
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_as_an_entra_identity() {
    let session = reads(Mode::Aad).await;
    for command in CLUSTER_READS {
        let printed = session.same(command).await;
        assert!(printed.contains("edge-node-1"), "{printed}");
    }
    let info = session.same("cluster-info").await;
    assert!(info.contains("https://127.0.0.1:"), "{info}");
    assert!(
        info.contains("/proxies/") && info.contains("/services/kube-dns:dns/proxy"),
        "{info}"
    );
    let whoami = session.same("auth whoami").await;
    assert!(whoami.contains("Extra: oid"), "{whoami}");
    session.same("auth whoami -o json").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_as_somebody_else() {
    let session = Session::open(Mode::Aad).await;
    let whoami = session.through(&["auth", "whoami", "--as", "ana@contoso.example"]);
    // The direct way of this session impersonates already, and its extra fields would stay.
    let mut direct = session.twin().direct(&["auth", "whoami"]);
    direct.args(["--as", "ana@contoso.example"]);
    let whoami = session.same_of("auth whoami --as", [whoami, direct]).await;
    let whoami = whoami.ok();
    assert!(whoami.contains("ana@contoso.example"), "{whoami}");
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_as_a_service_account() {
    let session = reads(Mode::Token).await;
    let refusal = session.refused("auth can-i delete nodes").await;
    assert!(refusal.contains("not namespace scoped"), "{refusal}");
    for command in CLUSTER_READS.iter().chain(&["get secrets -A"]) {
        let refusal = session.refused(command).await;
        assert!(refusal.contains("(Forbidden)"), "{refusal}");
    }
    let info = session.same("cluster-info").await;
    assert!(info.contains("/proxies/"), "{info}");
    let whoami = session.same("auth whoami").await;
    assert!(
        whoami.contains("system:serviceaccount:demo:") && whoami.contains("JTI="),
        "{whoami}"
    );
    session.same("auth whoami -o json").await;
}
