//! Finding text in files, and files by name.

use super::{Call, Ended, LINE};
use crate::apiserver::runtime::filesystem::Kind;
use crate::apiserver::runtime::shell::expand::wildcard;

/// How many names `find` lists.
const FOUND: usize = 100_000;

impl Call<'_> {
    pub(super) async fn grep(&mut self) -> Ended {
        let (options, operands) = self.options();
        let Some((pattern, paths)) = operands.split_first() else {
            self.complain("usage: grep [-cEFhinoqv] PATTERN [FILE...]")
                .await?;
            return Ok(2);
        };
        let (inputs, failed) = self.inputs(paths).await?;
        let fold = options.contains('i');
        let pattern = if fold {
            pattern.to_lowercase()
        } else {
            (*pattern).to_owned()
        };
        let named = inputs.len() > 1 && !options.contains('h');
        let mut any = false;
        for (name, input) in inputs {
            let (mut number, mut count) = (0, 0);
            while let Some(line) = input.line(LINE).await {
                number += 1;
                let text = String::from_utf8_lossy(&line);
                let text = text.trim_end_matches('\n');
                let found = if fold {
                    contains(&text.to_lowercase(), &pattern)
                } else {
                    contains(text, &pattern)
                };
                if found == options.contains('v') {
                    continue;
                }
                any = true;
                count += 1;
                if options.contains('q') {
                    return Ok(0);
                }
                if options.contains('c') {
                    continue;
                }
                let name = if named {
                    format!("{name}:")
                } else {
                    String::new()
                };
                let number = if options.contains('n') {
                    format!("{number}:")
                } else {
                    String::new()
                };
                self.print(name + &number + text + "\n").await?;
            }
            if options.contains('c') {
                let name = if named {
                    format!("{name}:")
                } else {
                    String::new()
                };
                self.print(format!("{name}{count}\n")).await?;
            }
        }
        Ok(if failed { 2 } else { u8::from(!any) })
    }

    pub(super) async fn find(&mut self) -> Ended {
        let mut roots = Vec::new();
        let (mut name, mut kind) = (None, None);
        let mut arguments = self.arguments.iter().map(String::as_str);
        while let Some(argument) = arguments.next() {
            match argument {
                "-name" => name = arguments.next(),
                "-type" => kind = arguments.next(),
                "-maxdepth" => {
                    arguments.next();
                }
                "-print" => {}
                option if option.starts_with('-') => {
                    return self.complain(format!("unrecognized: {option}")).await;
                }
                root => roots.push(root.to_owned()),
            }
        }
        if roots.is_empty() {
            roots.push(".".to_owned());
        }
        roots.reverse();
        let mut listed = 0;
        let files = self.shell.container.files.clone();
        while let Some(path) = roots.pop() {
            let absolute = self.shell.absolute(&path);
            let metadata = match files.link_metadata(&absolute) {
                Ok(metadata) => metadata,
                Err(error) => {
                    self.complain(format!("{path}: {error}")).await?;
                    continue;
                }
            };
            let letter = match metadata.kind {
                Kind::File(_) => "f",
                Kind::Directory => "d",
                Kind::Link(_) => "l",
            };
            let last = path.rsplit('/').next().unwrap_or(&path);
            if name.is_none_or(|name| wildcard(name, last))
                && kind.is_none_or(|kind| kind == letter)
            {
                self.print(format!("{path}\n")).await?;
            }
            listed += 1;
            if letter == "d" && listed < FOUND {
                let entries = files.list(&absolute).unwrap_or_default();
                roots.extend(entries.into_iter().rev().map(|(entry, _)| {
                    if path.ends_with('/') {
                        format!("{path}{entry}")
                    } else {
                        format!("{path}/{entry}")
                    }
                }));
            }
        }
        Ok(0)
    }
}

/// Whether `text` has `pattern` in it: fixed text, with `^` and `$` as anchors, `\|` and `|`
/// between alternatives and `.*` between pieces.
fn contains(text: &str, pattern: &str) -> bool {
    pattern.replace("\\|", "|").split('|').any(|pattern| {
        let (anchored, pattern) = match pattern.strip_prefix('^') {
            Some(rest) => (true, rest),
            None => (false, pattern),
        };
        let (ends, pattern) = match pattern.strip_suffix('$') {
            Some(rest) => (true, rest),
            None => (false, pattern),
        };
        let mut glob = pattern.replace(".*", "*").replace("\\.", ".");
        if !anchored {
            glob.insert(0, '*');
        }
        if !ends {
            glob.push('*');
        }
        wildcard(&glob, text)
    })
}

#[cfg(test)]
mod tests {
    use super::contains;

    #[test]
    fn patterns_are_text_with_anchors() {
        for (text, pattern, found) in [
            ("one two", "e t", true),
            ("one two", "^two", false),
            ("one two", "two$", true),
            ("one two", "^one.*two$", true),
            ("one two", "three|two", true),
            ("", "^$", true),
            ("a", "", true),
        ] {
            assert_eq!(contains(text, pattern), found, "{text} {pattern}");
        }
    }
}
