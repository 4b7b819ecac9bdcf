//! What the server fills in when an object leaves it out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::store::Store;
use super::value::{self, set, set_default};

/// Fills in the defaults of an object of kind `plural`.
pub(super) fn fill(plural: &str, object: &mut Value, store: &Store) {
    match plural {
        "pods" => pod(object),
        "deployments" => {
            workload(object);
            set_default(object, &["spec", "progressDeadlineSeconds"], 600);
            set_default(object, &["spec", "revisionHistoryLimit"], 10);
            set_default(object, &["spec", "strategy", "type"], "RollingUpdate");
            if value::text(object, "/spec/strategy/type") == "RollingUpdate" {
                let path = ["spec", "strategy", "rollingUpdate"];
                set_default(object, &[path.as_slice(), &["maxSurge"]].concat(), "25%");
                set_default(
                    object,
                    &[path.as_slice(), &["maxUnavailable"]].concat(),
                    "25%",
                );
            }
        }
        "replicasets" | "replicationcontrollers" => workload(object),
        "statefulsets" => {
            workload(object);
            set_default(object, &["spec", "podManagementPolicy"], "OrderedReady");
            set_default(object, &["spec", "revisionHistoryLimit"], 10);
            update_strategy(object, json!({ "partition": 0 }));
        }
        "daemonsets" => {
            template(value::place(object, &["spec", "template"]));
            set_default(object, &["spec", "revisionHistoryLimit"], 10);
            update_strategy(object, json!({ "maxSurge": 0, "maxUnavailable": 1 }));
        }
        "jobs" => job(object),
        "cronjobs" => {
            set_default(object, &["spec", "concurrencyPolicy"], "Allow");
            set_default(object, &["spec", "suspend"], false);
            set_default(object, &["spec", "successfulJobsHistoryLimit"], 3);
            set_default(object, &["spec", "failedJobsHistoryLimit"], 1);
            template(value::place(
                object,
                &["spec", "jobTemplate", "spec", "template"],
            ));
        }
        "services" => service(object, store),
        "secrets" => secret(object),
        "namespaces" => namespace(object),
        "nodes" | "persistentvolumes" => {}
        "persistentvolumeclaims" => {
            set_default(object, &["spec", "volumeMode"], "Filesystem");
            set_default(object, &["status", "phase"], "Pending");
        }
        "rolebindings" | "clusterrolebindings" => binding(object),
        "ingresses" => set_default(object, &["status", "loadBalancer"], json!({})),
        _ => {}
    }
}

fn update_strategy(object: &mut Value, rolling: Value) {
    set_default(object, &["spec", "updateStrategy", "type"], "RollingUpdate");
    if value::text(object, "/spec/updateStrategy/type") == "RollingUpdate" {
        set_default(
            object,
            &["spec", "updateStrategy", "rollingUpdate"],
            rolling,
        );
    }
}

fn workload(object: &mut Value) {
    set_default(object, &["spec", "replicas"], 1);
    template(value::place(object, &["spec", "template"]));
}

fn template(template: &mut Value) {
    set_default(template, &["metadata", "creationTimestamp"], Value::Null);
    pod_spec(value::place(template, &["spec"]));
}

fn pod(pod: &mut Value) {
    pod_spec(value::place(pod, &["spec"]));
    set_default(pod, &["spec", "serviceAccountName"], "default");
    let account = pod["spec"]["serviceAccountName"].clone();
    set(pod, &["spec", "serviceAccount"], account);
    set_default(pod, &["spec", "enableServiceLinks"], true);
    set_default(pod, &["spec", "preemptionPolicy"], "PreemptLowerPriority");
    set_default(pod, &["spec", "priority"], 0);
    let tolerations: Vec<Value> = ["not-ready", "unreachable"]
        .iter()
        .map(|condition| {
            json!({
                "effect": "NoExecute",
                "key": format!("node.kubernetes.io/{condition}"),
                "operator": "Exists",
                "tolerationSeconds": 300,
            })
        })
        .collect();
    set_default(pod, &["spec", "tolerations"], tolerations);
    set_default(pod, &["status", "phase"], "Pending");
    let requests = |container: &Value| value::has(container, "/resources/requests");
    let class = if value::list(pod, "/spec/containers").iter().any(requests) {
        "Burstable"
    } else {
        "BestEffort"
    };
    set_default(pod, &["status", "qosClass"], class);
}

fn pod_spec(spec: &mut Value) {
    set_default(spec, &["restartPolicy"], "Always");
    set_default(spec, &["dnsPolicy"], "ClusterFirst");
    set_default(spec, &["schedulerName"], "default-scheduler");
    set_default(spec, &["securityContext"], json!({}));
    set_default(spec, &["terminationGracePeriodSeconds"], 30);
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        let containers = spec.get_mut(list).and_then(Value::as_array_mut);
        containers.into_iter().flatten().for_each(container);
    }
    let volumes = spec.get_mut("volumes").and_then(Value::as_array_mut);
    for volume in volumes.into_iter().flatten() {
        for source in ["configMap", "secret", "projected", "downwardAPI"] {
            if let Some(source) = volume.get_mut(source) {
                set_default(source, &["defaultMode"], 420);
            }
        }
    }
}

