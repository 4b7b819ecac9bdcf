//! The demo fleet: what runs in the cluster before anyone touches it.

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::handlers::{admit, complete};
use super::patch::managed::{Writer, note_update};
use super::resources::{self, Resource};
use super::{Server, clock, controllers, value};

/// The objects, as one would apply them.
const MANIFESTS: &str = include_str!("fleet.yaml");

/// How long the cluster has stood, in hours.
const AGE_HOURS: i64 = 41 * 24;

/// How long the demo's own workloads have run, in hours.
const DEMO_AGE_HOURS: i64 = 5 * 24 + 3;

/// Fills an empty store and lets the controllers bring everything up.
pub(super) fn settle(server: &Server) {
    server
        .store
        .set_clock_offset(SignedDuration::from_hours(-AGE_HOURS));
    for index in 1..=3 {
        add(server, node(server, index));
    }
    let documents: Vec<Value> = MANIFESTS
        .split("\n---\n")
        .map(|document| serde_saphyr::from_str(document).expect("the fleet's manifests are YAML"))
        .collect();
    let is_demo = |object: &Value| value::namespace(object) == "demo";
    let (demo, base): (Vec<Value>, Vec<Value>) = documents.into_iter().partition(is_demo);
    for object in base {
        add(server, object);
    }
    controllers::settle(server);
    server
        .store
        .set_clock_offset(SignedDuration::from_hours(-DEMO_AGE_HOURS));
    for object in demo {
        add(server, object);
    }
    controllers::settle(server);
    server.store.set_clock_offset(SignedDuration::ZERO);
    for node in server.store.all("nodes", None) {
        add(server, lease(server, &node));
    }
    // Real events are gone after an hour.
    for event in server.store.all("events", None) {
        server
            .store
            .remove("events", &super::store::Key::of(&event));
    }
}

fn resource_of(object: &Value) -> &'static Resource {
    resources::RESOURCES
        .iter()
        .find(|resource| {
            object["kind"] == resource.kind && object["apiVersion"] == resource.api_version()
        })
        .expect("the fleet is made of served kinds")
}

fn add(server: &Server, mut object: Value) {
    let resource = resource_of(&object);
    let time = clock::stamp(server.store.now());
    let writer = Writer {
        manager: "kubectl-create",
        subresource: "",
        time: &time,
    };
    complete(server, resource, &mut object, &time);
    note_update(resource.schema, None, &mut object, writer);
    admit(server, resource, &mut object).expect("the fleet keeps the rules of its kinds");
    let object = server
        .store
        .insert(resource.key(), object)
        .expect("the names in the fleet differ");
    if resource.plural == "namespaces" {
        controllers::furnish(server, value::name(&object));
    }
}

fn node(server: &Server, index: u32) -> Value {
    let name = format!("edge-node-{index}");
    let now = clock::stamp(server.store.now());
    let size = json!({
        "cpu": "4",
        "ephemeral-storage": "129886128Ki",
        "memory": "16374560Ki",
        "pods": "110",
    });
    let conditions: Vec<Value> = [
        (
            "MemoryPressure",
            "False",
            "KubeletHasSufficientMemory",
            "kubelet has sufficient memory available",
        ),
        (
            "DiskPressure",
            "False",
            "KubeletHasNoDiskPressure",
            "kubelet has no disk pressure",
        ),
        (
            "PIDPressure",
            "False",
            "KubeletHasSufficientPID",
            "kubelet has sufficient PID available",
        ),
        (
            "Ready",
            "True",
            "KubeletReady",
            "kubelet is posting ready status",
        ),
    ]
    .into_iter()
    .map(|(kind, status, reason, message)| {
        json!({
            "type": kind,
            "status": status,
            "reason": reason,
            "message": message,
            "lastHeartbeatTime": now,
            "lastTransitionTime": now,
        })
    })
    .collect();
    let mut labels = json!({
        "beta.kubernetes.io/arch": "amd64",
        "beta.kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
    });
    if index == 1 {
        labels["node-role.kubernetes.io/control-plane"] = json!("");
    }
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": { "name": name, "labels": labels },
        "spec": {
            "podCIDR": format!("10.244.{}.0/24", index - 1),
            "podCIDRs": [format!("10.244.{}.0/24", index - 1)],
            "providerID": format!("edge://{name}"),
        },
        "status": {
            "addresses": [
                { "type": "InternalIP", "address": format!("192.168.40.{}", 10 + index) },
                { "type": "Hostname", "address": name },
            ],
            "allocatable": size,
            "capacity": size,
            "conditions": conditions,
            "daemonEndpoints": { "kubeletEndpoint": { "Port": 10250 } },
            "images": [],
            "nodeInfo": {
                "architecture": "amd64",
                "bootID": server.store.uid(),
                "containerRuntimeVersion": "containerd://1.7.27",
                "kernelVersion": "6.8.0-58-generic",
                "kubeProxyVersion": "v1.32.4",
                "kubeletVersion": "v1.32.4",
                "machineID": server.store.uid().replace('-', ""),
                "operatingSystem": "linux",
                "osImage": "Ubuntu 24.04.2 LTS",
                "systemUUID": server.store.uid(),
            },
        },
    })
}

/// The heartbeat of a kubelet, which is not heard again: as a node's conditions, it stands still.
fn lease(server: &Server, node: &Value) -> Value {
    let name = value::name(node);
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": name,
            "namespace": "kube-node-lease",
            "ownerReferences": [{
                "apiVersion": "v1",
                "kind": "Node",
                "name": name,
                "uid": value::uid(node),
            }],
        },
        "spec": {
            "holderIdentity": name,
            "leaseDurationSeconds": 40,
            "renewTime": clock::micro_stamp(server.store.now()),
        },
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::super::schema::{Shape, schemas};
    use super::super::validate;
    use super::*;

    fn settled() -> Server {
        let server = Server::new(7).unwrap();
        settle(&server);
        server
    }

    #[test]
    fn every_object_fits_its_schema() {
        let server = settled();
        for resource in resources::RESOURCES
            .iter()
            .filter(|known| known.group != "events.k8s.io")
        {
            assert!(matches!(
                schemas().shape(schemas().named(resource.schema)),
                Shape::Struct(_)
            ));
            for object in server.store.all(resource.key(), None) {
                let decoding = validate::decode(resource.schema, &object);
                assert_eq!(
                    decoding,
                    validate::Decoding::default(),
                    "{} {object:#}",
                    resource.plural
                );
            }
        }
    }

    #[test]
    fn all_pods_run_and_all_deployments_are_complete() {
        let server = settled();
        let pods = server.store.all("pods", None);
        assert!(pods.len() > 10);
        for pod in pods {
            assert_eq!(
                value::text(&pod, "/status/phase"),
                "Running",
                "{}",
                value::name(&pod)
            );
        }
        for deployment in server.store.all("deployments", None) {
            let ready = value::int(&deployment, "/status/readyReplicas");
            assert_eq!(
                ready,
                value::int(&deployment, "/spec/replicas"),
                "{}",
                value::name(&deployment)
            );
        }
    }

    #[test]
    fn the_same_seed_makes_the_same_names() {
        let names = || -> Vec<String> {
            let pods = settled().store.all("pods", None);
            pods.iter().map(|pod| value::name(pod).to_owned()).collect()
        };
        assert_eq!(names(), names());
    }
}
