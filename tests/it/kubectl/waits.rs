//! Commands that go on: both ways watch the same cluster while it changes.

use super::{Mode, Reading, Session};
use crate::harness::Ran;

/// A pod that writes a line, waits until it is told to go on, writes more and fails.
const TALKING: &str = "\
apiVersion: v1
kind: Pod
metadata: {name: talking, namespace: demo}
spec:
  restartPolicy: Never
  containers:
  - name: main
    image: busybox:1.37
    command: [sh, -c, 'echo waiting; until [ -e /tmp/go ]; do sleep 0.02; done; echo going; echo on >&2; exit 3']
";

/// A deployment that cannot come up as it is.
const STUCK: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata: {name: stuck, namespace: demo}
spec:
  replicas: 2
  selector: {matchLabels: {app: stuck}}
  template:
    metadata: {labels: {app: stuck}}
    spec:
      containers: [{name: main, image: does-not-exist}]
";

/// An object that is not gone before somebody allows it.
const HELD: &str = "\
apiVersion: v1
kind: ConfigMap
metadata: {name: held, namespace: demo, finalizers: [example.com/held]}
";

async fn waits(mode: Mode) {
    let session = Session::open(mode).await;
    session.write("talking.yaml", TALKING);
    session.write("stuck.yaml", STUCK);
    session.write("held.yaml", HELD);
    for file in ["talking.yaml", "stuck.yaml", "held.yaml"] {
        direct(&session, &format!("apply -f {file}")).await;
    }
    tokio::join!(
        watches(&session),
        follows(&session),
        rolls_out(&session),
        waits_for_the_end(&session),
    );
}

/// A command whose effect both ways see.
async fn direct(session: &Session, line: &str) {
    let words: Vec<_> = line.split_whitespace().collect();
    Ran::of(&mut session.direct(&words)).await.ok();
}

/// Both end well and say the same; gives what.
async fn end_equally([through, direct]: [Reading; 2]) -> String {
    let (through, direct) = tokio::join!(through.ended(), direct.ended());
    assert_eq!((through.0, direct.0), (Some(0), Some(0)));
    assert_eq!(through.1, direct.1);
    direct.1
}

async fn watches(session: &Session) {
    let line = "get secrets -n demo -w --output-watch-events";
    let mut watches = session.both(line).map(Reading::start);
    for watch in &mut watches {
        watch.until("queue").await;
    }
    for change in [
        "create secret generic one",
        "label secret one a=b",
        "delete secret one",
    ] {
        direct(session, &format!("{change} -n demo")).await;
    }
    for watch in &mut watches {
        watch.until("DELETED").await;
        assert_eq!(watch.read.len(), 5, "{:?}", watch.read);
    }
    session.assert_equal(line, watches.each_ref().map(|watch| watch.read.join("\n")));
}

async fn follows(session: &Session) {
    let line = "logs -f talking -n demo --timestamps";
    let mut logs = session.both(line).map(Reading::start);
    for log in &mut logs {
        log.until("waiting").await;
    }
    direct(session, "exec talking -n demo -- touch /tmp/go").await;
    let said = end_equally(logs).await;
    assert_eq!(said.lines().count(), 3, "{said}");
    // What has ended is told once more.
    let whole = session.same("logs talking -n demo --timestamps").await;
    assert_eq!(whole.trim_end(), said);
}

async fn rolls_out(session: &Session) {
    let refusal = session
        .refused("rollout status deployment/stuck -n demo --timeout=2s")
        .await;
    assert!(refusal.contains("timed out"), "{refusal}");
    let line = "rollout status deployment/stuck -n demo --timeout=30s";
    let mut rollouts = session.both(line).map(Reading::start);
    for rollout in &mut rollouts {
        rollout.until("0 of 2 updated replicas").await;
    }
    direct(session, "set image deployment/stuck main=busybox -n demo").await;
    let said = end_equally(rollouts).await;
    assert!(said.contains("successfully rolled out"), "{said}");
}

async fn waits_for_the_end(session: &Session) {
    let refusal = session
        .refused("wait configmap/held -n demo --for=delete --timeout=2s")
        .await;
    assert!(refusal.contains("timed out"), "{refusal}");
    direct(session, "delete configmap/held -n demo --wait=false").await;
    // The requests, which this level of logging tells, show when it has begun to watch.
    let line = "wait configmap/held -n demo --for=delete --timeout=30s -v=6";
    let mut waits = session.both(line).map(Reading::start_errors);
    for wait in &mut waits {
        wait.until("watch=true").await;
    }
    let release = [
        "patch",
        "configmap/held",
        "-n",
        "demo",
        "--type=json",
        "-p",
        r#"[{"op":"remove","path":"/metadata/finalizers"}]"#,
    ];
    Ran::of(&mut session.direct(&release)).await.ok();
    let said = end_equally(waits).await;
    assert!(said.contains("configmap/held condition met"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn waits_as_an_entra_identity() {
    Box::pin(waits(Mode::Aad)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn waits_as_a_service_account() {
    Box::pin(waits(Mode::Token)).await;
}
