//! The way of a request through the server.

mod bench;
mod decode;
mod delete;
mod pods;
mod read;
mod reviews;
mod scale;
mod write;

pub(super) use bench::Uploads;
pub(super) use write::{admit, complete};

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::Server;
use super::auth::{self, User};
use super::authz::Access;
use super::request::{self, Query, Target};
use super::status::{Result, Status};
use super::{discovery, openapi, protobuf};
use crate::http::{Body, full, json as json_answer};

/// The largest body of a write, as on the real server.
const BODY_LIMIT: usize = 3 * 1024 * 1024;

/// A request that was let in, about a kind.
struct Call {
    user: User,
    target: Target,
    query: Query,
    headers: HeaderMap,
    method: Method,
}

/// Answers one request.
pub(super) async fn answer(server: Arc<Server>, request: Request<Incoming>) -> Response<Body> {
    let user = identify(&server, request.headers());
    server.seen.note(&request, user.as_ref().ok());
    let answered = match user {
        Ok(user) => respond(server, user, request).await,
        Err(status) => Err(status),
    };
    let mut response = answered.unwrap_or_else(|status| status.answer());
    let headers = response.headers_mut();
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-cache, private"),
    );
    if let Ok(id) = HeaderValue::from_str(&uuid::Uuid::new_v4().to_string()) {
        headers.insert("audit-id", id);
    }
    response
}

fn identify(server: &Server, headers: &HeaderMap) -> Result<User> {
    let now = server.store.now().as_second();
    let user = auth::bearer(headers)
        .and_then(|token| server.tokens.identify(token, now))
        .ok_or_else(Status::unauthorized)?;
    let Some(impersonation) = auth::impersonation(headers)? else {
        return Ok(user);
    };
    for (group, resource, namespace, name) in impersonation.asks {
        let access = Access {
            verb: "impersonate".to_owned(),
            group: group.to_owned(),
            resource,
            namespace,
            name,
            path: None,
        };
        server.authorizer.check(&user, &access)?;
    }
    Ok(impersonation.user)
}

async fn respond(
    server: Arc<Server>,
    user: User,
    request: Request<Incoming>,
) -> Result<Response<Body>> {
    let path = request.uri().path().to_owned();
    let Some(target) = Target::parse(&path) else {
        let verb = request.method().as_str().to_lowercase();
        server
            .authorizer
            .check(&user, &Access::to_path(&path, &verb))?;
        return plain(&server, &path, request).await;
    };
    let query = Query::parse(request.uri().query());
    let verb = target.verb(request.method(), &query);
    server.authorizer.check(&user, &Access::to(&target, verb))?;
    let call = Call {
        user,
        query,
        headers: request.headers().clone(),
        method: request.method().clone(),
        target,
    };
    if call.target.resource.plural == "pods" && !call.target.subresource.is_empty() {
        match call.target.subresource.as_str() {
            "log" => return pods::log(&server, &call),
            "exec" | "attach" | "portforward" => {
                return pods::stream(&server, &call, request).await;
            }
            _ => {}
        }
    }
    if !call.target.resource.stored {
        let body = read_body(request).await?;
        return reviews::answer(&server, &call, &body);
    }
    match verb {
        "get" | "list" | "watch" if call.target.subresource == "scale" => {
            scale::read(&server, &call)
        }
        "get" | "list" | "watch" => read::answer(&server, &call),
        _ => {
            let body = read_body(request).await?;
            match (verb, call.target.subresource.as_str()) {
                ("create", "token") => reviews::token(&server, &call, &body),
                ("create", "eviction") => delete::evict(&server, &call, &body),
                ("update" | "patch", "scale") => scale::write(&server, &call, &body),
                ("create", "") if call.target.name.is_empty() => {
                    write::create(&server, &call, &body)
                }
                ("update", _) => write::update(&server, &call, &body),
                ("patch", _) => write::patch(&server, &call, &body),
                ("delete", "") => delete::one(&server, &call, &body),
                ("deletecollection", "") => delete::collection(&server, &call, &body),
                _ => Err(Status::method_not_allowed()),
            }
        }
    }
}

