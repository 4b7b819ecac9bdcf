//! Containers whose main process has ended, and what becomes of their pods.

use futures_util::future::select_all;
use serde_json::{Value, json};

use super::super::store::Key;
use super::super::{Server, clock, value};
use super::kubelet;

/// Waits until a container ends that is said to run.
pub(super) async fn next(server: &Server) {
    let pods = server.store.all("pods", None);
    let ends: Vec<_> = pods
        .iter()
        .flat_map(|pod| running(pod).map(|name| (value::uid(pod), name)))
        .filter_map(|(uid, name)| server.runtime.exit_code(uid, name))
        .map(|mut code| {
            Box::pin(async move {
                // A pod that is taken away ends without a code, and somebody else sees to it.
                if code.wait_for(Option::is_some).await.is_err() {
                    std::future::pending::<()>().await;
                }
            })
        })
        .collect();
    if ends.is_empty() {
        std::future::pending::<()>().await;
    }
    select_all(ends).await;
}

fn running(pod: &Value) -> impl Iterator<Item = &str> {
    value::list(pod, "/status/containerStatuses")
        .iter()
        .filter(|status| value::has(status, "/state/running"))
        .map(|status| value::text(status, "/name"))
}

/// The exit code of a container that has ended. What the runtime cannot play runs for ever; only
/// the work of a job is taken as done.
fn ended(server: &Server, pod: &Value, container: &str) -> Option<u8> {
    let uid = value::uid(pod);
    let code = server.runtime.exit_code(uid, container)?;
    let code = *code.borrow();
    let done = is_of_job(pod) && !server.runtime.plays(uid, container);
    code.or_else(|| done.then_some(0))
}

fn is_of_job(pod: &Value) -> bool {
    value::list(pod, "/metadata/ownerReferences")
        .iter()
        .any(|owner| value::text(owner, "/kind") == "Job")
}

/// Tells in the status of `pod` which of its containers have ended.
pub(super) fn reap(server: &Server, pod: &Value) {
    let codes: Vec<(&str, u8)> = running(pod)
        .filter_map(|name| Some((name, ended(server, pod, name)?)))
        .collect();
    if codes.is_empty() {
        return;
    }
    let now = clock::stamp(server.store.now());
    let policy = value::text(pod, "/spec/restartPolicy");
    // A lone container that waits for somebody to attach is there for the next one at once.
    let waits = match value::list(pod, "/spec/containers") {
        [only] => only["stdin"] == true,
        _ => false,
    };
    server.store.update("pods", &Key::of(pod), |pod| {
        if let Some(Value::Array(statuses)) = pod.pointer_mut("/status/containerStatuses") {
            for status in statuses {
                let code = codes.iter().find(|(name, _)| status["name"] == *name);
                if let Some((_, code)) = code {
                    end(status, *code, policy, waits, &now);
                }
            }
        }
        conclude(pod, &now);
    });
    if waits && codes.iter().any(|(_, code)| restarts(policy, *code)) {
        kubelet::start_again(server, pod);
    }
}

fn restarts(policy: &str, code: u8) -> bool {
    policy == "Always" || (policy == "OnFailure" && code != 0)
}

fn end(status: &mut Value, code: u8, policy: &str, waits: bool, now: &str) {
    let terminated = json!({ "terminated": {
        "exitCode": code,
        "reason": if code == 0 { "Completed" } else { "Error" },
        "startedAt": status["state"]["running"]["startedAt"],
        "finishedAt": now,
        "containerID": status["containerID"],
    } });
    status["ready"] = json!(false);
    status["started"] = json!(false);
    if restarts(policy, code) {
        status["restartCount"] = json!(value::int(status, "/restartCount") + 1);
        status["lastState"] = terminated;
        if waits {
            status["ready"] = json!(true);
            status["started"] = json!(true);
            status["state"] = json!({ "running": { "startedAt": now } });
            return;
        }
        // Nobody waits for a demo's container to be started again and to end again.
        status["state"] = json!({ "waiting": {
            "reason": "CrashLoopBackOff",
            "message": "back-off 5m0s restarting failed container",
        } });
    } else {
        status["state"] = terminated;
    }
}

/// A pod is done when all its containers are, and not ready when one of them is not.
fn conclude(pod: &mut Value, now: &str) {
    let statuses = value::list(pod, "/status/containerStatuses");
    if statuses
        .iter()
        .all(|status| value::has(status, "/state/running"))
    {
        return;
    }
    let all_ended = statuses
        .iter()
        .all(|status| value::has(status, "/state/terminated"));
    let failed = statuses
        .iter()
        .any(|status| value::int(status, "/state/terminated/exitCode") != 0);
    if all_ended {
        pod["status"]["phase"] = json!(if failed { "Failed" } else { "Succeeded" });
    }
    let reason = if all_ended {
        "PodCompleted"
    } else {
        "ContainersNotReady"
    };
    if let Some(Value::Array(conditions)) = pod.pointer_mut("/status/conditions") {
        for condition in conditions {
            if condition["type"] == "Ready" || condition["type"] == "ContainersReady" {
                condition["status"] = json!("False");
                condition["reason"] = json!(reason);
                condition["lastTransitionTime"] = json!(now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(code: u8, policy: &str) -> Value {
        let mut pod = json!({ "status": {
            "phase": "Running",
            "conditions": [{ "type": "Ready", "status": "True" }],
            "containerStatuses": [{ "ready": true, "restartCount": 0, "state": { "running": {} } }],
        } });
        end(
            &mut pod["status"]["containerStatuses"][0],
            code,
            policy,
            false,
            "now",
        );
        conclude(&mut pod, "now");
        pod
    }

    #[test]
    fn the_restart_policy_decides_what_an_end_means() {
        for (code, policy, phase) in [
            (0, "Never", "Succeeded"),
            (3, "Never", "Failed"),
            (0, "OnFailure", "Succeeded"),
            (3, "OnFailure", "Running"),
            (0, "Always", "Running"),
        ] {
            let pod = ended(code, policy);
            assert_eq!(pod["status"]["phase"], phase, "{code} {policy}");
            assert_eq!(pod["status"]["conditions"][0]["status"], "False");
        }
    }

    #[test]
    fn a_container_that_is_to_run_for_ever_is_started_again() {
        let pod = ended(1, "Always");
        let status = &pod["status"]["containerStatuses"][0];
        assert_eq!(status["restartCount"], 1);
        assert_eq!(
            value::text(status, "/state/waiting/reason"),
            "CrashLoopBackOff"
        );
        assert_eq!(value::int(status, "/lastState/terminated/exitCode"), 1);
    }
}
