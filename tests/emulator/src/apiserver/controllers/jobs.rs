//! Jobs: pods that run to their end.

use serde_json::{Value, json};

use super::super::Server;
use super::super::{clock, value};
use super::{events, pods};

pub(super) fn step(server: &Server) {
    for job in server.store.all("jobs", None) {
        let over = value::list(&job, "/status/conditions").iter().any(|one| {
            let kind = value::text(one, "/type");
            (kind == "Complete" || kind == "Failed") && value::text(one, "/status") == "True"
        });
        if !over && !value::flag(&job, "/spec/suspend") {
            work(server, &job);
        }
    }
}

fn work(server: &Server, job: &Value) {
    let owned = pods::of(server, job);
    let count = |phase: &str| {
        owned
            .iter()
            .filter(|pod| value::text(pod, "/status/phase") == phase)
            .count()
    };
    let succeeded = count("Succeeded");
    let active = count("Running") + count("Pending");
    let size = |pointer| usize::try_from(value::int(job, pointer).min(pods::MOST)).unwrap_or(1);
    let (wanted, at_once) = (size("/spec/completions"), size("/spec/parallelism"));
    let failed = count("Failed");
    let allowed = usize::try_from(value::int(job, "/spec/backoffLimit")).unwrap_or_default();
    let missing = if failed > allowed {
        0
    } else {
        wanted
            .saturating_sub(succeeded + active)
            .min(at_once.saturating_sub(active))
    };
    for _ in 0..missing {
        let name = format!("{}-{}", value::name(job), server.store.suffix());
        pods::make(server, job, &name, |_| {});
        let message = format!("Created pod: {name}");
        events::leave(server, job, "job-controller", "SuccessfulCreate", &message);
    }
    let now = clock::stamp(server.store.now());
    let started = match value::text(job, "/status/startTime") {
        "" => now.clone(),
        started => started.to_owned(),
    };
    let mut status = json!({
        "startTime": started,
        "ready": count("Running"),
        "terminating": 0,
        "uncountedTerminatedPods": {},
    });
    if active + missing > 0 {
        status["active"] = json!(active + missing);
    }
    if succeeded > 0 {
        status["succeeded"] = json!(succeeded);
    }
    if failed > 0 {
        status["failed"] = json!(failed);
    }
    if failed > allowed {
        let why = (
            "BackoffLimitExceeded",
            "Job has reached the specified backoff limit",
        );
        status["conditions"] = json!([condition(server, job, "Failed", why, &now)]);
        events::warn(server, job, "job-controller", why.0, why.1);
    } else if succeeded >= wanted {
        let reached = (
            "CompletionsReached",
            "Reached expected number of succeeded pods",
        );
        status["conditions"] = json!([
            condition(server, job, "SuccessCriteriaMet", reached, &now),
            condition(server, job, "Complete", reached, &now),
        ]);
        status["completionTime"] = json!(now);
        events::leave(server, job, "job-controller", "Completed", "Job completed");
    }
    pods::set_status(server, "jobs", job, &status);
}

/// Conditions of jobs have a probe time where those of deployments have an update time.
fn condition(server: &Server, job: &Value, kind: &str, why: (&str, &str), now: &str) -> Value {
    let mut condition = pods::condition(server, job, kind, true, why.0, why.1);
    value::remove(&mut condition, &["lastUpdateTime"]);
    condition["lastProbeTime"] = json!(now);
    condition
}
