//! Autoscalers are stored as `autoscaling/v2`; `v1` knows one target, the use of the CPU.
//!
//! What `v1` has no field for travels in annotations, so that a write through `v1` loses nothing.
//! The names are the real server's; the texts in them are `v2`'s, which nobody but this reads.

use serde_json::{Value, json};

use super::super::value::{self, remove, set};

/// The fields of `v2` that `v1` shows as annotations.
const ANNOTATED: &[(&str, &str, &str)] = &[
    ("spec", "metrics", "autoscaling.alpha.kubernetes.io/metrics"),
    (
        "spec",
        "behavior",
        "autoscaling.alpha.kubernetes.io/behavior",
    ),
    (
        "status",
        "currentMetrics",
        "autoscaling.alpha.kubernetes.io/current-metrics",
    ),
    (
        "status",
        "conditions",
        "autoscaling.alpha.kubernetes.io/conditions",
    ),
];

const TARGET: &str = "targetCPUUtilizationPercentage";

pub(super) fn show(object: &mut Value) {
    let metrics = value::list(object, "/spec/metrics");
    let (cpu, others): (Vec<_>, Vec<_>) = metrics.iter().cloned().partition(is_cpu);
    if let Some(cpu) = cpu.first() {
        let target = cpu["resource"]["target"]["averageUtilization"].clone();
        set(object, &["spec", TARGET], target);
    }
    if others.is_empty() {
        remove(object, &["spec", "metrics"]);
    } else {
        set(object, &["spec", "metrics"], others);
    }
    for (part, field, annotation) in ANNOTATED {
        if let Some(carried) = object.pointer(&format!("/{part}/{field}")) {
            let text = carried.to_string();
            remove(object, &[*part, *field]);
            set(object, &["metadata", "annotations", annotation], text);
        }
    }
}

pub(super) fn store(object: &mut Value) {
    for (part, field, annotation) in ANNOTATED {
        let text = object["metadata"]["annotations"][*annotation].as_str();
        // What somebody else wrote there stays an annotation.
        if let Some(carried) = text.and_then(|text| serde_json::from_str::<Value>(text).ok()) {
            remove(object, &["metadata", "annotations", annotation]);
            set(object, &[*part, *field], carried);
        }
    }
    if object.pointer("/metadata/annotations") == Some(&json!({})) {
        remove(object, &["metadata", "annotations"]);
    }
    if let Some(target) = object.pointer(&format!("/spec/{TARGET}")).cloned() {
        remove(object, &["spec", TARGET]);
        let mut metrics = vec![json!({
            "type": "Resource",
            "resource": {
                "name": "cpu",
                "target": { "type": "Utilization", "averageUtilization": target },
            },
        })];
        metrics.extend(value::list(object, "/spec/metrics").iter().cloned());
        set(object, &["spec", "metrics"], metrics);
    }
}

fn is_cpu(metric: &Value) -> bool {
    value::text(metric, "/type") == "Resource"
        && value::text(metric, "/resource/name") == "cpu"
        && value::has(metric, "/resource/target/averageUtilization")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_older_version_has_no_field_for_survives_it() {
        let stored = json!({
            "metadata": { "name": "web", "annotations": { "mine": "kept" } },
            "spec": {
                "maxReplicas": 5,
                "metrics": [
                    { "type": "Resource", "resource": { "name": "cpu", "target": { "type": "Utilization", "averageUtilization": 60 } } },
                    { "type": "Pods", "pods": { "metric": { "name": "queue" } } },
                ],
                "behavior": { "scaleDown": { "stabilizationWindowSeconds": 60 } },
            },
            "status": { "conditions": [{ "type": "AbleToScale", "status": "True" }] },
        });
        let mut object = stored.clone();
        show(&mut object);
        assert_eq!(object["spec"], json!({ "maxReplicas": 5, TARGET: 60 }));
        assert_eq!(object["metadata"]["annotations"]["mine"], "kept");
        store(&mut object);
        assert_eq!(object, stored);
    }

    #[test]
    fn an_autoscaler_without_metrics_gets_none() {
        let stored = json!({ "metadata": { "name": "web" }, "spec": { "maxReplicas": 5 } });
        let mut object = stored.clone();
        show(&mut object);
        assert_eq!(object, stored);
        store(&mut object);
        assert_eq!(object, stored);
    }
}