fn container(container: &mut Value) {
    let image = value::text(container, "/image");
    let tag = image
        .rsplit('/')
        .next()
        .and_then(|last| last.split_once(':'));
    let policy = match tag {
        Some((_, tag)) if tag != "latest" => "IfNotPresent",
        _ => "Always",
    };
    set_default(container, &["imagePullPolicy"], policy);
    set_default(container, &["resources"], json!({}));
    set_default(
        container,
        &["terminationMessagePath"],
        "/dev/termination-log",
    );
    set_default(container, &["terminationMessagePolicy"], "File");
    let ports = container.get_mut("ports").and_then(Value::as_array_mut);
    for port in ports.into_iter().flatten() {
        set_default(port, &["protocol"], "TCP");
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.get_mut(probe) {
            for (field, default) in [
                ("timeoutSeconds", 1),
                ("periodSeconds", 10),
                ("successThreshold", 1),
                ("failureThreshold", 3),
            ] {
                set_default(probe, &[field], default);
            }
            if let Some(get) = probe.get_mut("httpGet") {
                set_default(get, &["scheme"], "HTTP");
            }
        }
    }
}

fn job(job: &mut Value) {
    for (field, default) in [
        ("completions", json!(1)),
        ("parallelism", json!(1)),
        ("backoffLimit", json!(6)),
        ("completionMode", json!("NonIndexed")),
        ("suspend", json!(false)),
    ] {
        set_default(job, &["spec", field], default);
    }
    template(value::place(job, &["spec", "template"]));
    let (uid, name) = (value::uid(job).to_owned(), value::name(job).to_owned());
    if value::has(job, "/spec/selector") || uid.is_empty() {
        return;
    }
    let label = "batch.kubernetes.io/controller-uid";
    set(
        job,
        &["spec", "selector", "matchLabels", label],
        uid.clone(),
    );
    for (key, value) in [
        (label, &uid),
        ("batch.kubernetes.io/job-name", &name),
        ("controller-uid", &uid),
        ("job-name", &name),
    ] {
        set(
            job,
            &["spec", "template", "metadata", "labels", key],
            value.clone(),
        );
    }
}

fn service(service: &mut Value, store: &Store) {
    set_default(service, &["spec", "type"], "ClusterIP");
    set_default(service, &["spec", "sessionAffinity"], "None");
    set_default(service, &["status", "loadBalancer"], json!({}));
    let kind = value::text(service, "/spec/type").to_owned();
    if kind == "ExternalName" {
        return;
    }
    set_default(service, &["spec", "internalTrafficPolicy"], "Cluster");
    set_default(service, &["spec", "ipFamilies"], json!(["IPv4"]));
    set_default(service, &["spec", "ipFamilyPolicy"], "SingleStack");
    let address = store.random();
    let address = format!("10.0.{}.{}", address >> 8 & 0xff, address % 250 + 2);
    set_default(service, &["spec", "clusterIP"], address);
    let address = service["spec"]["clusterIP"].clone();
    set_default(service, &["spec", "clusterIPs"], json!([address]));
    let on_nodes = kind == "NodePort" || kind == "LoadBalancer";
    if on_nodes {
        set_default(service, &["spec", "externalTrafficPolicy"], "Cluster");
    }
    let ports = service
        .pointer_mut("/spec/ports")
        .and_then(Value::as_array_mut);
    for port in ports.into_iter().flatten() {
        set_default(port, &["protocol"], "TCP");
        let number = port["port"].clone();
        set_default(port, &["targetPort"], number);
        if on_nodes {
            set_default(port, &["nodePort"], 30_000 + store.random() % 2_768);
        }
    }
}

fn secret(secret: &mut Value) {
    set_default(secret, &["type"], "Opaque");
    if let Some(Value::Object(plain)) = value::remove(secret, &["stringData"]) {
        for (key, text) in plain {
            let encoded = STANDARD.encode(text.as_str().unwrap_or_default());
            set(secret, &["data", &key], encoded);
        }
    }
}

fn namespace(namespace: &mut Value) {
    let name = value::name(namespace).to_owned();
    set(
        namespace,
        &["metadata", "labels", "kubernetes.io/metadata.name"],
        name,
    );
    set_default(namespace, &["spec", "finalizers"], json!(["kubernetes"]));
    set_default(namespace, &["status", "phase"], "Active");
}

fn binding(binding: &mut Value) {
    let group = "rbac.authorization.k8s.io";
    set_default(binding, &["roleRef", "apiGroup"], group);
    let subjects = binding.get_mut("subjects").and_then(Value::as_array_mut);
    for subject in subjects.into_iter().flatten() {
        if value::text(subject, "/kind") != "ServiceAccount" {
            set_default(subject, &["apiGroup"], group);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(plural: &str, mut object: Value) -> Value {
        fill(plural, &mut object, &Store::new(0));
        object
    }

    #[test]
    fn images_without_a_fixed_tag_are_always_pulled() {
        for (image, policy) in [
            ("nginx", "Always"),
            ("nginx:latest", "Always"),
            ("localhost:5000/nginx", "Always"),
            ("nginx:1.27", "IfNotPresent"),
        ] {
            let pod = filled(
                "pods",
                json!({ "spec": { "containers": [{ "image": image }] } }),
            );
            assert_eq!(
                pod["spec"]["containers"][0]["imagePullPolicy"], policy,
                "{image}"
            );
        }
    }

    #[test]
    fn plain_text_of_a_secret_is_encoded() {
        let secret = filled("secrets", json!({ "stringData": { "a": "b" } }));
        assert_eq!(secret, json!({ "type": "Opaque", "data": { "a": "Yg==" } }));
    }
}
