//! Bodies in protobuf, which newer kubectls send for the built-in kinds.
//!
//! Only reading is implemented: every client that sends protobuf takes answers in JSON too. The
//! field numbers are data (`fields.txt`), because the schemas of the kinds do not have them.

mod wire;

use std::collections::HashMap;
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::clock::{micro_stamp, stamp};
use super::resources::RESOURCES;
use wire::{Field, Wire};

/// What stands before every protobuf body of the API.
const MAGIC: &[u8] = b"k8s\0";

/// What went wrong, in words.
type Result<T> = std::result::Result<T, String>;

/// One field of a message.
#[derive(Debug)]
struct FieldType {
    name: &'static str,
    kind: &'static str,
}

type Message = HashMap<u64, FieldType>;

fn messages() -> &'static HashMap<&'static str, Message> {
    static MESSAGES: OnceLock<HashMap<&'static str, Message>> = OnceLock::new();
    MESSAGES.get_or_init(|| {
        let mut messages: HashMap<&str, Message> = HashMap::new();
        let mut current = "";
        for line in include_str!("fields.txt").lines() {
            if line.starts_with('#') {
                continue;
            }
            let Some(field) = line.strip_prefix('\t') else {
                current = line;
                continue;
            };
            let mut parts = field.split(' ');
            if let (Some(Ok(number)), Some(name), Some(kind)) =
                (parts.next().map(str::parse), parts.next(), parts.next())
            {
                messages
                    .entry(current)
                    .or_default()
                    .insert(number, FieldType { name, kind });
            }
        }
        messages
    })
}

/// Reads a body.
///
/// # Errors
///
/// Says what is wrong when the body is cut short, has no envelope, or is of no known kind.
pub(super) fn read(body: &[u8]) -> Result<Value> {
    let envelope = body
        .strip_prefix(MAGIC)
        .ok_or("the body does not start with the protobuf prefix")?;
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    for field in wire::fields(envelope) {
        match field? {
            Field { number: 1, value: Wire::Bytes(meta) } => {
                for field in wire::fields(meta) {
                    match field? {
                        Field { number: 1, value: Wire::Bytes(text) } => api_version = utf8(text)?,
                        Field { number: 2, value: Wire::Bytes(text) } => kind = utf8(text)?,
                        _ => {}
                    }
                }
            }
            Field { number: 2, value: Wire::Bytes(bytes) } => raw = bytes,
            _ => {}
        }
    }
    let message = message_of(&api_version, &kind)
        .ok_or_else(|| format!("no kind \"{kind}\" is registered for version \"{api_version}\""))?;
    let mut object = json!({ "apiVersion": api_version, "kind": kind });
    read_message(message, raw, super::value::fields(&mut object))?;
    Ok(object)
}

/// The message of a kind.
fn message_of(api_version: &str, kind: &str) -> Option<&'static str> {
    let served = RESOURCES
        .iter()
        .find(|known| known.kind == kind && known.api_version() == api_version)
        .and_then(|known| known.schema.strip_prefix("io.k8s.api."));
    let suffix = format!(".v1.{kind}");
    let options = (kind == "DeleteOptions").then_some("apis.meta.v1.DeleteOptions");
    let name = served.or(options);
    messages().keys().copied().find(|known| match name {
        Some(name) => *known == name,
        None => known.ends_with(&suffix),
    })
}

fn read_message(name: &str, bytes: &[u8], into: &mut Map<String, Value>) -> Result<()> {
    let Some(message) = messages().get(name) else {
        return Ok(());
    };
    for field in wire::fields(bytes) {
        let field = field?;
        let Some(known) = message.get(&field.number) else {
            continue;
        };
        if known.name == "-" {
            if let (Some(inner), Wire::Bytes(bytes)) = (known.kind.strip_prefix('m'), field.value) {
                read_message(inner, bytes, into)?;
            }
        } else if let Some(kind) = known.kind.strip_prefix('*') {
            let list = into.entry(known.name).or_insert_with(|| json!([]));
            if let Value::Array(list) = list {
                read_repeated(kind, field.value, list)?;
            }
        } else if let Some(kind) = known.kind.strip_prefix('%') {
            let map = into.entry(known.name).or_insert_with(|| json!({}));
            read_entry(kind, field.value, super::value::fields(map))?;
        } else {
            let value = read_value(known.kind, field.value)?;
            if !is_left_out(known.name, &value) {
                into.insert(known.name.to_owned(), value);
            }
        }
    }
    Ok(())
}

