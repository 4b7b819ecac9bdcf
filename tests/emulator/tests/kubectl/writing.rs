//! Objects that are made, changed and deleted.

use super::{Cluster, assert_has, finish, rows};

#[tokio::test(flavor = "multi_thread")]
async fn objects_of_all_kinds_are_created() {
    let cluster = Cluster::start().await;
    cluster.ok("create namespace lab").await;
    let text = cluster.refused("create namespace lab").await;
    assert_has(
        &text,
        &["(AlreadyExists): namespaces \"lab\" already exists"],
    );
    for made in [
        "configmap c --from-literal=a=1",
        "secret generic s --from-literal=a=1",
        "serviceaccount sa",
        "role r --verb=get --resource=pods",
        "rolebinding b --role=r --serviceaccount=lab:sa",
        "quota q --hard=pods=9",
        "pdb p --selector=app=web --min-available=1",
        "cronjob cj --image=busybox --schedule=@daily",
        "ingress i --rule=a.example.com/*=web:80",
        "service clusterip svc --tcp=80:8080",
    ] {
        cluster.ok(&format!("-n lab create {made}")).await;
    }
    let text = cluster.ok("-n lab get ingress,service,quota").await;
    assert_has(&text, &["a.example.com", "80/TCP", "pods: 0/9"]);
    let token = cluster.ok("-n lab create token sa").await;
    assert_eq!(token.split('.').count(), 3);

    let text = cluster
        .ok("-n lab create configmap d --from-literal=a=1 --dry-run=server -o yaml")
        .await;
    assert_has(&text, &["uid: ", "a: \"1\""]);
    let text = cluster.refused("-n lab get configmap d").await;
    assert_has(&text, &["NotFound"]);
    let text = cluster.refused("-n lab create configmap Bad_Name").await;
    let refusal = "ConfigMap \"Bad_Name\" is invalid: metadata.name: Invalid value: \"Bad_Name\"";
    assert_has(&text, &[refusal]);
    let text = cluster.refused("-n nowhere create configmap c").await;
    assert_has(&text, &["namespaces \"nowhere\" not found"]);

    cluster.ok("delete namespace lab").await;
    let text = cluster.refused("get namespace lab").await;
    assert_has(&text, &["NotFound"]);
    let text = cluster.ok("-n lab get all,secrets").await;
    assert_has(&text, &["No resources found"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_changed() {
    let cluster = Cluster::start().await;
    let run = async |arguments: &str| cluster.ok(&format!("-n demo {arguments}")).await;
    run("create configmap c --from-literal=a=1").await;
    run("label configmap c tier=front").await;
    run("annotate configmap c note=x").await;
    run(r#"patch configmap c -p {"data":{"b":"2"}}"#).await;
    run(r#"patch configmap c --type=merge -p {"data":{"a":null}}"#).await;
    run(r#"patch configmap c --type=json -p [{"op":"add","path":"/data/c","value":"3"}]"#).await;
    let text = run("get configmap c -o jsonpath={.data}{.metadata.labels.tier}").await;
    assert_eq!(text, r#"{"b":"2","c":"3"}front"#);
    let mut edit = cluster.command("-n demo edit configmap c");
    edit.env("KUBE_EDITOR", "sed -i s/front/back/");
    let edited = finish(edit, "").await;
    assert!(edited.success, "{}", edited.text);
    assert_eq!(
        run("get configmap -l tier=back -o name").await,
        "configmap/c\n"
    );
    run("delete configmap c").await;
    let text = cluster.refused("-n demo delete configmap c").await;
    assert_has(&text, &["configmaps \"c\" not found"]);
}

/// kubectl creates autoscalers in one version and reads them in another.
#[tokio::test(flavor = "multi_thread")]
async fn an_autoscaler_is_one_in_both_its_versions() {
    let cluster = Cluster::start().await;
    let text = cluster
        .ok("-n demo autoscale deployment web --min=2 --max=5 --cpu-percent=60")
        .await;
    assert_eq!(text, "horizontalpodautoscaler.autoscaling/web autoscaled\n");
    let text = cluster.ok("-n demo get hpa").await;
    let row = ["web", "Deployment/web", "cpu:", "<unknown>/60%", "2", "5"];
    assert_eq!(rows(&text)[1][..6], row);
    let older = "horizontalpodautoscalers.v1.autoscaling/web";
    let read = "-o jsonpath={.spec}";
    let text = cluster.ok(&format!("-n demo get {older} {read}")).await;
    assert_has(&text, &["\"targetCPUUtilizationPercentage\":60"]);
    let patch = r#"{"spec":{"targetCPUUtilizationPercentage":70}}"#;
    let text = cluster
        .ok(&format!("-n demo patch {older} --type=merge -p {patch}"))
        .await;
    assert_has(&text, &["web patched"]);
    let text = cluster.ok(&format!("-n demo get hpa web {read}")).await;
    assert_has(&text, &["\"averageUtilization\":70"]);

    let manifest = "\
apiVersion: autoscaling/v1
kind: HorizontalPodAutoscaler
metadata: {name: applied, namespace: demo}
spec:
  maxReplicas: 3
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: worker}
  targetCPUUtilizationPercentage: 50
";
    let changed = manifest.replace("maxReplicas: 3", "maxReplicas: 4");
    for manifest in [manifest, &changed] {
        let printed = cluster.piped("apply --server-side -f -", manifest).await;
        assert!(printed.success, "{}", printed.text);
    }
    let text = cluster.ok(&format!("-n demo get hpa applied {read}")).await;
    assert_has(&text, &["\"maxReplicas\":4", "\"averageUtilization\":50"]);
    let text = cluster.ok("api-versions").await;
    assert_has(&text, &["autoscaling/v1\nautoscaling/v2\n"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_replacement_is_refused() {
    let cluster = Cluster::start().await;
    let read = cluster.ok("-n demo get cm worker-settings -o yaml").await;
    cluster.ok("-n demo label cm worker-settings a=b").await;
    let printed = cluster.piped("replace -f -", &read).await;
    assert!(!printed.success);
    let refusal = "Operation cannot be fulfilled on configmaps \"worker-settings\": the object has been modified; please apply your changes to the latest version and try again";
    assert_has(&printed.text, &["(Conflict)", refusal]);
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_come_and_go() {
    let cluster = Cluster::start().await;
    cluster.ok("-n demo run probe --image=busybox").await;
    cluster
        .ok("-n demo wait --for=condition=Ready pod/probe")
        .await;
    let text = cluster.ok("-n demo delete pod probe").await;
    assert_has(&text, &["pod \"probe\" deleted"]);
    cluster
        .ok("-n demo delete pod shell --force --grace-period=0")
        .await;
    cluster
        .ok("drain edge-node-2 --ignore-daemonsets --force")
        .await;
    let text = cluster.ok("get nodes").await;
    assert_has(&text, &["edge-node-2   Ready,SchedulingDisabled"]);
    let text = cluster
        .ok("get pods -A --field-selector=spec.nodeName=edge-node-2 -o name")
        .await;
    assert_eq!(text.lines().count(), 1, "{text}");
    cluster.ok("uncordon edge-node-2").await;
    cluster.ok("taint node edge-node-2 a=b:NoSchedule").await;
    let text = cluster.ok("-n demo logs deployment/web --tail=3").await;
    assert_has(&text, &["Found 3 pods, using pod/web-"]);
    let text = cluster
        .refused("-n demo exec deploy/worker -c nothing -- true")
        .await;
    assert_has(&text, &["container nothing is not valid for pod worker-"]);
    let text = cluster
        .ok("-n demo exec deploy/worker -- sh -c hostname")
        .await;
    assert_has(&text, &["worker-"]);
    let text = cluster.refused("-n demo logs shell").await;
    assert_has(&text, &["pods \"shell\" not found"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_is_run_once_tells_how_it_ended() {
    let cluster = Cluster::start().await;
    let text = cluster
        .ok("-n demo run once --image=busybox --restart=Never --rm -i -- echo hello")
        .await;
    assert_has(&text, &["hello", "pod \"once\" deleted"]);
    cluster
        .ok("-n demo run failing --image=busybox --restart=Never -- sh -c false")
        .await;
    let wait = "wait --for=jsonpath={.status.phase}=Failed pod/failing";
    cluster.ok(&format!("-n demo {wait}")).await;
    cluster
        .ok("-n demo run looping --image=busybox -- true")
        .await;
    let reason = "{.status.containerStatuses[0].state.waiting.reason}=CrashLoopBackOff";
    let wait = format!("wait --for=jsonpath={reason} pod/looping");
    cluster.ok(&format!("-n demo {wait}")).await;
}
