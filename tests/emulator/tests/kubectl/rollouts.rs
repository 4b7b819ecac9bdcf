//! Workloads that roll out, scale and finish.

use super::{Cluster, assert_has, rows};

#[tokio::test(flavor = "multi_thread")]
async fn deployments_roll_out_and_back() {
    let cluster = Cluster::start().await;
    let run = async |arguments: &str| cluster.ok(&format!("-n demo {arguments}")).await;
    run("create deployment api --image=api:1 --replicas=2").await;
    let text = run("rollout status deployment/api").await;
    assert_has(&text, &["successfully rolled out"]);
    run("set image deployment/api api=api:2").await;
    run("rollout status deployment/api").await;
    let text = run("rollout history deployment/api").await;
    assert_eq!(rows(&text)[2..4], [["1", "<none>"], ["2", "<none>"]]);
    run("rollout undo deployment/api").await;
    run("rollout status deployment/api").await;
    let text = run("get deployment api -o jsonpath={..image}").await;
    assert_eq!(text, "api:1");
    run("rollout restart deployment/api").await;
    run("rollout status deployment/api").await;
    run("scale deployment/api --replicas=4").await;
    run("wait --for=jsonpath={.status.readyReplicas}=4 deployment/api").await;
    run("wait --for=condition=Available deployment/api").await;
    let text = run("get pods -l app=api -o name").await;
    assert_eq!(text.lines().count(), 4, "{text}");

    run("expose deployment api --port=80").await;
    run("delete deployment api").await;
    run("wait --for=delete pod -l app=api --timeout=10s").await;
    let text = run("get replicasets -l app=api").await;
    assert_has(&text, &["No resources found"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_cannot_be_pulled_holds_a_rollout_up() {
    let cluster = Cluster::start().await;
    let run = async |arguments: &str| cluster.ok(&format!("-n demo {arguments}")).await;
    run("set image deployment/web web=does-not-exist:1").await;
    let text = cluster
        .refused("-n demo rollout status deployment/web --timeout=1s")
        .await;
    assert_has(&text, &["Waiting for deployment \"web\" rollout to finish"]);
    let text = run("get pods -l app=web").await;
    assert_has(&text, &["ImagePullBackOff", "1/1     Running"]);
    let text = run("events --for deployment/web").await;
    assert_has(&text, &["ScalingReplicaSet"]);
    run("rollout undo deployment/web").await;
    let text = run("rollout status deployment/web").await;
    assert_has(&text, &["successfully rolled out"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_workloads_roll_out_and_jobs_finish() {
    let cluster = Cluster::start().await;
    for kind in [
        "-n demo KIND sts/cache",
        "-n kube-system KIND ds/kube-proxy",
    ] {
        cluster.ok(&kind.replace("KIND", "rollout restart")).await;
        cluster.ok(&kind.replace("KIND", "rollout status")).await;
        let text = cluster.ok(&kind.replace("KIND", "rollout history")).await;
        assert_eq!(rows(&text)[3], ["2", "<none>"], "{text}");
    }
    cluster
        .ok("-n demo create job once --image=busybox -- echo done")
        .await;
    cluster
        .ok("-n demo wait --for=condition=complete job/once")
        .await;
    let text = cluster.ok("-n demo get job once").await;
    assert_has(&text, &["Complete", "1/1"]);
    let text = cluster.ok("-n demo get pods -l job-name=once").await;
    assert_has(&text, &["0/1     Completed"]);
    let text = cluster.ok("-n demo logs job/once").await;
    assert_eq!(text, "done\n");
    cluster
        .ok("-n demo create job wrong --image=busybox -- false")
        .await;
    cluster
        .ok("-n demo wait --for=condition=failed job/wrong")
        .await;
    let text = cluster.ok("-n demo get pods -l job-name=wrong").await;
    assert_has(&text, &["0/1     Error"]);
}
