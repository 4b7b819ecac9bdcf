//! Scheduler and kubelets: pods get a node, run, and end.

use serde_json::{Value, json};

use super::super::runtime::{ContainerSpec, PodRef};
use super::super::store::Key;
use super::super::{Server, clock, value};
use super::{events, exits, pods};

pub(super) fn step(server: &Server) {
    for pod in server.store.all("pods", None) {
        if value::has(&pod, "/metadata/deletionTimestamp") {
            server.remove("pods", &Key::of(&pod));
        } else if value::text(&pod, "/spec/nodeName").is_empty() {
            schedule(server, &pod);
        } else if value::text(&pod, "/status/phase") == "Pending" {
            start(server, &pod);
        } else if value::text(&pod, "/status/phase") == "Running" {
            renew(server, &pod);
            exits::reap(server, &pod);
        }
    }
}

fn schedule(server: &Server, pod: &Value) {
    let mut nodes = server.store.all("nodes", None);
    nodes.retain(|node| !value::flag(node, "/spec/unschedulable"));
    if nodes.is_empty() {
        return;
    }
    let all = server.store.all("pods", None);
    let load = |node: &Value| {
        let name = value::name(node);
        all.iter()
            .filter(|pod| value::text(pod, "/spec/nodeName") == name)
            .count()
    };
    let Some(node) = nodes.iter().min_by_key(|node| load(node)) else {
        return;
    };
    let node = value::name(node);
    server.store.update("pods", &Key::of(pod), |pod| {
        value::set(pod, &["spec", "nodeName"], node);
        let now = clock::stamp(server.store.now());
        value::set(pod, &["status", "conditions"], json!([
            { "type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": now },
        ]));
    });
    let message = format!(
        "Successfully assigned {}/{} to {node}",
        value::namespace(pod),
        value::name(pod)
    );
    events::leave(server, pod, "default-scheduler", "Scheduled", &message);
}

/// An image whose name says so cannot be pulled: that is how rollouts fail in demos and tests.
fn can_pull(image: &str) -> bool {
    !image.contains("does-not-exist")
}

fn start(server: &Server, pod: &Value) {
    let containers = value::list(pod, "/spec/containers");
    let unpullable = containers
        .iter()
        .map(|container| value::text(container, "/image"))
        .find(|image| !can_pull(image));
    let stuck = value::text(pod, "/status/containerStatuses/0/state/waiting/reason");
    if unpullable.is_some() && !stuck.is_empty() {
        return;
    }
    let now = clock::stamp(server.store.now());
    let statuses: Vec<Value> = containers
        .iter()
        .map(|container| container_status(server, container, &now))
        .collect();
    let (node, address) = (value::text(pod, "/spec/nodeName"), address(server));
    let host = server
        .store
        .get("nodes", &Key::new("", node))
        .unwrap_or_default();
    let host = value::text(&host, "/status/addresses/0/address");
    let up = unpullable.is_none();
    let conditions: Vec<Value> = [
        ("PodReadyToStartContainers", true),
        ("Initialized", true),
        ("Ready", up),
        ("ContainersReady", up),
        ("PodScheduled", true),
    ]
    .into_iter()
    .map(|(kind, holds)| {
        let mut condition = json!({
            "type": kind,
            "status": if holds { "True" } else { "False" },
            "lastProbeTime": null,
            "lastTransitionTime": now,
        });
        if !holds {
            condition["reason"] = json!("ContainersNotReady");
        }
        condition
    })
    .collect();
    let class = pod["status"]["qosClass"].clone();
    let status = json!({
        "phase": if up { "Running" } else { "Pending" },
        "conditions": conditions,
        "containerStatuses": statuses,
        "hostIP": host,
        "hostIPs": [{ "ip": host }],
        "podIP": address,
        "podIPs": [{ "ip": address }],
        "startTime": now,
        "qosClass": class,
    });
    if up {
        server
            .runtime
            .start_pod(reference(pod), containers.iter().map(spec).collect());
    }
    pods::set_status(server, "pods", pod, &status);
    for container in containers {
        let (name, image) = (
            value::text(container, "/name"),
            value::text(container, "/image"),
        );
        if can_pull(image) {
            let pulled = format!("Container image \"{image}\" already present on machine");
            events::leave(server, pod, "kubelet", "Pulled", &pulled);
            events::leave(
                server,
                pod,
                "kubelet",
                "Created",
                &format!("Created container: {name}"),
            );
            events::leave(
                server,
                pod,
                "kubelet",
                "Started",
                &format!("Started container {name}"),
            );
        } else {
            let message = format!("Failed to pull image \"{image}\": not found");
            events::warn(server, pod, "kubelet", "Failed", &message);
        }
    }
}

