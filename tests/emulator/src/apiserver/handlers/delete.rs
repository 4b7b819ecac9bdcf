//! Delete, delete many, and evict.

use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::super::Server;
use super::super::deletion::{Dependents, Outcome};
use super::super::resources::Resource;
use super::super::status::{Result, Status};
use super::super::store::Key;
use super::super::{convert, value};
use super::{Call, read};
use crate::http::{Body, json as json_answer};

/// What a deletion asks for; the body says it, or the query.
struct Options {
    grace: Option<i64>,
    dependents: Dependents,
    dry_run: bool,
    uid: String,
    version: String,
}

impl Options {
    fn read(call: &Call, body: &[u8]) -> Result<Self> {
        let given = if body.is_empty() {
            json!({})
        } else {
            call.object(body)?
        };
        let policy = match value::text(&given, "/propagationPolicy") {
            "" => call.query.text("propagationPolicy"),
            policy => policy,
        };
        let orphans = policy == "Orphan"
            || value::flag(&given, "/orphanDependents")
            || call.query.flag("orphanDependents");
        let grace = given
            .pointer("/gracePeriodSeconds")
            .and_then(Value::as_i64)
            .or_else(|| call.query.text("gracePeriodSeconds").parse().ok());
        Ok(Self {
            grace,
            dependents: if orphans {
                Dependents::Orphaned
            } else {
                Dependents::Deleted
            },
            dry_run: call.is_dry_run() || value::list(&given, "/dryRun").contains(&json!("All")),
            uid: value::text(&given, "/preconditions/uid").to_owned(),
            version: value::text(&given, "/preconditions/resourceVersion").to_owned(),
        })
    }

    fn check(&self, resource: &Resource, object: &Value) -> Result<()> {
        for (wanted, actual, what) in [
            (&self.uid, value::uid(object), "UID"),
            (
                &self.version,
                value::text(object, "/metadata/resourceVersion"),
                "ResourceVersion",
            ),
        ] {
            if !wanted.is_empty() && wanted != actual {
                let why = format!(
                    "Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {actual}"
                );
                return Err(Status::conflict(resource, value::name(object), &why));
            }
        }
        Ok(())
    }
}

/// Deletes one object.
pub(super) fn one(server: &Server, call: &Call, body: &[u8]) -> Result<Response<Body>> {
    let resource = call.target.resource;
    let object = read::found(server, call)?;
    let options = Options::read(call, body)?;
    options.check(resource, &object)?;
    if options.dry_run {
        return Ok(success(resource, &object));
    }
    let key = Key::of(&object);
    match server.delete(resource.key(), &key, options.grace, options.dependents) {
        Some(Outcome::Gone(last)) if resource.plural != "pods" => Ok(success(resource, &last)),
        Some(Outcome::Gone(last) | Outcome::Going(last)) => {
            Ok(read::one(server, call, StatusCode::OK, &last))
        }
        None => Err(Status::not_found(resource, &key.name)),
    }
}

/// Deletes what a list would show.
pub(super) fn collection(server: &Server, call: &Call, body: &[u8]) -> Result<Response<Body>> {
    let resource = call.target.resource;
    let options = Options::read(call, body)?;
    let selection = read::selection(resource, &call.query)?;
    let mut items = Vec::new();
    for object in server.store.all(resource.key(), call.target.in_namespace()) {
        if !selection.matches(&object) {
            continue;
        }
        if !options.dry_run {
            server.delete(
                resource.key(),
                &Key::of(&object),
                options.grace,
                options.dependents,
            );
        }
        items.push(convert::shown(resource, &object));
    }
    let list = json!({
        "kind": format!("{}List", resource.kind),
        "apiVersion": resource.api_version(),
        "metadata": { "resourceVersion": server.store.version().to_string() },
        "items": items,
    });
    Ok(json_answer(StatusCode::OK, &list))
}

/// Evicts a pod, which is a deletion that a drain asks for.
pub(super) fn evict(server: &Server, call: &Call, body: &[u8]) -> Result<Response<Body>> {
    let eviction = call.object(body)?;
    let pod = read::found(server, call)?;
    let grace = eviction
        .pointer("/deleteOptions/gracePeriodSeconds")
        .and_then(Value::as_i64);
    if !call.is_dry_run() {
        server.delete("pods", &Key::of(&pod), grace, Dependents::Deleted);
    }
    let done = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201 });
    Ok(json_answer(StatusCode::CREATED, &done))
}

fn success(resource: &Resource, object: &Value) -> Response<Body> {
    let mut details = json!({
        "name": value::name(object),
        "kind": resource.plural,
        "uid": value::uid(object),
    });
    if !resource.group.is_empty() {
        details["group"] = json!(resource.group);
    }
    let status = json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": details,
    });
    json_answer(StatusCode::OK, &status)
}
