//! Which pods stand behind a service: endpoints and endpoint slices.

use serde_json::{Value, json};

use super::super::selectors::Selection;
use super::super::store::Key;
use super::super::{Server, clock, value};
use super::pods;

pub(super) fn step(server: &Server) {
    for service in server.store.all("services", None) {
        if value::map(&service, "/spec/selector").is_some() {
            publish(server, &service);
        }
    }
    for endpoints in server.store.all("endpoints", None) {
        let key = Key::of(&endpoints);
        if server.store.get("services", &key).is_none() {
            server.remove("endpoints", &key);
        }
    }
}

fn publish(server: &Server, service: &Value) {
    let namespace = value::namespace(service);
    let selection = Selection::of_object(&json!({ "matchLabels": service["spec"]["selector"] }));
    let mut behind = server.store.all("pods", Some(namespace));
    behind.retain(|pod| selection.matches(pod) && pods::is_ready(pod));
    let ports: Vec<Value> = value::list(service, "/spec/ports")
        .iter()
        .map(|port| {
            json!({
                "name": value::text(port, "/name"),
                "port": target(port, behind.first().map(|pod| &**pod)),
                "protocol": port["protocol"],
            })
        })
        .collect();
    let reference = |pod: &Value| {
        json!({
            "kind": "Pod",
            "name": pod["metadata"]["name"],
            "namespace": pod["metadata"]["namespace"],
            "uid": pod["metadata"]["uid"],
        })
    };
    let addresses: Vec<Value> = behind
        .iter()
        .map(|pod| {
            json!({
                "ip": pod["status"]["podIP"],
                "nodeName": pod["spec"]["nodeName"],
                "targetRef": reference(pod),
            })
        })
        .collect();
    let subsets = if addresses.is_empty() {
        json!([])
    } else {
        let unnamed: Vec<Value> = ports.iter().map(without_empty_name).collect();
        json!([{ "addresses": addresses, "ports": unnamed }])
    };
    put(
        server,
        "endpoints",
        "v1",
        "Endpoints",
        value::name(service),
        service,
        &json!({ "subsets": subsets }),
    );

    let endpoints: Vec<Value> = behind
        .iter()
        .map(|pod| {
            json!({
                "addresses": [pod["status"]["podIP"]],
                "conditions": { "ready": true, "serving": true, "terminating": false },
                "nodeName": pod["spec"]["nodeName"],
                "targetRef": reference(pod),
            })
        })
        .collect();
    let name = format!(
        "{}-{}",
        value::name(service),
        &pods::template_hash(&service["metadata"]["uid"])[..5]
    );
    let content = json!({ "addressType": "IPv4", "endpoints": endpoints, "ports": ports });
    put(
        server,
        "endpointslices",
        "discovery.k8s.io/v1",
        "EndpointSlice",
        &name,
        service,
        &content,
    );
}

fn without_empty_name(port: &Value) -> Value {
    let mut port = port.clone();
    if port["name"] == "" {
        value::remove(&mut port, &["name"]);
    }
    port
}

/// The number of the port that traffic goes to; a name is looked up in a pod.
fn target(port: &Value, pod: Option<&Value>) -> Value {
    let target = &port["targetPort"];
    let Some(name) = target.as_str() else {
        return if target.is_null() {
            port["port"].clone()
        } else {
            target.clone()
        };
    };
    pod.into_iter()
        .flat_map(|pod| value::list(pod, "/spec/containers"))
        .flat_map(|container| value::list(container, "/ports"))
        .find(|known| value::text(known, "/name") == name)
        .map_or_else(
            || port["port"].clone(),
            |known| known["containerPort"].clone(),
        )
}

fn put(
    server: &Server,
    kind: &'static str,
    api_version: &str,
    kind_name: &str,
    name: &str,
    service: &Value,
    content: &Value,
) {
    let key = Key::new(value::namespace(service), name);
    let fill = |object: &mut Value| {
        for (field, given) in value::map(content, "").into_iter().flatten() {
            object[field.as_str()] = given.clone();
        }
    };
    if server.store.update(kind, &key, fill).is_some() {
        return;
    }
    let mut object = json!({
        "apiVersion": api_version,
        "kind": kind_name,
        "metadata": {
            "name": name,
            "namespace": key.namespace,
            "uid": server.store.uid(),
            "creationTimestamp": clock::stamp(server.store.now()),
            "labels": service["metadata"]["labels"],
        },
    });
    if kind == "endpointslices" {
        object["metadata"]["ownerReferences"] = json!([value::controller_reference(service)]);
        value::set(
            &mut object,
            &["metadata", "labels", "kubernetes.io/service-name"],
            value::name(service),
        );
        let by = "endpointslice.kubernetes.io/managed-by";
        value::set(
            &mut object,
            &["metadata", "labels", by],
            "endpointslice-controller.k8s.io",
        );
    }
    if object["metadata"]["labels"].is_null() {
        value::remove(&mut object, &["metadata", "labels"]);
    }
    fill(&mut object);
    // It was not there a moment ago, and nobody else makes these.
    let _ = server.store.insert(kind, object);
}
