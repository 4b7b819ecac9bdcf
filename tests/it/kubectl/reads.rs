//! Commands that only read, and watches.

use super::{Mode, Reading, Session};
use crate::harness::Ran;

async fn reads(mode: Mode) {
    let session = Session::open(mode).await;
    let pods = session.same(&["get", "pods", "-n", "demo"]).await;
    assert!(pods.contains("NAME") && pods.contains("Running"), "{pods}");
    for command in [
        "get pods -n demo -o wide",
        "get pods -n demo -o yaml",
        "get pods -n demo -o json",
        "get pods -n demo --chunk-size=1",
        "get pods -n demo --show-labels",
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
        "get pods no-such-pod -n demo",
        "get no-such-kind",
    ] {
        session.same(&command.split(' ').collect::<Vec<_>>()).await;
    }
    let many = [
        "get pods -A",
        "get all -A",
        "get nodes -o wide",
        "get namespaces",
        "describe node",
        "get events -A",
    ];
    for command in many {
        session.same(&command.split(' ').collect::<Vec<_>>()).await;
    }
    // Lines come as time goes on: the two ways see the same log at two times.
    let logs = session
        .through(&["logs", "deployment/web", "-n", "demo", "--tail=3"])
        .await
        .ok();
    assert_eq!(
        logs.lines()
            .filter(|line| line.contains("HTTP/1.1"))
            .count(),
        3,
        "{logs}"
    );
    let info = session.through(&["cluster-info"]).await.ok();
    assert!(
        info.contains("https://127.0.0.1:") && info.contains("/proxies/"),
        "{info}"
    );
    let whoami = session.through(&["auth", "whoami"]).await.ok();
    match mode {
        Mode::Token => assert!(whoami.contains("system:serviceaccount:demo:"), "{whoami}"),
        Mode::Aad => {
            assert!(whoami.contains("system:authenticated"), "{whoami}");
            let other = session
                .through(&["auth", "whoami", "--as", "ana@contoso.example"])
                .await
                .ok();
            assert!(other.contains("ana@contoso.example"), "{other}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_as_an_entra_identity() {
    reads(Mode::Aad).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_as_a_service_account() {
    reads(Mode::Token).await;
}

async fn watches(mode: Mode) {
    let session = Session::open(mode).await;
    let mut watch =
        Reading::start(
            &mut session
                .world
                .kubectl(&["get", "configmaps", "-n", "demo", "-w"]),
        );
    watch.until("NAME").await;
    for name in ["one", "two"] {
        Ran::of(&mut session.direct(&["create", "configmap", name, "-n", "demo"]))
            .await
            .ok();
        watch.until(name).await;
    }
    let mut logs = Reading::start(&mut session.world.kubectl(&[
        "logs",
        "-f",
        "deployment/web",
        "-n",
        "demo",
        "--tail=1",
    ]));
    let first = logs.until("").await;
    let second = logs.until("").await;
    assert_ne!(first, second);
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_as_an_entra_identity() {
    watches(Mode::Aad).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_as_a_service_account() {
    watches(Mode::Token).await;
}
