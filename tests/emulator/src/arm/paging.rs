//! Lists in pages.

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use serde_json::{Value, json};

use super::error::{self, ArmError};
use crate::request::Fields;

/// So small that a list of the demo fleet has several pages.
const PAGE: usize = 10;

/// The page of `items` that `query` asks for; `url` is the list's own, without a query.
pub(super) fn page(items: &[Value], url: &str, query: &Fields) -> Result<Value, ArmError> {
    let start = match query.get("$skiptoken") {
        None => 0,
        Some(token) => BASE64_URL_SAFE_NO_PAD
            .decode(token)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok()?.parse().ok())
            .filter(|start| *start < items.len())
            .ok_or_else(error::invalid_skip_token)?,
    };
    let end = items.len().min(start + PAGE);
    let mut answer = json!({ "value": items[start..end] });
    if end < items.len() {
        let version = query.get("api-version").unwrap_or_default();
        let token = BASE64_URL_SAFE_NO_PAD.encode(end.to_string());
        answer["nextLink"] = format!("{url}?api-version={version}&$skiptoken={token}").into();
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other_to_the_end() {
        let items: Vec<Value> = (0..23).map(Value::from).collect();
        let mut query = Fields::parse(b"api-version=2024-01-01");
        let mut seen = Vec::new();
        loop {
            let page = page(&items, "https://arm/list", &query).expect("a page");
            seen.extend(page["value"].as_array().expect("an array").clone());
            let Some(next) = page["nextLink"].as_str() else {
                break;
            };
            let (url, next) = next.split_once('?').expect("a query");
            assert_eq!(url, "https://arm/list");
            query = Fields::parse(next.as_bytes());
            assert_eq!(query.get("api-version"), Some("2024-01-01"));
        }
        assert_eq!(seen, items);
    }

    #[test]
    fn a_made_up_skip_token_is_refused() {
        for token in ["x", "OTk", "LTE"] {
            let query = Fields::parse(format!("$skiptoken={token}").as_bytes());
            let refused = page(&[Value::Null], "", &query).expect_err("no page");
            assert_eq!(refused.code, "InvalidSkipToken");
        }
    }
}
