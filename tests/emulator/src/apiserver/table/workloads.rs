//! Pods and what makes them.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::format::{age, containers, count, labels, name, or, ratio, selector};
use super::{Column, Printer, number, text as column, wide};
use crate::apiserver::clock;
use crate::apiserver::value::{flag, has, int, list, text};

const CONTAINERS: Column = wide("Containers");
const IMAGES: Column = wide("Images");
const SELECTOR: Column = wide("Selector");

pub(super) fn printer(plural: &str) -> Option<Printer> {
    let (columns, cells): (Vec<Column>, fn(&Value, Timestamp) -> Vec<Value>) = match plural {
        "pods" => (
            vec![
                column("Name"),
                column("Ready"),
                column("Status"),
                column("Restarts"),
                column("Age"),
                wide("IP"),
                wide("Node"),
                wide("Nominated Node"),
                wide("Readiness Gates"),
            ],
            pod,
        ),
        "deployments" => (
            vec![
                column("Name"),
                column("Ready"),
                number("Up-to-date"),
                number("Available"),
                column("Age"),
                CONTAINERS,
                IMAGES,
                SELECTOR,
            ],
            deployment,
        ),
        "replicasets" | "replicationcontrollers" => (
            vec![
                column("Name"),
                number("Desired"),
                number("Current"),
                number("Ready"),
                column("Age"),
                CONTAINERS,
                IMAGES,
                SELECTOR,
            ],
            replica_set,
        ),
        "statefulsets" => (
            vec![
                column("Name"),
                column("Ready"),
                column("Age"),
                CONTAINERS,
                IMAGES,
            ],
            stateful_set,
        ),
        "daemonsets" => (
            vec![
                column("Name"),
                number("Desired"),
                number("Current"),
                number("Ready"),
                number("Up-to-date"),
                number("Available"),
                column("Node Selector"),
                column("Age"),
                CONTAINERS,
                IMAGES,
                SELECTOR,
            ],
            daemon_set,
        ),
        "jobs" => (
            vec![
                column("Name"),
                column("Status"),
                column("Completions"),
                column("Duration"),
                column("Age"),
                CONTAINERS,
                IMAGES,
                SELECTOR,
            ],
            job,
        ),
        "cronjobs" => (
            vec![
                column("Name"),
                column("Schedule"),
                column("Timezone"),
                column("Suspend"),
                number("Active"),
                column("Last Schedule"),
                column("Age"),
                CONTAINERS,
                IMAGES,
                SELECTOR,
            ],
            cron_job,
        ),
        "controllerrevisions" => (
            vec![
                column("Name"),
                column("Controller"),
                number("Revision"),
                column("Age"),
            ],
            controller_revision,
        ),
        "horizontalpodautoscalers" => (
            vec![
                column("Name"),
                column("Reference"),
                column("Targets"),
                column("MinPods"),
                column("MaxPods"),
                number("Replicas"),
                column("Age"),
            ],
            autoscaler,
        ),
        _ => return None,
    };
    Some(Printer { columns, cells })
}

fn pod(pod: &Value, now: Timestamp) -> Vec<Value> {
    let statuses = list(pod, "/status/containerStatuses");
    let ready = statuses
        .iter()
        .filter(|status| flag(status, "/ready"))
        .count();
    let restarts: i64 = statuses
        .iter()
        .map(|status| int(status, "/restartCount"))
        .sum();
    let last_restart = statuses
        .iter()
        .map(|status| text(status, "/lastState/terminated/finishedAt"))
        .max()
        .filter(|finished| restarts > 0 && !finished.is_empty());
    let restarts = match last_restart {
        Some(finished) => format!("{restarts} ({} ago)", clock::age(finished, now)),
        None => restarts.to_string(),
    };
    vec![
        name(pod),
        json!(format!("{ready}/{}", list(pod, "/spec/containers").len())),
        json!(pod_status(pod)),
        json!(restarts),
        age(pod, now),
        or(pod, "/status/podIP", "<none>"),
        or(pod, "/spec/nodeName", "<none>"),
        or(pod, "/status/nominatedNodeName", "<none>"),
        json!("<none>"),
    ]
}

/// The most telling of the phase, the reason and the states of the containers.
fn pod_status(pod: &Value) -> String {
    if has(pod, "/metadata/deletionTimestamp") {
        return "Terminating".to_owned();
    }
    let phase = text(pod, "/status/phase");
    let mut status = match text(pod, "/status/reason") {
        "" => phase,
        reason => reason,
    };
    for container in list(pod, "/status/containerStatuses").iter().rev() {
        for state in ["/state/waiting/reason", "/state/terminated/reason"] {
            let reason = text(container, state);
            if !reason.is_empty() {
                status = reason;
            }
        }
    }
    if status.is_empty() { "Unknown" } else { status }.to_owned()
}

fn deployment(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        name(object),
        ratio(object, "/status/readyReplicas", "/spec/replicas"),
        count(object, "/status/updatedReplicas"),
        count(object, "/status/availableReplicas"),
        age(object, now),
        containers(object, "/name"),
        containers(object, "/image"),
        selector(object, "/spec/selector"),
    ]
}

fn replica_set(object: &Value, now: Timestamp) -> Vec<Value> {
    let selects = if has(object, "/spec/selector/matchLabels") {
        selector(object, "/spec/selector")
    } else {
        labels(object, "/spec/selector")
    };
    vec![
        name(object),
        count(object, "/spec/replicas"),
        count(object, "/status/replicas"),
        count(object, "/status/readyReplicas"),
        age(object, now),
        containers(object, "/name"),
        containers(object, "/image"),
        selects,
    ]
}