fn read_repeated(kind: &str, value: Wire<'_>, list: &mut Vec<Value>) -> Result<()> {
    match (kind, value) {
        // Numbers may come packed, many in one field.
        ("i", Wire::Bytes(mut packed)) => {
            while !packed.is_empty() {
                let (number, rest) = wire::varint(packed)?;
                list.push(json!(number.cast_signed()));
                packed = rest;
            }
        }
        (kind, value) => list.push(read_value(kind, value)?),
    }
    Ok(())
}

fn read_entry(kind: &str, value: Wire<'_>, map: &mut Map<String, Value>) -> Result<()> {
    let Wire::Bytes(entry) = value else {
        return Err("a map entry is no message".to_owned());
    };
    let (mut key, mut found) = (String::new(), None);
    for field in wire::fields(entry) {
        match field? {
            Field { number: 1, value: Wire::Bytes(text) } => key = utf8(text)?,
            Field { number: 2, value } => found = Some(read_value(kind, value)?),
            _ => {}
        }
    }
    let empty = if kind.starts_with('m') { json!({}) } else { json!("") };
    map.insert(key, found.unwrap_or(empty));
    Ok(())
}

fn read_value(kind: &str, value: Wire<'_>) -> Result<Value> {
    let value = match (kind, value) {
        ("s", Wire::Bytes(bytes)) => json!(utf8(bytes)?),
        ("b", Wire::Bytes(bytes)) => json!(STANDARD.encode(bytes)),
        ("i", Wire::Number(number)) => json!(number.cast_signed()),
        ("t", Wire::Number(number)) => json!(number != 0),
        ("d", Wire::Number(bits)) => json!(f64::from_bits(bits)),
        ("T" | "U", Wire::Bytes(bytes)) => time(kind, bytes)?,
        ("D", Wire::Bytes(bytes)) => json!(format!("{}ns", number(bytes, 1)?)),
        ("Q", Wire::Bytes(bytes)) => json!(text(bytes, 1)?),
        ("I", Wire::Bytes(bytes)) if number(bytes, 1)? == 0 => json!(number(bytes, 2)?),
        ("I", Wire::Bytes(bytes)) => json!(text(bytes, 3)?),
        ("F", Wire::Bytes(bytes)) => serde_json::from_str(&text(bytes, 1)?).unwrap_or(Value::Null),
        ("L", Wire::Bytes(bytes)) => {
            let mut list = Vec::new();
            for field in wire::fields(bytes) {
                if let Field { number: 1, value: Wire::Bytes(text) } = field? {
                    list.push(json!(utf8(text)?));
                }
            }
            json!(list)
        }
        (kind, Wire::Bytes(bytes)) if kind.starts_with('m') => {
            let mut fields = Map::new();
            read_message(&kind[1..], bytes, &mut fields)?;
            Value::Object(fields)
        }
        _ => return Err(format!("a field of type {kind} has another type on the wire")),
    };
    Ok(value)
}

/// Go writes fields without a value too. They are to be left out, but for those in which being
/// zero is different from not being there.
fn is_left_out(name: &str, value: &Value) -> bool {
    const ZERO_COUNTS: &[&str] = &[
        "activeDeadlineSeconds",
        "allowPrivilegeEscalation",
        "allowVolumeExpansion",
        "allocateLoadBalancerNodePorts",
        "automountServiceAccountToken",
        "averageUtilization",
        "backoffLimit",
        "blockOwnerDeletion",
        "completions",
        "controller",
        "defaultMode",
        "enableServiceLinks",
        "expirationSeconds",
        "failedJobsHistoryLimit",
        "fsGroup",
        "gracePeriodSeconds",
        "hostUsers",
        "immutable",
        "minReplicas",
        "mode",
        "optional",
        "orphanDependents",
        "parallelism",
        "partition",
        "priority",
        "privileged",
        "progressDeadlineSeconds",
        "readOnlyRootFilesystem",
        "replicas",
        "revisionHistoryLimit",
        "runAsGroup",
        "runAsNonRoot",
        "runAsUser",
        "setHostnameAsFQDN",
        "shareProcessNamespace",
        "startingDeadlineSeconds",
        "storageClassName",
        "successfulJobsHistoryLimit",
        "suspend",
        "terminationGracePeriodSeconds",
        "tolerationSeconds",
        "ttlSecondsAfterFinished",
    ];
    let is_zero = match value {
        Value::Null => return true,
        Value::String(text) => text.is_empty(),
        Value::Bool(truth) => !truth,
        Value::Number(number) => number.as_i64() == Some(0),
        _ => false,
    };
    is_zero && !ZERO_COUNTS.contains(&name)
}

