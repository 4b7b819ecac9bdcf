//! The entry as text, in the two styles a kubeconfig can be written in.
//!
//! Block text quotes whatever some reader of YAML 1.1 or 1.2 could take for anything but a string.
//! Flow text is JSON, which is valid in a YAML file and leaves a JSON file JSON.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Entry;

/// The lists of a kubeconfig, in the order kubectl writes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    Clusters,
    Contexts,
    Users,
}

impl Section {
    pub(super) const ALL: [Self; 3] = [Self::Clusters, Self::Contexts, Self::Users];

    /// The key at the root.
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::Clusters => "clusters",
            Self::Contexts => "contexts",
            Self::Users => "users",
        }
    }

    /// What the item of this list is called in `entry`.
    pub(super) fn name<'a>(self, entry: &Entry<'a>) -> &'a str {
        match self {
            Self::Clusters | Self::Contexts => entry.context,
            Self::Users => entry.user,
        }
    }

    /// The item of this list, its keys sorted as kubectl sorts them.
    pub(super) fn item(self, entry: &Entry<'_>, namespace: Option<&str>) -> Item {
        let name = ("name", Item::string(self.name(entry)));
        match self {
            Self::Clusters => {
                let authority = STANDARD.encode(entry.certificate_authority_pem);
                Item::Map(vec![
                    (
                        "cluster",
                        Item::Map(vec![
                            ("certificate-authority-data", Item::String(authority)),
                            ("server", Item::string(entry.server)),
                        ]),
                    ),
                    name,
                ])
            }
            Self::Contexts => {
                let mut context = vec![("cluster", Item::string(entry.context))];
                context.extend(namespace.map(|n| ("namespace", Item::string(n))));
                context.push(("user", Item::string(entry.user)));
                Item::Map(vec![("context", Item::Map(context)), name])
            }
            Self::Users => Item::Map(vec![
                name,
                (
                    "user",
                    Item::Map(vec![("token", Item::string(entry.token))]),
                ),
            ]),
        }
    }
}

/// A value that arcproxy writes.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Item {
    String(String),
    Map(Vec<(&'static str, Self)>),
}

impl Item {
    fn string(value: &str) -> Self {
        Self::String(value.to_owned())
    }

    /// In flow style, on one line.
    pub(super) fn flow(&self) -> String {
        match self {
            Self::String(value) => quoted(value),
            Self::Map(pairs) => {
                let pairs: Vec<_> = pairs
                    .iter()
                    .map(|(key, value)| format!("{}: {}", quoted(key), value.flow()))
                    .collect();
                format!("{{{}}}", pairs.join(", "))
            }
        }
    }

    /// In block style: the first line as it goes after a dash, the others after `indent`.
    pub(super) fn block(&self, indent: &str, newline: &str) -> String {
        match self {
            Self::String(value) => scalar(value),
            Self::Map(pairs) => {
                let lines: Vec<_> = pairs
                    .iter()
                    .map(|(key, value)| match value {
                        Self::String(value) => format!("{key}: {}", scalar(value)),
                        Self::Map(_) => {
                            let indent = format!("{indent}  ");
                            let value = value.block(&indent, newline);
                            format!("{key}:{newline}{indent}{value}")
                        }
                    })
                    .collect();
                lines.join(&format!("{newline}{indent}"))
            }
        }
    }
}

/// A whole kubeconfig with the entry alone.
pub(super) fn document(entry: &Entry<'_>, newline: &str) -> String {
    let [clusters, contexts, users] =
        Section::ALL.map(|section| list(section, entry, "", newline).join(newline));
    let current = scalar(entry.context);
    [
        "apiVersion: v1",
        &clusters,
        &contexts,
        &format!("current-context: {current}"),
        "kind: Config",
        "preferences: {}",
        &users,
        "",
    ]
    .join(newline)
}

/// A list with its key, the entry's item its only one: the key's line, and the item's lines.
pub(super) fn list(
    section: Section,
    entry: &Entry<'_>,
    indent: &str,
    newline: &str,
) -> [String; 2] {
    let item = section
        .item(entry, None)
        .block(&format!("{indent}  "), newline);
    [
        format!("{indent}{}:", section.key()),
        format!("{indent}- {item}"),
    ]
}

/// `value` as a scalar in block style, plain where every reader agrees that it is a string.
pub(super) fn scalar(value: &str) -> String {
    if is_plain(value) {
        value.to_owned()
    } else {
        quoted(value)
    }
}

/// Whether `value`, unquoted, is a string by YAML 1.1 and 1.2 alike.
pub(super) fn is_plain(value: &str) -> bool {
    const RESERVED: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];
    value.starts_with(|c: char| c.is_ascii_alphabetic())
        && value
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_./:+=@".contains(c))
        && !value.ends_with(':')
        && !RESERVED.contains(&value.to_ascii_lowercase().as_str())
}

/// `value` in double quotes, with escapes that JSON and YAML share.
pub(super) fn quoted(value: &str) -> String {
    let mut text = String::with_capacity(value.len() + 2);
    text.push('"');
    for c in value.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            '\r' => text.push_str("\\r"),
            // Not printable by YAML's rules, or a line break to some readers.
            c if c.is_control()
                || matches!(
                    c,
                    '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
                ) =>
            {
                let code = u32::from(c);
                write!(text, "\\u{code:04x}").expect("a string takes whatever is written");
            }
            c => text.push(c),
        }
    }
    text.push('"');
    text
}
