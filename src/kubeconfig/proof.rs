//! The proof that a merge changed what it should and nothing else.
//!
//! It knows nothing of text and positions: it compares values, read by serde-saphyr.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::emit::{Item, Section};
use super::{Entry, MergeError};

/// Any YAML value. Mappings are sorted, for their order means nothing, and keep keys that occur
/// more than once; floats keep their bits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Integer(i128),
    Unsigned(u128),
    Float(u64),
    String(String),
    Bytes(Vec<u8>),
    Sequence(Vec<Value>),
    Mapping(Vec<(Value, Value)>),
}

/// Reads a text that holds one document or none.
pub(super) fn read(text: &str) -> Result<Value, MergeError> {
    let options = serde_saphyr::options! {
        // An excerpt in an error message could be a secret.
        with_snippet: false,
        // Not ours to judge, as long as they all stay.
        duplicate_keys: serde_saphyr::options::DuplicateKeyPolicy::PassThrough,
        merge_keys: serde_saphyr::options::MergeKeyPolicy::AsOrdinary,
        non_finite_float_policy: serde_saphyr::options::NonFiniteFloatPolicy::PassThrough,
    };
    let read = serde_saphyr::from_str_with_options::<Option<Value>>(text, options);
    match read {
        Ok(value) => Ok(value.unwrap_or(Value::Null)),
        Err(error) => {
            let (line, column) = error
                .location()
                .map_or((1, 1), |at| (at.line(), at.column()));
            Err(MergeError::NotYaml {
                line: usize::try_from(line).unwrap_or(usize::MAX),
                column: usize::try_from(column).unwrap_or(usize::MAX),
                problem: "it cannot be read".to_owned(),
            })
        }
    }
}

/// What the kubeconfig `before` must be once the entry is in it; none if it is not a kubeconfig.
pub(super) fn expected(before: Value, entry: &Entry<'_>) -> Option<Value> {
    let mut root = match before {
        Value::Mapping(pairs) if !pairs.is_empty() => pairs,
        Value::Null | Value::Mapping(_) => {
            return read(&super::fresh(entry)).ok();
        }
        _ => return None,
    };
    for section in Section::ALL {
        let items = slot(&mut root, section.key());
        if *items == Value::Null {
            *items = Value::Sequence(Vec::new());
        }
        let Value::Sequence(items) = items else {
            return None;
        };
        replace(items, section, entry);
    }
    *slot(&mut root, "current-context") = Value::String(entry.context.to_owned());
    root.sort();
    Some(Value::Mapping(root))
}

/// The value of `key`, which is added if it is not there.
fn slot<'a>(pairs: &'a mut Vec<(Value, Value)>, key: &str) -> &'a mut Value {
    let key = Value::String(key.to_owned());
    let at = pairs.iter().position(|(k, _)| *k == key);
    let at = at.unwrap_or_else(|| {
        pairs.push((key, Value::Null));
        pairs.len() - 1
    });
    &mut pairs[at].1
}

/// Puts the entry's item where the first of its name is, or last; others of its name go.
fn replace(items: &mut Vec<Value>, section: Section, entry: &Entry<'_>) {
    let name = Value::String(section.name(entry).to_owned());
    let is_ours = |item: &Value| item.field("name") == Some(&name);
    let first = items.iter().position(is_ours);
    let namespace = first
        .and_then(|at| items[at].field("context")?.field("namespace"))
        .and_then(|namespace| match namespace {
            Value::String(namespace) => Some(namespace.clone()),
            _ => None,
        });
    let item = Value::from(section.item(entry, namespace.as_deref()));
    let Some(first) = first else {
        items.push(item);
        return;
    };
    items[first] = item;
    let mut index = 0;
    items.retain(|item| {
        index += 1;
        index - 1 == first || !is_ours(item)
    });
}

impl Value {
    /// The value of `key`, if this is a mapping that has it.
    fn field(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Mapping(pairs) => pairs
                .iter()
                .find(|(k, _)| matches!(k, Self::String(k) if k == key))
                .map(|(_, value)| value),
            _ => None,
        }
    }
}

impl From<Item> for Value {
    fn from(item: Item) -> Self {
        match item {
            Item::String(value) => Self::String(value),
            Item::Map(pairs) => {
                let mut pairs: Vec<_> = pairs
                    .into_iter()
                    .map(|(key, value)| (Self::String(key.to_owned()), Self::from(value)))
                    .collect();
                pairs.sort();
                Self::Mapping(pairs)
            }
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Value, E> {
        Ok(Value::Integer(value))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Value, E> {
        Ok(Value::Unsigned(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value.to_bits()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_bytes<E>(self, value: &[u8]) -> Result<Value, E> {
        Ok(Value::Bytes(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Value::Sequence(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = access.next_entry()? {
            pairs.push(pair);
        }
        pairs.sort();
        Ok(Value::Mapping(pairs))
    }
}
