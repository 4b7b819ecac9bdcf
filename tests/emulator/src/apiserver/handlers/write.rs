//! Create, update and patch.

use std::sync::Arc;

use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::super::patch::managed::{Writer, note_update};
use super::super::patch::{Patch, apply};
use super::super::resources::Resource;
use super::super::status::{Result, Status};
use super::super::store::{Key, Refused};
use super::super::value::{self, remove, set};
use super::super::{Server, clock, controllers, convert, defaults, validate};
use super::decode::{decode, decode_patched, read_object, with_warnings};
use super::{Call, read};
use crate::http::Body;

/// How often a patch is computed anew because the object changed in between.
const PATCH_ATTEMPTS: usize = 16;

/// Adds an object.
pub(super) fn create(server: &Server, call: &Call, body: &[u8]) -> Result<Response<Body>> {
    let object = read_object(call, body)?;
    let warnings = decode(call, &object)?;
    let created = create_object(server, call, object, |object, time| {
        note(call, None, object, time);
        Ok(())
    })?;
    Ok(with_warnings(
        read::one(server, call, StatusCode::CREATED, &created),
        &warnings,
    ))
}

/// Puts an object in the place of another; the whole of it, or its status.
pub(super) fn update(server: &Server, call: &Call, body: &[u8]) -> Result<Response<Body>> {
    let object = read_object(call, body)?;
    let warnings = decode(call, &object)?;
    if value::name(&object) != call.target.name {
        return Err(Status::bad_request(format!(
            "the name of the object ({}) does not match the name on the URL ({})",
            value::name(&object),
            call.target.name
        )));
    }
    let before = read::found(server, call)?;
    let object = convert::stored(call.target.resource, object);
    let updated = replace(server, call, &before, object, |before, after, time| {
        note(call, Some(before), after, time);
    })?;
    Ok(with_warnings(
        read::one(server, call, StatusCode::OK, &updated),
        &warnings,
    ))
}

/// Patches an object; an apply may create it.
pub(super) fn patch(server: &Server, call: &Call, body: &[u8]) -> Result<Response<Body>> {
    if call.media_type() == "application/apply-patch+yaml" {
        return apply(server, call, body);
    }
    let schema = call.target.resource.schema;
    let patch = Patch::parse(call.media_type(), body)?;
    for _ in 0..PATCH_ATTEMPTS {
        let before = read::found(server, call)?;
        let shown = convert::shown(call.target.resource, &before);
        let after = patch.applied(schema, &shown)?;
        let warnings = decode_patched(call, &shown, &after, body)?;
        // A version in the patch is a precondition; one that came from the object is none.
        let conditional =
            after["metadata"]["resourceVersion"] != shown["metadata"]["resourceVersion"];
        let after = convert::stored(call.target.resource, after);
        let outcome = replace(server, call, &before, after, |before, after, time| {
            note(call, Some(before), after, time);
        });
        match outcome {
            Err(status) if status.code() == StatusCode::CONFLICT && !conditional => {}
            outcome => {
                let response = read::one(server, call, StatusCode::OK, &*outcome?);
                return Ok(with_warnings(response, &warnings));
            }
        }
    }
    Err(Status::modified(call.target.resource, &call.target.name))
}