/// What is about no kind of object.
async fn plain(server: &Server, path: &str, request: Request<Incoming>) -> Result<Response<Body>> {
    if let Some(rest) = path.strip_prefix("/arc-emulator/") {
        return bench::answer(rest, request, &server.uploads).await;
    }
    if let Some(answer) = discovery::answer(path, request.headers()) {
        return Ok(answer);
    }
    let ok = |body: Value| Ok(json_answer(StatusCode::OK, &body));
    match path {
        "/" => ok(json!({ "paths": ["/api", "/apis", "/healthz", "/openapi/v3", "/version"] })),
        "/version" => ok(discovery::version()),
        "/healthz" | "/livez" | "/readyz" => Ok(Response::new(full("ok"))),
        "/openapi/v2" => {
            let wanted = request::accepted(request.headers()).next();
            if wanted != Some(openapi::SWAGGER_PROTOBUF) {
                return ok(openapi::swagger());
            }
            let mut response = Response::new(full(openapi::swagger_protobuf()));
            // What is asked for is no valid media type; the answer's is, as the real server's.
            let media_type = HeaderValue::from_static(
                "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
            );
            response
                .headers_mut()
                .insert(header::CONTENT_TYPE, media_type);
            Ok(response)
        }
        "/openapi/v3" => ok(openapi::index()),
        _ => {
            let document = path
                .strip_prefix("/openapi/v3/")
                .and_then(openapi::document)
                .ok_or_else(Status::no_route)?;
            let mut response = Response::new(full(document));
            response.headers_mut().insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/json"),
            );
            Ok(response)
        }
    }
}

/// The whole body of a write.
async fn read_body(request: Request<Incoming>) -> Result<Bytes> {
    let body = Limited::new(request.into_body(), BODY_LIMIT);
    let collected = body.collect().await.map_err(|error| {
        if error.is::<http_body_util::LengthLimitError>() {
            Status::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "RequestEntityTooLarge",
                format!("Request entity too large: limit is {BODY_LIMIT}"),
            )
        } else {
            Status::bad_request(format!("the body broke off: {error}"))
        }
    })?;
    Ok(collected.to_bytes())
}

impl Call {
    /// The media type of the body, without parameters.
    fn media_type(&self) -> &str {
        self.headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split(';').next())
            .map_or("application/json", str::trim)
    }

    /// Reads an object from a body of JSON, YAML or protobuf.
    fn object(&self, body: &[u8]) -> Result<Value> {
        let undecoded = |why: &dyn std::fmt::Display| {
            Status::bad_request(format!("error decoding the body: {why}"))
        };
        let object = match self.media_type() {
            "application/json" | "" | "*/*" => {
                serde_json::from_slice(body).map_err(|error| undecoded(&error))?
            }
            "application/yaml" | "application/apply-patch+yaml" => yaml(body)?,
            "application/vnd.kubernetes.protobuf" => {
                protobuf::read(body).map_err(|why| undecoded(&why))?
            }
            other => {
                return Err(Status::unsupported_media_type(
                    other,
                    "application/json, application/yaml, application/vnd.kubernetes.protobuf",
                ));
            }
        };
        if Value::is_object(&object) {
            Ok(object)
        } else {
            Err(Status::bad_request("the body is no object"))
        }
    }

    /// Who manages the fields that this writes.
    fn manager(&self) -> &str {
        match self.query.text("fieldManager") {
            "" => self
                .headers
                .get(header::USER_AGENT)
                .and_then(|agent| agent.to_str().ok())
                .and_then(|agent| agent.split('/').next())
                .filter(|agent| !agent.is_empty())
                .unwrap_or("unknown"),
            manager => manager,
        }
    }

    /// Whether nothing shall be stored.
    fn is_dry_run(&self) -> bool {
        self.query.text("dryRun") == "All"
    }
}

/// Reads YAML; JSON is YAML too, and cheaper to read as what it is.
fn yaml(body: &[u8]) -> Result<Value> {
    serde_json::from_slice(body)
        .ok()
        .or_else(|| serde_saphyr::from_slice(body).ok())
        .filter(Value::is_object)
        .ok_or_else(|| Status::bad_request("error decoding YAML: the body is no object"))
}
