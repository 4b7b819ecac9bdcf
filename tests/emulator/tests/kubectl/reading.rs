//! What can be asked without changing anything.

use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::{Cluster, assert_has, rows};

#[tokio::test(flavor = "multi_thread")]
async fn gets_print_tables() {
    let cluster = Cluster::start().await;
    let text = cluster.ok("get pods -A").await;
    let header = ["NAMESPACE", "NAME", "READY", "STATUS", "RESTARTS", "AGE"];
    assert_eq!(rows(&text)[0], header);
    assert_has(
        &text,
        &["demo          shell ", "kube-aad-proxy-", "Running"],
    );
    let text = cluster.ok("get pods -n demo -o wide").await;
    assert_has(&text, &["IP", "NOMINATED NODE", "edge-node-"]);
    let text = cluster
        .ok("get deployments,sts,svc,ing,cm,secret,sa,cj -n demo")
        .await;
    let lines = [
        "deployment.apps/web      3/3     3            3",
        "statefulset.apps/cache   1/1",
        "service/web     ClusterIP",
        "web.demo.example.com",
        "configmap/web-site",
        "Opaque",
        "serviceaccount/deployer",
        "cronjob.batch/report   0 4 * * *",
    ];
    assert_has(&text, &lines);
    let text = cluster.ok("get nodes").await;
    assert_has(
        &text,
        &["edge-node-1   Ready    control-plane   41d   v1.32.4"],
    );
    let text = cluster.ok("get ns").await;
    assert_has(
        &text,
        &["azure-arc         Active", "demo              Active"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn gets_select_sort_and_page() {
    let cluster = Cluster::start().await;
    let text = cluster
        .ok("get pods -n demo -l app=web -L app --sort-by=.metadata.name --show-labels")
        .await;
    assert_eq!(rows(&text).len(), 4);
    assert_has(&text, &["pod-template-hash="]);
    let text = cluster
        .ok("get pods -A --field-selector=spec.nodeName=edge-node-1,status.phase=Running -o name")
        .await;
    assert_has(&text, &["pod/kube-proxy-"]);
    let whole = cluster.ok("get pods -A -o name").await;
    let paged = cluster.ok("get pods -A -o name --chunk-size=2").await;
    assert_eq!(whole, paged);
    let text = cluster
        .ok("get deploy web -n demo -o jsonpath={.spec.replicas}:{.status.readyReplicas}")
        .await;
    assert_eq!(text, "3:3");
    let text = cluster.ok("get cm worker-settings -n demo -o yaml").await;
    assert_has(
        &text,
        &["apiVersion: v1", "kind: ConfigMap", "queue: orders"],
    );

    let text = cluster.refused("get pod nothing -n demo").await;
    assert_eq!(
        text,
        "Error from server (NotFound): pods \"nothing\" not found\n"
    );
    let text = cluster
        .refused("get pods -A --field-selector=spec.color=red")
        .await;
    assert_has(&text, &["field label not supported: spec.color"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn describes_tell_what_there_is() {
    let cluster = Cluster::start().await;
    let text = cluster.ok("describe deployment web -n demo").await;
    let lines = [
        "3 desired | 3 updated | 3 total | 3 available | 0 unavailable",
        "25% max unavailable, 25% max surge",
        "http-get http://:http/ delay=0s timeout=1s period=10s",
        "NewReplicaSet:   web-",
    ];
    assert_has(&text, &lines);
    let text = cluster.ok("describe pod shell -n demo").await;
    assert_has(&text, &["edge-node-", "containerd://", "BestEffort"]);
    let text = cluster.ok("describe node edge-node-1").await;
    assert_has(
        &text,
        &["control-plane", "KubeletReady", "Non-terminated Pods:"],
    );
    assert_has(&text, &["Lease:\n  HolderIdentity:  edge-node-1\n"]);
    let text = cluster.ok("describe service web -n demo").await;
    assert_has(
        &text,
        &["Endpoints:                10.244.", "Session Affinity:"],
    );
    let text = cluster.ok("describe namespace demo").await;
    assert_has(&text, &["Status:       Active"]);
    let text = cluster.ok("describe ingress web -n demo").await;
    assert_has(&text, &["web:http (10.244."]);
}

#[tokio::test(flavor = "multi_thread")]
async fn discovery_and_documents_are_served() {
    let cluster = Cluster::start().await;
    let text = cluster.ok("version").await;
    assert_has(&text, &["Server Version: v1.32.4"]);
    let text = cluster.ok("api-resources").await;
    assert_has(
        &text,
        &[
            "deployments                 deploy       apps/v1",
            "NetworkPolicy",
        ],
    );
    let text = cluster.ok("api-versions").await;
    assert_has(
        &text,
        &["apps/v1\n", "rbac.authorization.k8s.io/v1\n", "\nv1\n"],
    );
    let text = cluster.ok("cluster-info").await;
    let url = cluster.server.url();
    let lines = [
        format!("Kubernetes control plane is running at {url}\n"),
        format!(
            "CoreDNS is running at {url}/api/v1/namespaces/kube-system/services/kube-dns:dns/proxy\n"
        ),
    ];
    assert_has(&text, &lines.each_ref().map(String::as_str));
    let text = cluster.ok("explain pod.spec.containers.image").await;
    assert_has(&text, &["FIELD: image <string>", "Container image name."]);
    let text = cluster.ok("explain deployment.spec --recursive").await;
    let lines = [
        "GROUP:      apps",
        "maxSurge\t<string>",
        "replicas\t<integer>",
    ];
    assert_has(&text, &lines);
    assert_eq!(cluster.ok("get --raw /healthz").await, "ok");
    let zeros = cluster.ok("get --raw /arc-emulator/bytes/200000").await;
    assert_eq!(zeros.len(), 200_000);
    let swallowed = cluster
        .piped("create --raw /arc-emulator/sink -f -", &zeros)
        .await;
    assert_eq!(swallowed.text, "{\"length\":200000}");
    let text = cluster.refused("get gadgets").await;
    assert_has(&text, &["doesn't have a resource type \"gadgets\""]);
}

#[tokio::test(flavor = "multi_thread")]
async fn people_may_do_what_their_bindings_say() {
    let cluster = Cluster::start().await;
    let text = cluster.ok("auth whoami").await;
    assert_has(&text, &["kubernetes-admin", "system:masters"]);
    assert_eq!(cluster.ok("auth can-i delete pods").await, "yes\n");
    cluster.ok("get pods -A --as ana@contoso.com").await;
    let text = cluster.refused("get pods -A --as ben@contoso.com").await;
    assert_eq!(
        text,
        "Error from server (Forbidden): pods is forbidden: User \"ben@contoso.com\" cannot list resource \"pods\" in API group \"\" at the cluster scope\n"
    );
    let text = cluster
        .refused("delete deployment coredns -n kube-system --as ben@contoso.com")
        .await;
    let refusal = "deployments.apps \"coredns\" is forbidden: User \"ben@contoso.com\" cannot delete resource \"deployments\" in API group \"apps\" in the namespace \"kube-system\"";
    assert_has(&text, &[refusal]);
    cluster.ok("get pods -n demo --as ben@contoso.com").await;
    let text = cluster
        .ok("auth can-i --list -n demo --as ben@contoso.com")
        .await;
    assert_has(&text, &["pods/exec"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_tell_who_calls() {
    let cluster = Cluster::start().await;
    let server = &cluster.server;
    // A token of the kubeconfig would win over the one of the command line.
    let without_token = server.admin_kubeconfig().replace(&server.admin_token(), "");
    std::fs::write(cluster.home.path().join("config"), without_token).unwrap();

    let account = server.service_account_token();
    cluster.ok(&format!("--token={account} get pods -A")).await;
    cluster
        .ok(&format!("--token={account} create configmap mine -n demo"))
        .await;
    let text = cluster
        .refused(&format!(
            "--token={account} create configmap mine -n default"
        ))
        .await;
    let refusal =
        "User \"system:serviceaccount:demo:deployer\" cannot create resource \"configmaps\"";
    assert_has(&text, &[refusal]);
    let text = cluster.refused("--token=wrong get pods").await;
    assert_has(&text, &["You must be logged in to the server"]);

    let impersonator = server.impersonator_token();
    let text = cluster
        .refused(&format!("--token={impersonator} get pods -A"))
        .await;
    assert_has(
        &text,
        &["azure-arc-kube-aad-proxy-sa\" cannot list resource \"pods\""],
    );
    let who = "auth whoami --as ana@contoso.com --as-group one --as-uid 7";
    let text = cluster.ok(&format!("--token={impersonator} {who}")).await;
    assert_has(
        &text,
        &["ana@contoso.com", "[one system:authenticated]", "7"],
    );
    let seen = server.seen();
    let last = seen.recent.last().unwrap();
    assert_eq!(last.user.as_deref(), Some("ana@contoso.com"));
    assert_eq!(seen.http2, seen.requests);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_prints_changes_as_they_happen() {
    let cluster = Cluster::start().await;
    let mut command = cluster.command("get configmaps -n demo -w --output-watch-events");
    let mut watching = command.spawn().unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    let mut until = async |event: &str, name: &str| {
        while let Some(line) = lines.next_line().await.unwrap() {
            let words: Vec<&str> = line.split_whitespace().collect();
            if words[..2] == [event, name] {
                return;
            }
        }
        panic!("the watch ended before {event} {name}");
    };
    until("ADDED", "worker-settings").await;
    cluster.ok("-n demo create configmap fresh").await;
    until("ADDED", "fresh").await;
    cluster.ok("-n demo label configmap fresh a=b").await;
    until("MODIFIED", "fresh").await;
    cluster.ok("-n demo delete configmap fresh").await;
    until("DELETED", "fresh").await;
    watching.kill().await.unwrap();
}