fn time(kind: &str, bytes: &[u8]) -> Result<Value> {
    let (seconds, nanos) = (number(bytes, 1)?, number(bytes, 2)?);
    // Go's zero time is no time.
    if bytes.is_empty() || seconds < -62_135_596_000 {
        return Ok(Value::Null);
    }
    let time = i32::try_from(nanos)
        .ok()
        .and_then(|nanos| Timestamp::new(seconds, nanos).ok())
        .ok_or("a time is out of range")?;
    Ok(json!(if kind == "U" { micro_stamp(time) } else { stamp(time) }))
}

fn number(bytes: &[u8], wanted: u64) -> Result<i64> {
    let mut found = 0;
    for field in wire::fields(bytes) {
        let field = field?;
        if let (true, Wire::Number(number)) = (field.number == wanted, field.value) {
            found = number.cast_signed();
        }
    }
    Ok(found)
}

fn text(bytes: &[u8], wanted: u64) -> Result<String> {
    let mut found = String::new();
    for field in wire::fields(bytes) {
        let field = field?;
        if let (true, Wire::Bytes(bytes)) = (field.number == wanted, field.value) {
            found = utf8(bytes)?;
        }
    }
    Ok(found)
}

fn utf8(bytes: &[u8]) -> Result<String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| "a text is not UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let length = u8::try_from(bytes.len()).unwrap();
        [&[number << 3 | 2, length], bytes].concat()
    }

    fn enveloped(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
        let meta = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
        [MAGIC.to_vec(), field(1, &meta), field(2, raw)].concat()
    }

    #[test]
    fn a_config_map_is_read() {
        let metadata = [field(1, b"settings"), field(2, b"")].concat();
        let entry = [field(1, b"a"), field(2, b"b")].concat();
        let raw = [field(1, &metadata), field(2, &entry)].concat();
        let object = read(&enveloped("v1", "ConfigMap", &raw)).unwrap();
        assert_eq!(object, json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": { "name": "settings" },
            "data": { "a": "b" },
        }));
    }

    #[test]
    fn no_grace_is_not_the_same_as_none_said() {
        let object = read(&enveloped("v1", "DeleteOptions", &[1 << 3, 0])).unwrap();
        assert_eq!(object["gracePeriodSeconds"], 0);
    }

    #[test]
    fn what_is_cut_short_or_unknown_is_refused() {
        let whole = enveloped("v1", "ConfigMap", &field(1, &field(1, b"settings")));
        for length in MAGIC.len() + 1..whole.len() {
            assert!(read(&whole[..length]).is_err(), "{length} bytes");
        }
        assert!(read(&enveloped("v1", "Gadget", &[])).unwrap_err().contains("Gadget"));
        assert!(read(b"{}").is_err());
    }

    #[test]
    fn every_message_that_is_referred_to_is_there() {
        for (name, message) in messages() {
            for field in message.values() {
                let kind = field.kind.trim_start_matches(['*', '%']);
                if let Some(inner) = kind.strip_prefix('m') {
                    let empty = inner.ends_with("Source") || inner.ends_with("Parameters") || inner.ends_with("Status");
                    assert!(messages().contains_key(inner) || empty, "{name}: {inner}");
                }
            }
        }
    }

    #[test]
    fn every_served_kind_is_there() {
        for resource in RESOURCES {
            let message = message_of(&resource.api_version(), resource.kind);
            assert_eq!(message, resource.schema.strip_prefix("io.k8s.api."));
        }
    }
}