fn apply(server: &Server, call: &Call, body: &[u8]) -> Result<Response<Body>> {
    let (resource, target) = (call.target.resource, &call.target);
    if call.query.text("fieldManager").is_empty() {
        return Err(Status::unprocessable(
            "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch",
        ));
    }
    let mut config = read_object(call, body)?;
    set(&mut config, &["metadata", "name"], target.name.clone());
    let decoding = validate::decode(resource.schema, &config);
    if let Some(why) = decoding.mistyped {
        return Err(Status::bad_request(why));
    }
    if let Some(field) = decoding.unknown.first() {
        return Err(Status::bad_request(format!(
            "failed to create typed patch object ({}/{}; {}, Kind={}): .{field}: field not declared in schema",
            target.namespace,
            target.name,
            resource.api_version(),
            resource.kind,
        )));
    }
    let force = call.query.flag("force");
    for _ in 0..PATCH_ATTEMPTS {
        let Ok(before) = read::found(server, call) else {
            let merged = json!({});
            let created = create_object(server, call, config.clone(), |object, time| {
                let writer = writer(call, time);
                let applied = apply::apply(resource.schema, Some(&merged), &config, writer, force)?;
                object["metadata"]["managedFields"] = applied["metadata"]["managedFields"].clone();
                Ok(())
            })?;
            return Ok(read::one(server, call, StatusCode::CREATED, &created));
        };
        let time = clock::stamp(server.store.now());
        let shown = convert::shown(resource, &before);
        let after = apply::apply(
            resource.schema,
            Some(&shown),
            &config,
            writer(call, &time),
            force,
        )?;
        let after = convert::stored(resource, after);
        let outcome = replace(server, call, &before, after, |_, _, _| {});
        match outcome {
            Err(status)
                if status.code() == StatusCode::CONFLICT
                    && !value::has(&config, "/metadata/resourceVersion") => {}
            outcome => return Ok(read::one(server, call, StatusCode::OK, &*outcome?)),
        }
    }
    Err(Status::modified(resource, &target.name))
}

fn writer<'a>(call: &'a Call, time: &'a str) -> Writer<'a> {
    Writer {
        manager: call.manager(),
        subresource: &call.target.subresource,
        time,
    }
}

fn note(call: &Call, before: Option<&Value>, after: &mut Value, time: &str) {
    // Written down in the form in which the object is stored, whatever form it came in.
    note_update(
        convert::hub(call.target.resource).schema,
        before,
        after,
        writer(call, time),
    );
}

fn create_object(
    server: &Server,
    call: &Call,
    object: Value,
    note: impl FnOnce(&mut Value, &str) -> Result<()>,
) -> Result<Arc<Value>> {
    let resource = call.target.resource;
    let namespace = &call.target.namespace;
    if resource.namespaced {
        let found = server.store.get("namespaces", &Key::new("", namespace));
        let Some(found) = found else {
            return Err(Status::not_found(
                super::super::resources::known("namespaces"),
                namespace,
            ));
        };
        if value::has(&found, "/metadata/deletionTimestamp") {
            let name = value::name(&object);
            let message = format!(
                "{} {name:?} is forbidden: unable to create new content in namespace {namespace} because it is being terminated",
                resource.qualified(),
            );
            return Err(Status::forbidden(message, Some(resource), name));
        }
    }
    let time = clock::stamp(server.store.now());
    let mut object = convert::stored(resource, object);
    complete(server, resource, &mut object, &time);
    note(&mut object, &time)?;
    admit(server, resource, &mut object)?;
    if call.is_dry_run() {
        let key = Key::of(&object);
        if server.store.get(resource.key(), &key).is_some() {
            return Err(Status::already_exists(resource, &key.name));
        }
        return Ok(Arc::new(object));
    }
    let name = value::name(&object).to_owned();
    let created = server
        .store
        .insert(resource.key(), object)
        .map_err(|_| Status::already_exists(resource, &name))?;
    if resource.plural == "namespaces" {
        controllers::furnish(server, &name);
    }
    Ok(created)
}

/// Gives a new object its identity.
pub(in super::super) fn complete(
    server: &Server,
    resource: &Resource,
    object: &mut Value,
    time: &str,
) {
    let prefix = value::text(object, "/metadata/generateName").to_owned();
    if value::name(object).is_empty() && !prefix.is_empty() {
        let name = format!("{prefix}{}", server.store.suffix());
        set(object, &["metadata", "name"], name);
    }
    for field in [
        "resourceVersion",
        "deletionTimestamp",
        "selfLink",
        "generation",
    ] {
        remove(object, &["metadata", field]);
    }
    set(object, &["metadata", "uid"], server.store.uid());
    set(object, &["metadata", "creationTimestamp"], time);
    if has_generation(resource) {
        set(object, &["metadata", "generation"], 1);
    }
    let keeps_status = matches!(resource.plural, "nodes" | "pods" | "persistentvolumes");
    if resource.subresource("status").is_some() && !keeps_status {
        remove(object, &["status"]);
    }
}

/// Fills in defaults and checks the rules of the kind.
pub(in super::super) fn admit(
    server: &Server,
    resource: &Resource,
    object: &mut Value,
) -> Result<()> {
    validate::name(resource, object)?;
    defaults::fill(resource.plural, object, &server.store);
    validate::object(resource, object, None)
}

