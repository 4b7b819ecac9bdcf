//! What a service wants a sign-in to show: the claims challenge of a 401.
//!
//! `WWW-Authenticate: Bearer …, error="insufficient_claims", claims="<base64 of JSON>"`, as Entra's
//! continuous access evaluation and conditional access have it. The claims are sent on as they are.

use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::{Engine as _, alphabet};
use http::{StatusCode, header};

use crate::net::Answer;

/// The claims that `answer` asks for, JSON, if it does.
pub(super) fn claims(answer: &Answer) -> Option<String> {
    if answer.status != StatusCode::UNAUTHORIZED {
        return None;
    }
    let challenges = answer.headers.get_all(header::WWW_AUTHENTICATE);
    challenges
        .iter()
        .filter_map(|value| value.to_str().ok())
        .find_map(|challenge| decode(&parameter(challenge, "claims")?))
}

/// The value of `name` in a challenge: quoted, with backslashes before quotes, or a token.
pub(super) fn parameter(challenge: &str, name: &str) -> Option<String> {
    let mut rest = challenge;
    while let Some((before, after)) = rest.split_once('=') {
        let found = before
            .rsplit([' ', ',', '\t'])
            .next()
            .is_some_and(|word| word.eq_ignore_ascii_case(name));
        let (value, remaining) = after
            .strip_prefix('"')
            .map_or_else(|| token(after), unquote);
        if found {
            return Some(value);
        }
        rest = remaining;
    }
    None
}

/// What stands before a comma or a space, and what follows it.
fn token(bare: &str) -> (String, &str) {
    let (value, rest) = bare.split_at(bare.find([',', ' ']).unwrap_or(bare.len()));
    (value.to_owned(), rest)
}

/// What stands before the closing quote, and what follows it.
fn unquote(quoted: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((index, c)) = chars.next() {
        match c {
            '"' => return (value, &quoted[index + 1..]),
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            c => value.push(c),
        }
    }
    (value, "")
}

/// JSON, in base64 of either alphabet, with or without padding.
fn decode(encoded: &str) -> Option<String> {
    let lenient =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let engines = [
        GeneralPurpose::new(&alphabet::STANDARD, lenient),
        GeneralPurpose::new(&alphabet::URL_SAFE, lenient),
    ];
    let bytes = engines
        .iter()
        .find_map(|engine| engine.decode(encoded).ok())?;
    let text = String::from_utf8(bytes).ok()?;
    let is_json = serde_json::from_str::<serde_json::Map<_, _>>(&text).is_ok();
    is_json.then_some(text)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderValue;

    use super::*;

    const CLAIMS: &str = r#"{"access_token":{"nbf":{"essential":true,"value":"1600000000"}}}"#;

    fn asked(status: u16, challenges: &[&str]) -> Option<String> {
        let headers = challenges.iter().map(|challenge| {
            let value = HeaderValue::from_str(challenge).expect("a header value");
            (header::WWW_AUTHENTICATE, value)
        });
        claims(&Answer {
            status: StatusCode::from_u16(status).expect("a status"),
            headers: headers.collect(),
            body: Bytes::new(),
        })
    }

    #[test]
    fn claims_are_read_from_the_challenge_that_has_them() {
        use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
        for encoded in [
            BASE64_STANDARD.encode(CLAIMS),
            BASE64_URL_SAFE_NO_PAD.encode(CLAIMS),
        ] {
            let challenge = format!(
                r#"Bearer realm="", authorization_uri="https://login.example/common?a=b", error_description="he said \"claims=x\"", error="insufficient_claims", claims="{encoded}""#
            );
            let found = asked(401, &["Negotiate", &challenge]);
            assert_eq!(found.as_deref(), Some(CLAIMS));
            let bare = format!("Bearer claims={encoded}, error=insufficient_claims");
            assert_eq!(asked(401, &[&bare]).as_deref(), Some(CLAIMS));
            assert_eq!(asked(403, &[&challenge]), None);
        }
    }

    #[test]
    fn what_asks_for_nothing_is_no_challenge() {
        for challenge in [
            "Bearer",
            r#"Bearer error="invalid_token", error_description="expired""#,
            r#"Bearer claims="""#,
            r#"Bearer claims="!!""#,
            r#"Bearer claims="bm8=""#,
            r#"Bearer claims="eyJhIjox"#,
            "Bearer claims=",
            r#"Bearer error_description="a\"#,
        ] {
            assert_eq!(asked(401, &[challenge]), None, "{challenge}");
        }
    }
}
