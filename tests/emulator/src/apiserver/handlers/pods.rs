//! What goes on inside pods: logs and streams.

use http::{HeaderValue, Request, Response, Uri, header};
use hyper::body::Incoming;
use serde_json::Value;

use super::super::Server;
use super::super::remote::{self, Remote};
use super::super::runtime::{LogOptions, PodRef};
use super::super::status::{Result, Status};
use super::super::value::{self, list, text};
use super::{Call, read};
use crate::http::Body;

/// The log of a container.
pub(super) fn log(server: &Server, call: &Call) -> Result<Response<Body>> {
    let pod = read::found(server, call)?;
    let container = container(call, &pod, "pod")?;
    let query = &call.query;
    let size = |key| {
        query
            .number(key)
            .and_then(|number| usize::try_from(number).ok())
    };
    if let Some(reason) = waiting(&pod, &container) {
        return Err(Status::bad_request(format!(
            "container \"{container}\" in pod \"{}\" is waiting to start: {reason}",
            call.target.name
        )));
    }
    let options = LogOptions {
        follow: query.flag("follow"),
        previous: query.flag("previous"),
        tail_lines: size("tailLines"),
        since_seconds: since(server, call),
        timestamps: query.flag("timestamps"),
        limit_bytes: size("limitBytes"),
    };
    let previous = options.previous;
    let body = server.runtime.logs(value::uid(&pod), &container, options);
    let Some(body) = body else {
        let what = if previous {
            "previous terminated container"
        } else {
            "container"
        };
        return Err(Status::bad_request(format!(
            "{what} \"{container}\" in pod \"{}\" not found",
            call.target.name
        )));
    };
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    Ok(response)
}

fn since(server: &Server, call: &Call) -> Option<u64> {
    call.query.number("sinceSeconds").or_else(|| {
        let from = super::super::clock::parse(call.query.text("sinceTime"))?;
        u64::try_from(server.store.now().as_second() - from.as_second()).ok()
    })
}

/// Streams into a container, or to a port of the pod.
pub(super) async fn stream(
    server: &Server,
    call: &Call,
    mut request: Request<Incoming>,
) -> Result<Response<Body>> {
    let pod = read::found(server, call)?;
    let kind = match call.target.subresource.as_str() {
        "exec" => Remote::Exec,
        "attach" => Remote::Attach,
        _ => Remote::PortForward,
    };
    if !matches!(kind, Remote::PortForward) {
        let container = container(call, &pod, "pod")?;
        if call.query.text("container").is_empty() {
            name_container(&mut request, &container);
        }
    }
    if text(&pod, "/status/phase") != "Running" {
        let (name, phase) = (value::name(&pod), text(&pod, "/status/phase"));
        return Err(Status::bad_request(match phase {
            "Succeeded" | "Failed" => {
                format!("cannot exec into a container in a completed pod; current phase is {phase}")
            }
            _ => format!("pod {name} does not have a host assigned"),
        }));
    }
    let reference = PodRef {
        namespace: call.target.namespace.clone(),
        name: call.target.name.clone(),
        uid: value::uid(&pod).to_owned(),
    };
    Ok(remote::serve(kind, reference, request, server.runtime.clone()).await)
}

/// Adds the container that is meant to the query.
fn name_container(request: &mut Request<Incoming>, container: &str) {
    let uri = request.uri();
    let query = uri.query().unwrap_or_default();
    let joint = if query.is_empty() { "" } else { "&" };
    let with = format!("{}?{query}{joint}container={container}", uri.path());
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = with.parse().ok();
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
}

/// The container that a call means.
fn container(call: &Call, pod: &Value, what: &str) -> Result<String> {
    let name = &call.target.name;
    let names = |pointer| list(pod, pointer).iter().map(value_name);
    let all: Vec<&str> = [
        "/spec/containers",
        "/spec/initContainers",
        "/spec/ephemeralContainers",
    ]
    .into_iter()
    .flat_map(names)
    .collect();
    let wanted = call.query.text("container");
    if !wanted.is_empty() {
        return if all.contains(&wanted) {
            Ok(wanted.to_owned())
        } else {
            Err(Status::bad_request(format!(
                "container {wanted} is not valid for {what} {name}"
            )))
        };
    }
    let regular: Vec<&str> = names("/spec/containers").collect();
    match regular.as_slice() {
        [] => Err(Status::bad_request(format!("pod {name} has no containers"))),
        [one] => Ok((*one).to_owned()),
        many => {
            let default = "/metadata/annotations/kubectl.kubernetes.io~1default-container";
            match text(pod, default) {
                "" => Err(Status::bad_request(format!(
                    "a container name must be specified for pod {name}, choose one of: [{}]",
                    many.join(" ")
                ))),
                default => Ok(default.to_owned()),
            }
        }
    }
}

fn value_name(container: &Value) -> &str {
    text(container, "/name")
}

fn waiting<'a>(pod: &'a Value, container: &str) -> Option<&'a str> {
    if text(pod, "/status/phase") == "Pending" && list(pod, "/status/containerStatuses").is_empty()
    {
        return Some("ContainerCreating");
    }
    let statuses = list(pod, "/status/containerStatuses").iter();
    let reason = statuses
        .filter(|status| value_name(status) == container)
        .map(|status| text(status, "/state/waiting/reason"))
        .next()?;
    match reason {
        "" => None,
        "ErrImagePull" | "ImagePullBackOff" => Some("trying and failing to pull image"),
        other => Some(other),
    }
}