fn has_generation(resource: &Resource) -> bool {
    resource.subresource("status").is_some()
        && !matches!(
            resource.plural,
            "namespaces"
                | "nodes"
                | "services"
                | "persistentvolumes"
                | "persistentvolumeclaims"
                | "resourcequotas"
        )
        || resource.plural == "networkpolicies"
}

fn replace(
    server: &Server,
    call: &Call,
    before: &Arc<Value>,
    mut after: Value,
    note: impl FnOnce(&Value, &mut Value, &str),
) -> Result<Arc<Value>> {
    let (resource, name) = (call.target.resource, call.target.name.as_str());
    let version = value::text(&after, "/metadata/resourceVersion");
    let current = value::text(before, "/metadata/resourceVersion");
    if !version.is_empty() && version != current {
        return Err(Status::modified(resource, name));
    }
    let given = value::uid(&after);
    if !given.is_empty() && given != value::uid(before) {
        let why = format!(
            "Precondition failed: UID in precondition: {given}, UID in object meta: {}",
            value::uid(before)
        );
        return Err(Status::conflict(resource, name, &why));
    }
    keep_own(resource, &call.target.subresource, before, &mut after);
    after["apiVersion"] = before["apiVersion"].clone();
    after["kind"] = before["kind"].clone();
    if value::name(&after) != name {
        return Err(Status::bad_request(format!(
            "the name of the object ({}) does not match the name on the URL ({name})",
            value::name(&after),
        )));
    }
    let time = clock::stamp(server.store.now());
    defaults::fill(resource.plural, &mut after, &server.store);
    note(before, &mut after, &time);
    validate::object(resource, &after, Some(before))?;
    if has_generation(resource) && before["spec"] != after["spec"] {
        let generation = value::int(before, "/metadata/generation") + 1;
        set(&mut after, &["metadata", "generation"], generation);
    }
    if call.is_dry_run() {
        return Ok(Arc::new(after));
    }
    let ends = value::has(&after, "/metadata/deletionTimestamp")
        && !value::list(before, "/metadata/finalizers").is_empty()
        && value::list(&after, "/metadata/finalizers").is_empty();
    let after = server
        .store
        .replace(resource.key(), before, after)
        .map_err(|refused| match refused {
            Refused::Exists | Refused::Changed => Status::modified(resource, name),
        })?;
    if ends {
        server.remove(resource.key(), &Key::of(&after));
    }
    Ok(after)
}

/// Identity never changes, and status and the rest are written by different paths.
fn keep_own(resource: &Resource, subresource: &str, before: &Value, after: &mut Value) {
    for field in [
        "uid",
        "creationTimestamp",
        "generation",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        match before["metadata"].get(field) {
            Some(kept) => set(after, &["metadata", field], kept.clone()),
            None => {
                remove(after, &["metadata", field]);
            }
        }
    }
    if subresource == "status" {
        let status = after["status"].take();
        let managed = after["metadata"]["managedFields"].take();
        let (labels, annotations) = (
            after["metadata"]["labels"].take(),
            after["metadata"]["annotations"].take(),
        );
        *after = before.clone();
        set(after, &["status"], status);
        for (field, given) in [
            ("managedFields", managed),
            ("labels", labels),
            ("annotations", annotations),
        ] {
            if !given.is_null() {
                set(after, &["metadata", field], given);
            }
        }
    } else if subresource == "ephemeralcontainers" {
        let containers = after["spec"]["ephemeralContainers"].take();
        *after = before.clone();
        set(after, &["spec", "ephemeralContainers"], containers);
    } else if resource.subresource("status").is_some() {
        match before.get("status") {
            Some(status) => set(after, &["status"], status.clone()),
            None => {
                remove(after, &["status"]);
            }
        }
    }
    // A field that was taken away and set to null is no field.
    if after["metadata"]["managedFields"].is_null() {
        match before["metadata"].get("managedFields") {
            Some(kept) => set(after, &["metadata", "managedFields"], kept.clone()),
            None => {
                remove(after, &["metadata", "managedFields"]);
            }
        }
    }
}
