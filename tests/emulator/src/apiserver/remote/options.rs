//! What a request asks for, from its query and headers.

use http::{HeaderMap, HeaderName, header};

/// The query of an exec or attach request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a parameter of the query"
)]
pub(super) struct Options {
    pub(super) stdin: bool,
    pub(super) stdout: bool,
    pub(super) stderr: bool,
    pub(super) tty: bool,
    pub(super) container: Option<String>,
    pub(super) command: Vec<String>,
}

impl Options {
    /// Reads a query.
    pub(super) fn parse(query: &str) -> Self {
        let mut options = Self::default();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            let set = matches!(&*value, "1" | "t" | "T" | "true" | "True" | "TRUE");
            match &*name {
                "stdin" => options.stdin = set,
                "stdout" => options.stdout = set,
                "stderr" => options.stderr = set,
                "tty" => options.tty = set,
                "container" if !value.is_empty() => options.container = Some(value.into_owned()),
                "command" => options.command.push(value.into_owned()),
                _ => {}
            }
        }
        // A terminal shows both outputs as one.
        options.stderr &= !options.tty;
        options
    }
}

/// Whether a header holds `token` among its comma-separated values, whatever the case.
pub(super) fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    values(headers, name).any(|value| value.eq_ignore_ascii_case(token))
}

/// Whether the connection is to be upgraded, to whatever.
pub(super) fn upgrades(headers: &HeaderMap) -> bool {
    has_token(headers, header::CONNECTION, "upgrade")
}

/// The comma-separated values of a header, over all its lines.
pub(super) fn values(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_read_as_an_apiserver_reads_them() {
        let options = Options::parse(
            "command=sh&command=-c&command=echo+a%20b&container=app&stdin=true&stdout=1&stderr=false",
        );
        assert_eq!(
            options,
            Options {
                stdin: true,
                stdout: true,
                stderr: false,
                tty: false,
                container: Some("app".to_owned()),
                command: vec!["sh".to_owned(), "-c".to_owned(), "echo a b".to_owned()],
            }
        );
        let terminal = Options::parse("tty=true&stdout=true&stderr=true");
        assert!(terminal.tty && !terminal.stderr);
    }
}