fn address(server: &Server) -> String {
    let random = server.store.random();
    format!("10.244.{}.{}", random % 3, (random >> 8) % 250 + 2)
}

fn container_status(server: &Server, container: &Value, now: &str) -> Value {
    let image = value::text(container, "/image");
    if !can_pull(image) {
        let message = format!("Back-off pulling image \"{image}\"");
        return json!({
            "name": container["name"],
            "image": image,
            "imageID": "",
            "ready": false,
            "started": false,
            "restartCount": 0,
            "lastState": {},
            "state": { "waiting": { "reason": "ImagePullBackOff", "message": message } },
        });
    }
    let random = || server.store.random();
    let id = format!(
        "{:016x}{:016x}{:016x}{:016x}",
        random(),
        random(),
        random(),
        random()
    );
    json!({
        "name": container["name"],
        "image": image,
        "imageID": format!("{}@sha256:{id}", image.split(':').next().unwrap_or_default()),
        "containerID": format!("containerd://{id}"),
        "ready": true,
        "started": true,
        "restartCount": 0,
        "lastState": {},
        "state": { "running": { "startedAt": now } },
    })
}

fn reference(pod: &Value) -> PodRef {
    PodRef {
        namespace: value::namespace(pod).to_owned(),
        name: value::name(pod).to_owned(),
        uid: value::uid(pod).to_owned(),
    }
}

fn spec(container: &Value) -> ContainerSpec {
    let texts = |pointer| {
        let texts = value::list(container, pointer)
            .iter()
            .filter_map(Value::as_str);
        texts.map(str::to_owned).collect()
    };
    let text = |value: &Value, pointer| value::text(value, pointer).to_owned();
    ContainerSpec {
        name: text(container, "/name"),
        image: text(container, "/image"),
        command: texts("/command"),
        args: texts("/args"),
        env: value::list(container, "/env")
            .iter()
            .map(|variable| (text(variable, "/name"), text(variable, "/value")))
            .collect(),
        ports: value::list(container, "/ports")
            .iter()
            .filter_map(|port| u16::try_from(value::int(port, "/containerPort")).ok())
            .collect(),
        tty: value::flag(container, "/tty"),
        stdin: value::flag(container, "/stdin"),
    }
}

/// A container whose image was changed is restarted with the new one.
fn renew(server: &Server, pod: &Value) {
    let image_of = |name: &Value| {
        value::list(pod, "/spec/containers")
            .iter()
            .find(|container| container["name"] == *name)
            .map(|container| container["image"].clone())
    };
    let changed = value::list(pod, "/status/containerStatuses")
        .iter()
        .any(|status| image_of(&status["name"]).is_some_and(|image| image != status["image"]));
    if !changed {
        return;
    }
    let now = clock::stamp(server.store.now());
    server.store.update("pods", &Key::of(pod), |pod| {
        let Some(Value::Array(statuses)) = pod.pointer_mut("/status/containerStatuses") else {
            return;
        };
        for status in statuses {
            if let Some(image) = image_of(&status["name"]).filter(|image| *image != status["image"])
            {
                let started = status["state"]["running"]["startedAt"].clone();
                status["lastState"] = json!({ "terminated": {
                    "exitCode": 0,
                    "reason": "Completed",
                    "startedAt": started,
                    "finishedAt": now,
                } });
                status["image"] = image;
                status["restartCount"] = json!(value::int(status, "/restartCount") + 1);
                status["state"] = json!({ "running": { "startedAt": now } });
            }
        }
    });
    start_again(server, pod);
}

/// Starts the containers of `pod` afresh.
pub(super) fn start_again(server: &Server, pod: &Value) {
    server.runtime.stop_pod(value::uid(pod));
    let containers = value::list(pod, "/spec/containers")
        .iter()
        .map(spec)
        .collect();
    server.runtime.start_pod(reference(pod), containers);
}