fn stateful_set(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        name(object),
        ratio(object, "/status/readyReplicas", "/spec/replicas"),
        age(object, now),
        containers(object, "/name"),
        containers(object, "/image"),
    ]
}

fn daemon_set(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        name(object),
        count(object, "/status/desiredNumberScheduled"),
        count(object, "/status/currentNumberScheduled"),
        count(object, "/status/numberReady"),
        count(object, "/status/updatedNumberScheduled"),
        count(object, "/status/numberAvailable"),
        labels(object, "/spec/template/spec/nodeSelector"),
        age(object, now),
        containers(object, "/name"),
        containers(object, "/image"),
        selector(object, "/spec/selector"),
    ]
}

fn job(object: &Value, now: Timestamp) -> Vec<Value> {
    let condition = |wanted: &str| {
        list(object, "/status/conditions")
            .iter()
            .any(|one| text(one, "/type") == wanted && text(one, "/status") == "True")
    };
    let status = if condition("Complete") {
        "Complete"
    } else if condition("Failed") {
        "Failed"
    } else if has(object, "/metadata/deletionTimestamp") {
        "Terminating"
    } else if condition("Suspended") {
        "Suspended"
    } else {
        "Running"
    };
    let started = clock::parse(text(object, "/status/startTime"));
    let ended = clock::parse(text(object, "/status/completionTime")).unwrap_or(now);
    let duration = started.map_or_else(String::new, |started| {
        clock::span(ended.as_second() - started.as_second())
    });
    let completions = object
        .pointer("/spec/completions")
        .and_then(Value::as_i64)
        .unwrap_or(1);
    vec![
        name(object),
        json!(status),
        json!(format!(
            "{}/{completions}",
            int(object, "/status/succeeded")
        )),
        json!(duration),
        age(object, now),
        containers(object, "/name"),
        containers(object, "/image"),
        selector(object, "/spec/selector"),
    ]
}

fn cron_job(object: &Value, now: Timestamp) -> Vec<Value> {
    let last = match text(object, "/status/lastScheduleTime") {
        "" => "<none>".to_owned(),
        last => clock::age(last, now),
    };
    let template = object.pointer("/spec/jobTemplate").unwrap_or(&Value::Null);
    vec![
        name(object),
        or(object, "/spec/schedule", ""),
        or(object, "/spec/timeZone", "<none>"),
        json!(if flag(object, "/spec/suspend") {
            "True"
        } else {
            "False"
        }),
        json!(list(object, "/status/active").len()),
        json!(last),
        age(object, now),
        containers(template, "/name"),
        containers(template, "/image"),
        selector(template, "/spec/selector"),
    ]
}

fn controller_revision(object: &Value, now: Timestamp) -> Vec<Value> {
    let owner = list(object, "/metadata/ownerReferences").first();
    let controller = owner.map_or_else(
        || "<none>".to_owned(),
        |owner| {
            let group = text(owner, "/apiVersion")
                .split('/')
                .next()
                .unwrap_or_default();
            format!(
                "{}.{group}/{}",
                text(owner, "/kind").to_lowercase(),
                text(owner, "/name")
            )
        },
    );
    vec![
        name(object),
        json!(controller),
        count(object, "/revision"),
        age(object, now),
    ]
}

fn autoscaler(object: &Value, now: Timestamp) -> Vec<Value> {
    let target = object
        .pointer("/spec/scaleTargetRef")
        .unwrap_or(&Value::Null);
    let metrics: Vec<String> = list(object, "/spec/metrics")
        .iter()
        .filter(|metric| text(metric, "/type") == "Resource")
        .map(|metric| {
            format!(
                "{}: <unknown>/{}%",
                text(metric, "/resource/name"),
                int(metric, "/resource/target/averageUtilization")
            )
        })
        .collect();
    vec![
        name(object),
        json!(format!(
            "{}/{}",
            text(target, "/kind"),
            text(target, "/name")
        )),
        json!(if metrics.is_empty() {
            "<none>".to_owned()
        } else {
            metrics.join(", ")
        }),
        or(object, "/spec/minReplicas", "<unset>"),
        json!(int(object, "/spec/maxReplicas").to_string()),
        count(object, "/status/currentReplicas"),
        age(object, now),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_shows_its_most_telling_state() {
        let mut pod = json!({
            "spec": { "containers": [{}, {}] },
            "status": { "phase": "Running", "containerStatuses": [
                { "ready": true, "restartCount": 0 },
                { "ready": false, "restartCount": 2, "state": { "waiting": { "reason": "CrashLoopBackOff" } } },
            ] },
        });
        let cells = super::pod(&pod, Timestamp::UNIX_EPOCH);
        assert_eq!(
            cells[1..4],
            [json!("1/2"), json!("CrashLoopBackOff"), json!("2")]
        );
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert_eq!(super::pod_status(&pod), "Terminating");
    }

    #[test]
    fn a_restart_tells_when() {
        let pod = json!({ "status": { "containerStatuses": [{
            "restartCount": 1,
            "lastState": { "terminated": { "finishedAt": "1970-01-01T00:00:00Z" } },
        }] } });
        let now = Timestamp::constant(7200, 0);
        assert_eq!(super::pod(&pod, now)[3], "1 (120m ago)");
    }
}
