//! Objects as the tables that `kubectl get` prints: the columns of the real server.

mod cluster;
mod config;
mod format;
mod network;
mod workloads;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::convert;
use super::resources::Resource;

/// One column.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    name: &'static str,
    kind: &'static str,
    wide: bool,
}

/// A column that is always printed.
const fn text(name: &'static str) -> Column {
    Column {
        name,
        kind: "string",
        wide: false,
    }
}

/// A column of numbers.
const fn number(name: &'static str) -> Column {
    Column {
        name,
        kind: "integer",
        wide: false,
    }
}

/// A column that is printed with `-o wide` only.
const fn wide(name: &'static str) -> Column {
    Column {
        name,
        kind: "string",
        wide: true,
    }
}

/// How a kind is printed.
struct Printer {
    columns: Vec<Column>,
    cells: fn(&Value, Timestamp) -> Vec<Value>,
}

fn printer(resource: &Resource) -> Printer {
    workloads::printer(resource.plural)
        .or_else(|| network::printer(resource.plural))
        .or_else(|| cluster::printer(resource.plural))
        .or_else(|| config::printer(resource.plural))
        .unwrap_or(Printer {
            columns: vec![text("Name"), text("Age")],
            cells: |object, now| vec![format::name(object), format::age(object, now)],
        })
}

/// The table of `objects` at `now`.
pub(super) fn table<'a>(
    resource: &Resource,
    objects: impl Iterator<Item = &'a Value>,
    now: Timestamp,
    whole_rows: bool,
) -> Value {
    let printer = printer(resource);
    let columns: Vec<Value> = printer
        .columns
        .iter()
        .map(|column| {
            json!({
                "name": column.name,
                "type": column.kind,
                "format": if column.name == "Name" { "name" } else { "" },
                "description": column.name,
                "priority": u8::from(column.wide),
            })
        })
        .collect();
    let mut version = Value::Null;
    let rows: Vec<Value> = objects
        .map(|object| {
            version = object["metadata"]["resourceVersion"].clone();
            let carried = if whole_rows {
                convert::shown(resource, object)
            } else {
                partial(object)
            };
            json!({ "cells": (printer.cells)(object, now), "object": carried })
        })
        .collect();
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": { "resourceVersion": version },
        "columnDefinitions": columns,
        "rows": rows,
    })
}

/// The metadata of an object as an object of its own.
pub(super) fn partial(object: &Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": object["metadata"],
    })
}

#[cfg(test)]
mod tests {
    use super::super::resources::RESOURCES;
    use super::super::value;
    use super::*;

    #[test]
    fn every_kind_prints_as_many_cells_as_columns_even_of_an_empty_object() {
        for resource in RESOURCES {
            let printer = printer(resource);
            let cells = (printer.cells)(&json!({}), Timestamp::UNIX_EPOCH);
            assert_eq!(cells.len(), printer.columns.len(), "{}", resource.plural);
        }
    }

    #[test]
    fn rows_carry_metadata_unless_asked_for_more() {
        let object =
            json!({ "metadata": { "name": "x", "resourceVersion": "7" }, "data": { "a": "b" } });
        let resource = super::super::resources::known("configmaps");
        let slim = table(
            resource,
            std::iter::once(&object),
            Timestamp::UNIX_EPOCH,
            false,
        );
        assert_eq!(
            value::text(&slim, "/rows/0/object/kind"),
            "PartialObjectMetadata"
        );
        assert_eq!(slim["rows"][0]["cells"], json!(["x", 1, "<unknown>"]));
        let whole = table(
            resource,
            std::iter::once(&object),
            Timestamp::UNIX_EPOCH,
            true,
        );
        assert_eq!(value::text(&whole, "/rows/0/object/data/a"), "b");
    }
}
