//! Reading and writing objects kept as plain JSON.

use serde_json::{Map, Value, json};

/// The text at `pointer`, or nothing's text.
pub(super) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// The number at `pointer`, or 0.
pub(super) fn int(value: &Value, pointer: &str) -> i64 {
    value
        .pointer(pointer)
        .and_then(Value::as_i64)
        .unwrap_or_default()
}

/// The flag at `pointer`, or false.
pub(super) fn flag(value: &Value, pointer: &str) -> bool {
    value
        .pointer(pointer)
        .and_then(Value::as_bool)
        .unwrap_or_default()
}

/// The list at `pointer`, or an empty one.
pub(super) fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}

/// The map at `pointer`, if there is one.
pub(super) fn map<'a>(value: &'a Value, pointer: &str) -> Option<&'a Map<String, Value>> {
    value.pointer(pointer).and_then(Value::as_object)
}

/// Whether something other than null stands at `pointer`.
pub(super) fn has(value: &Value, pointer: &str) -> bool {
    value.pointer(pointer).is_some_and(|found| !found.is_null())
}

/// The name of an object.
pub(super) fn name(value: &Value) -> &str {
    text(value, "/metadata/name")
}

/// The namespace of an object, empty for one of the cluster.
pub(super) fn namespace(value: &Value) -> &str {
    text(value, "/metadata/namespace")
}

/// The UID of an object.
pub(super) fn uid(value: &Value) -> &str {
    text(value, "/metadata/uid")
}

/// Makes `value` an object if it is none, and returns its fields.
pub(super) fn fields(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = json!({});
    }
    value.as_object_mut().expect("it was just made an object")
}

/// The place at `path`, made of objects where it is missing.
pub(super) fn place<'a>(value: &'a mut Value, path: &[&str]) -> &'a mut Value {
    let mut at = value;
    for segment in path {
        at = fields(at).entry(*segment).or_insert(Value::Null);
    }
    at
}

/// Sets what is at `path`.
pub(super) fn set(value: &mut Value, path: &[&str], new: impl Into<Value>) {
    *place(value, path) = new.into();
}

/// Sets what is at `path` unless something is there.
pub(super) fn set_default(value: &mut Value, path: &[&str], new: impl Into<Value>) {
    let at = place(value, path);
    if at.is_null() {
        *at = new.into();
    }
}

/// Takes away what is at `path`.
pub(super) fn remove(value: &mut Value, path: &[&str]) -> Option<Value> {
    let (last, parents) = path.split_last()?;
    let mut at = value;
    for segment in parents {
        at = at.get_mut(*segment)?;
    }
    at.as_object_mut()?.remove(*last)
}

/// Whether `owner` is among the owners of `object`.
pub(super) fn owned_by(object: &Value, owner: &str) -> bool {
    list(object, "/metadata/ownerReferences")
        .iter()
        .any(|reference| text(reference, "/uid") == owner)
}

/// A reference to `owner` as the controller of another object.
pub(super) fn controller_reference(owner: &Value) -> Value {
    json!({
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": true,
        "blockOwnerDeletion": true,
    })
}
