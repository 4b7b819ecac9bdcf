//! Commands that change something.

use super::{Mode, Session};
use crate::harness::Ran;

const MANIFEST: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata: {name: fresh, namespace: demo, labels: {app: fresh}}
spec:
  replicas: 1
  selector: {matchLabels: {app: fresh}}
  template:
    metadata: {labels: {app: fresh}}
    spec:
      containers:
      - {name: main, image: 'busybox:1.36'}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: fresh, namespace: demo}
data: {key: one}
";

/// The value at a path of what is called `fresh`, read straight from the apiserver.
async fn field(session: &Session, kind: &str, path: &str) -> String {
    let path = format!("jsonpath={path}");
    let arguments = ["get", kind, "fresh", "-n", "demo", "-o", &path];
    Ran::of(&mut session.direct(&arguments)).await.ok()
}

async fn changes(mode: Mode) {
    let session = Session::open(mode).await;
    applies(&session).await;
    alters(&session).await;
    deletes(&session).await;
}

async fn applies(session: &Session) {
    let manifest = session.world.path("manifest.yaml");
    std::fs::write(&manifest, MANIFEST).unwrap();
    let file = manifest.to_str().unwrap();
    let run = async |arguments: &[&str]| session.through(arguments).await.ok();

    let applied = run(&["apply", "-f", file]).await;
    assert_eq!(
        applied,
        "deployment.apps/fresh created\nconfigmap/fresh created\n"
    );
    assert_eq!(
        run(&["apply", "-f", file]).await,
        "deployment.apps/fresh unchanged\nconfigmap/fresh unchanged\n"
    );
    std::fs::write(&manifest, MANIFEST.replace("key: one", "key: two")).unwrap();
    assert!(
        run(&["apply", "-f", file])
            .await
            .contains("configmap/fresh configured")
    );
    assert_eq!(field(session, "configmap", "{.data.key}").await, "two");

    std::fs::write(&manifest, MANIFEST.replace("key: one", "key: three")).unwrap();
    let conflict = session
        .through(&["apply", "--server-side", "-f", file])
        .await;
    assert!(conflict.stderr.contains("conflict"), "{}", conflict.stderr);
    run(&["apply", "--server-side", "--force-conflicts", "-f", file]).await;
    assert_eq!(field(session, "configmap", "{.data.key}").await, "three");
}

async fn alters(session: &Session) {
    let run = async |arguments: &[&str]| session.through(arguments).await.ok();
    run(&[
        "rollout",
        "status",
        "deployment/fresh",
        "-n",
        "demo",
        "--timeout=30s",
    ])
    .await;
    run(&["scale", "deployment/fresh", "-n", "demo", "--replicas=3"]).await;
    run(&[
        "wait",
        "deployment/fresh",
        "-n",
        "demo",
        "--for=jsonpath={.status.readyReplicas}=3",
        "--timeout=30s",
    ])
    .await;
    run(&["label", "deployment/fresh", "-n", "demo", "tier=front"]).await;
    assert_eq!(
        field(session, "deployment", "{.metadata.labels.tier}").await,
        "front"
    );
    for (kind, patch) in [
        ("merge", r#"{"metadata":{"labels":{"tier":"merge"}}}"#),
        (
            "json",
            r#"[{"op":"replace","path":"/metadata/labels/tier","value":"json"}]"#,
        ),
        (
            "strategic",
            r#"{"metadata":{"labels":{"tier":"strategic"}}}"#,
        ),
    ] {
        run(&[
            "patch",
            "deployment/fresh",
            "-n",
            "demo",
            "--type",
            kind,
            "-p",
            patch,
        ])
        .await;
        assert_eq!(
            field(session, "deployment", "{.metadata.labels.tier}").await,
            kind
        );
    }
    let mut edit = session
        .world
        .kubectl(&["edit", "configmap/fresh", "-n", "demo"]);
    let edited = Ran::of(edit.env("KUBE_EDITOR", "sed -i s/three/four/"))
        .await
        .ok();
    assert!(edited.contains("configmap/fresh edited"), "{edited}");
    assert_eq!(field(session, "configmap", "{.data.key}").await, "four");
    let created = run(&[
        "create",
        "configmap",
        "other",
        "-n",
        "demo",
        "--from-literal=a=b",
    ])
    .await;
    assert_eq!(created, "configmap/other created\n");
    let twice = session
        .through(&["create", "configmap", "other", "-n", "demo"])
        .await;
    assert!(twice.stderr.contains("already exists"), "{}", twice.stderr);
}

async fn deletes(session: &Session) {
    let run = async |arguments: &[&str]| session.through(arguments).await.ok();
    let manifest = session.world.path("manifest.yaml");
    run(&["delete", "configmap/other", "-n", "demo"]).await;
    run(&["delete", "-f", manifest.to_str().unwrap()]).await;
    run(&[
        "wait",
        "pod",
        "-l",
        "app=fresh",
        "-n",
        "demo",
        "--for=delete",
        "--timeout=30s",
    ])
    .await;
    let gone = Ran::of(&mut session.direct(&["get", "deployment/fresh", "-n", "demo"])).await;
    assert!(gone.stderr.contains("NotFound"), "{}", gone.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_as_an_entra_identity() {
    changes(Mode::Aad).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_as_a_service_account() {
    changes(Mode::Token).await;
}
