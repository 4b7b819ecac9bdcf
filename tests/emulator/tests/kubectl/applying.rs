//! Manifests that are applied, by the client and by the server.

use super::{Cluster, assert_has};

const MANIFEST: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: applied, namespace: demo}
spec:
  replicas: REPLICAS
  selector: {matchLabels: {app: applied}}
  template:
    metadata: {labels: {app: applied}}
    spec:
      containers:
      - name: one
        image: one:1
        env: [ENV]
      - name: two
        image: two:1
";

fn manifest(replicas: &str, env: &str) -> String {
    MANIFEST.replace("REPLICAS", replicas).replace("ENV", env)
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_are_applied_by_the_client() {
    let cluster = Cluster::start().await;
    let first = manifest("1", "{name: A, value: '1'}, {name: B, value: '2'}");
    let text = cluster.piped("apply -f -", &first).await.text;
    assert_eq!(text, "deployment.apps/applied created\n");
    let text = cluster.piped("apply -f -", &first).await.text;
    assert_eq!(text, "deployment.apps/applied unchanged\n");
    let second = manifest("2", "{name: B, value: '3'}");
    let diff = cluster.piped("diff -f -", &second).await.text;
    assert_has(
        &diff,
        &["-  replicas: 1", "+  replicas: 2", "-        - name: A"],
    );
    let text = cluster.piped("apply -f -", &second).await.text;
    assert_eq!(text, "deployment.apps/applied configured\n");
    let text = cluster
        .ok("get deploy applied -n demo -o jsonpath={..containers[*].name}:{..env}")
        .await;
    assert_eq!(text, r#"one two:[{"name":"B","value":"3"}]"#);

    let wrong = second.replace("  replicas: 2", "  replicas: 2\n  color: red");
    let printed = cluster.piped("apply -f -", &wrong).await;
    assert!(!printed.success);
    let refusal = "strict decoding error: unknown field \"spec.color\"";
    assert_has(&printed.text, &[refusal]);
    let printed = cluster.piped("apply -f - --validate=warn", &wrong).await;
    assert!(printed.success);
    assert_has(&printed.text, &["Warning: unknown field \"spec.color\""]);
    for command in ["replace -f -", "delete -f -"] {
        let printed = cluster.piped(command, &first).await;
        assert!(printed.success, "{command}: {}", printed.text);
    }
    let fresh = wrong.replace("name: applied", "name: fresh");
    let text = cluster.piped("create -f -", &fresh).await.text;
    let refusal = "Deployment in version \"v1\" cannot be handled as a Deployment: strict decoding error: unknown field \"spec.color\"";
    assert_has(&text, &[refusal]);
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_are_applied_by_the_server() {
    let cluster = Cluster::start().await;
    let apply = "apply --server-side -f -";
    let first = manifest("2", "{name: A, value: '1'}, {name: B, value: '2'}");
    let text = cluster.piped(apply, &first).await.text;
    assert_eq!(text, "deployment.apps/applied serverside-applied\n");
    let second = manifest("2", "{name: A, value: '1'}");
    let printed = cluster.piped(apply, &second).await;
    assert!(printed.success, "{}", printed.text);
    let text = cluster
        .ok("get deploy applied -n demo -o jsonpath={..env}")
        .await;
    assert_eq!(text, r#"[{"name":"A","value":"1"}]"#);

    cluster
        .ok("-n demo scale deploy applied --replicas=4")
        .await;
    let printed = cluster.piped(apply, &second).await;
    assert!(!printed.success);
    let conflict = "Apply failed with 1 conflict: conflict with \"kubectl\" with subresource \"scale\" using apps/v1";
    assert_has(&printed.text, &[conflict, ": .spec.replicas"]);
    let forced = "apply --server-side --force-conflicts -f -";
    let printed = cluster.piped(forced, &second).await;
    assert!(printed.success, "{}", printed.text);
    let text = cluster
        .ok("get deploy applied -n demo -o jsonpath={.spec.replicas}")
        .await;
    assert_eq!(text, "2");
    let text = cluster
        .ok("get deploy applied -n demo -o yaml --show-managed-fields")
        .await;
    let lines = ["operation: Apply", "k:{\"name\":\"one\"}:", "f:image: {}"];
    assert_has(&text, &lines);
    let wrong = second.replace("  replicas: 2", "  color: red");
    let printed = cluster.piped(apply, &wrong).await;
    assert_has(
        &printed.text,
        &[".spec.color: field not declared in schema"],
    );
}
