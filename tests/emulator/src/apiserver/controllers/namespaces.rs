//! What every namespace has from the start.

use serde_json::{Value, json};

use super::super::{Server, clock};

/// Puts the default account and the cluster's certificate into a new namespace.
pub(in super::super) fn furnish(server: &Server, namespace: &str) {
    let metadata = |name: &str| -> Value {
        json!({
            "name": name,
            "namespace": namespace,
            "uid": server.store.uid(),
            "creationTimestamp": clock::stamp(server.store.now()),
        })
    };
    // Whoever was faster has made the same.
    let _ = server.store.insert(
        "serviceaccounts",
        json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": metadata("default"),
        }),
    );
    let mut certificate = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata("kube-root-ca.crt"),
        "data": { "ca.crt": "" },
    });
    certificate["metadata"]["annotations"] = json!({
        "kubernetes.io/description": "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.",
    });
    let _ = server.store.insert("configmaps", certificate);
}
