//! Get, list and watch.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

use super::super::Server;
use super::super::convert;
use super::super::request::{Form, Query};
use super::super::resources::Resource;
use super::super::selectors::Selection;
use super::super::status::{Result, Status};
use super::super::store::Key;
use super::super::table;
use super::super::value;
use super::super::watch::{Start, Watch};
use super::Call;
use crate::http::{Body, json as json_answer};

/// How long a watch lasts that does not say, and at most.
const WATCH_LASTS: Duration = Duration::from_mins(45);

/// Answers a reading request.
pub(super) fn answer(server: &Server, call: &Call) -> Result<Response<Body>> {
    if call.query.flag("watch") {
        return watch(server, call);
    }
    if call.target.name.is_empty() {
        return list(server, call);
    }
    let object = found(server, call)?;
    Ok(one(server, call, StatusCode::OK, &object))
}

/// The object that a call names.
pub(super) fn found(server: &Server, call: &Call) -> Result<std::sync::Arc<Value>> {
    let target = &call.target;
    server
        .store
        .get(
            target.resource.key(),
            &Key::new(&target.namespace, &target.name),
        )
        .ok_or_else(|| Status::not_found(target.resource, &target.name))
}

/// An answer with one object, in the form that is asked for.
pub(super) fn one(
    server: &Server,
    call: &Call,
    code: StatusCode,
    object: &Value,
) -> Response<Body> {
    let resource = call.target.resource;
    let shown = match Form::accepted(&call.headers) {
        Form::Object => convert::shown(resource, object),
        Form::Metadata => table::partial(object),
        Form::Table => table::table(
            resource,
            std::iter::once(object),
            server.store.now(),
            wants_whole_rows(&call.query),
        ),
    };
    json_answer(code, &shown)
}

fn wants_whole_rows(query: &Query) -> bool {
    query.text("includeObject") == "Object"
}

fn list(server: &Server, call: &Call) -> Result<Response<Body>> {
    let (resource, query) = (call.target.resource, &call.query);
    let selection = selection(resource, query)?;
    let after = match query.text("continue") {
        "" => None,
        token => Some(read_continue(token)?),
    };
    let namespace = call.target.in_namespace();
    let (objects, version) = server.store.list(resource.key(), namespace, after.as_ref());
    let mut matching = objects.iter().filter(|object| selection.matches(object));
    let limit = query.number("limit").filter(|limit| *limit > 0);
    let limit = limit.map_or(usize::MAX, |limit| {
        usize::try_from(limit).unwrap_or(usize::MAX)
    });
    let page: Vec<&Value> = matching
        .by_ref()
        .take(limit)
        .map(|object| &**object)
        .collect();
    let remaining = matching.count();

    let mut metadata = json!({ "resourceVersion": version.to_string() });
    if remaining > 0
        && let Some(last) = page.last()
    {
        metadata["continue"] = json!(write_continue(&Key::of(last)));
        if selection.is_everything() {
            metadata["remainingItemCount"] = json!(remaining);
        }
    }
    let document = match Form::accepted(&call.headers) {
        Form::Object => {
            let items: Vec<Value> = page.iter().map(|object| listed(resource, object)).collect();
            json!({
                "kind": format!("{}List", resource.kind),
                "apiVersion": resource.api_version(),
                "metadata": metadata,
                "items": items,
            })
        }
        Form::Metadata => {
            let items: Vec<Value> = page.iter().map(|object| table::partial(object)).collect();
            json!({
                "kind": "PartialObjectMetadataList",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": metadata,
                "items": items,
            })
        }
        Form::Table => {
            let whole = wants_whole_rows(query);
            let mut table = table::table(resource, page.into_iter(), server.store.now(), whole);
            table["metadata"] = metadata;
            table
        }
    };
    Ok(json_answer(StatusCode::OK, &document))
}

/// Items of a list do not repeat the kind that the list tells.
fn listed(resource: &Resource, object: &Value) -> Value {
    let mut object = convert::shown(resource, object);
    for field in ["apiVersion", "kind"] {
        value::remove(&mut object, &[field]);
    }
    object
}

/// The selectors of a request.
pub(super) fn selection(resource: &Resource, query: &Query) -> Result<Selection> {
    Selection::parse(
        resource.plural,
        query.text("labelSelector"),
        query.text("fieldSelector"),
    )
}

fn write_continue(key: &Key) -> String {
    URL_SAFE_NO_PAD.encode(json!([key.namespace, key.name]).to_string())
}

fn read_continue(token: &str) -> Result<Key> {
    URL_SAFE_NO_PAD
        .decode(token)
        .ok()
        .and_then(|bytes| serde_json::from_slice::<(String, String)>(&bytes).ok())
        .map(|(namespace, name)| Key { namespace, name })
        .ok_or_else(|| Status::bad_request("continue key is not valid"))
}

fn watch(server: &Server, call: &Call) -> Result<Response<Body>> {
    let (target, query) = (&call.target, &call.query);
    let bookmarks = query.flag("allowWatchBookmarks");
    let start = if query.flag("sendInitialEvents") {
        if query.text("resourceVersionMatch") != "NotOlderThan" {
            return Err(Status::unprocessable(
                "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            ));
        }
        if bookmarks {
            Start::NowMarked
        } else {
            Start::Now
        }
    } else {
        match query.text("resourceVersion") {
            "" | "0" => Start::Now,
            version => Start::After(version.parse().map_err(|_| {
                Status::bad_request(format!(
                    "Invalid value: {version:?}: invalid resource version"
                ))
            })?),
        }
    };
    let watch = Watch {
        store: server.store.clone(),
        resource: target.resource,
        namespace: target.in_namespace().map(str::to_owned),
        name: target.name.clone(),
        selection: selection(target.resource, query)?,
        form: Form::accepted(&call.headers),
        whole_rows: wants_whole_rows(query),
        bookmarks,
        lasts: lasts(query),
    };
    let mut response = Response::new(watch.body(start));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    Ok(response)
}

fn lasts(query: &Query) -> Duration {
    query
        .number("timeoutSeconds")
        .map_or(WATCH_LASTS, Duration::from_secs)
        .min(WATCH_LASTS)
}
