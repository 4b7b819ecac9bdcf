//! From words to arguments: variables, substitutions, field splitting and file names.

use std::fmt::Write as _;

use super::Shell;
use super::streams::{Output, Streams};
use super::syntax::{Part, Text, Word};
use crate::apiserver::runtime::pipe;

/// What a word or the output of a command substitution may be, bytes.
const WORD: usize = 1024 * 1024;

/// What a shell says of a word beyond that.
const TOO_LONG: &str = "Argument list too long";

/// A field being put together: its text, and which of its characters may act as a pattern.
#[derive(Debug, Default)]
struct Field {
    text: String,
    pattern: bool,
}

impl Shell {
    /// The arguments that `words` become.
    ///
    /// # Errors
    ///
    /// Says which expansion failed.
    pub(super) async fn expand(
        &mut self,
        words: &[Word],
        streams: &Streams,
    ) -> Result<Vec<String>, String> {
        let mut arguments = Vec::new();
        for word in words {
            for field in self.fields(word, streams).await? {
                if field.pattern {
                    let matches = self.matches(&field.text);
                    if !matches.is_empty() {
                        arguments.extend(matches);
                        continue;
                    }
                }
                arguments.push(field.text);
            }
        }
        Ok(arguments)
    }

    /// `word` as one string, for assignments and redirections.
    ///
    /// # Errors
    ///
    /// Says which expansion failed.
    pub(super) async fn expand_whole(
        &mut self,
        word: &Word,
        streams: &Streams,
    ) -> Result<String, String> {
        let mut whole = String::new();
        for part in &word.0 {
            whole += &self.text(part, streams).await?;
            if whole.len() > WORD {
                return Err(TOO_LONG.to_owned());
            }
        }
        Ok(whole)
    }

    async fn fields(&mut self, word: &Word, streams: &Streams) -> Result<Vec<Field>, String> {
        let mut fields = Vec::new();
        let mut field: Option<Field> = None;
        for part in &word.0 {
            // "$@" keeps arguments apart.
            if let (true, Text::Variable { name, .. }) = (part.quoted, &part.text)
                && name == "@"
            {
                let arguments = self.arguments[1..].to_vec();
                // The empty literal of the quotes themselves is not a field of its own here.
                let mut before = field.take().filter(|field| !field.text.is_empty());
                for argument in arguments {
                    let mut next = before.take().unwrap_or_default();
                    next.text += &argument;
                    fields.push(next);
                }
                continue;
            }
            let text = self.text(part, streams).await?;
            if field.as_ref().map_or(0, |field| field.text.len()) + text.len() > WORD {
                return Err(TOO_LONG.to_owned());
            }
            let literal = matches!(part.text, Text::Literal(_));
            if part.quoted || literal {
                let field = field.get_or_insert_default();
                field.pattern |= !part.quoted && text.contains(['*', '?', '[']);
                if field.text.is_empty() && literal && !part.quoted && text.starts_with('~') {
                    let home = self.get("HOME").unwrap_or_else(|| "/root".to_owned());
                    if text == "~" || text.starts_with("~/") {
                        field.text += &home;
                        field.text += &text[1..];
                        continue;
                    }
                }
                field.text += &text;
                continue;
            }
            if text.starts_with(char::is_whitespace) {
                fields.extend(field.take());
            }
            let mut pieces = text.split_whitespace().peekable();
            while let Some(piece) = pieces.next() {
                let current = field.get_or_insert_default();
                current.text += piece;
                current.pattern |= piece.contains(['*', '?', '[']);
                if pieces.peek().is_some() {
                    fields.extend(field.take());
                }
            }
            if text.ends_with(char::is_whitespace) {
                fields.extend(field.take());
            }
        }
        fields.extend(field);
        Ok(fields)
    }

    async fn text(&mut self, part: &Part, streams: &Streams) -> Result<String, String> {
        match &part.text {
            Text::Literal(text) => Ok(text.clone()),
            Text::Variable {
                name,
                default,
                length,
            } => {
                let value = self.get(name).filter(|value| !value.is_empty());
                if *length {
                    return Ok(value.map_or(0, |value| value.chars().count()).to_string());
                }
                match (value, default) {
                    (Some(value), _) => Ok(value),
                    (None, Some(default)) => Box::pin(self.expand_whole(default, streams)).await,
                    (None, None) => Ok(String::new()),
                }
            }
            Text::Arithmetic(word) => {
                let expression = Box::pin(self.expand_whole(word, streams)).await?;
                super::arithmetic::evaluate(&expression, &|name| self.get(name))
                    .map(|value| value.to_string())
            }
            Text::Output(list) => {
                let (writer, mut reader) = pipe::pipe();
                let mut shell = self.clone();
                let streams = Streams {
                    stdin: streams.stdin.clone(),
                    stdout: Output::Pipe(writer),
                    stderr: streams.stderr.clone(),
                };
                let run = async move {
                    let ended = shell.list(list, &streams).await;
                    drop(streams);
                    shell.settle(ended)
                };
                let read = async {
                    let mut output = Vec::new();
                    while let Some(chunk) = reader.chunk(usize::MAX).await {
                        if output.len() + chunk.len() > WORD {
                            return None;
                        }
                        output.extend_from_slice(&chunk);
                    }
                    Some(output)
                };
                let (status, output) = futures_util::join!(run, read);
                self.status = status;
                let output = output.ok_or(TOO_LONG)?;
                let output = String::from_utf8_lossy(&output);
                Ok(output.trim_end_matches('\n').to_owned())
            }
        }
    }

    /// The paths that match a pattern, sorted.
    fn matches(&self, pattern: &str) -> Vec<String> {
        let mut found = vec![if pattern.starts_with('/') { "/" } else { "" }.to_owned()];
        for name in pattern.split('/').filter(|name| !name.is_empty()) {
            let mut next = Vec::new();
            for above in found {
                let entries = if name.contains(['*', '?', '[']) {
                    self.container
                        .files
                        .list(&self.absolute(&above))
                        .unwrap_or_default()
                        .into_iter()
                        .map(|(entry, _)| entry)
                        .filter(|entry| name.starts_with('.') || !entry.starts_with('.'))
                        .filter(|entry| wildcard(name, entry))
                        .collect()
                } else {
                    vec![name.to_owned()]
                };
                for entry in entries {
                    let mut path = above.clone();
                    if !path.is_empty() && !path.ends_with('/') {
                        path.push('/');
                    }
                    let _ = write!(path, "{entry}");
                    if self.container.files.exists(&self.absolute(&path)) {
                        next.push(path);
                    }
                }
            }
            found = next;
        }
        found
    }
}

/// Whether `name` matches `pattern` with `*`, `?` and `[…]`.
pub(super) fn wildcard(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    let (mut at, mut from) = (0, 0);
    // Where to go on if what follows the last `*` does not match.
    let mut retry: Option<(usize, usize)> = None;
    while from < name.len() {
        let step = match pattern.get(at) {
            Some('*') => {
                retry = Some((at, from));
                at += 1;
                continue;
            }
            Some('?') => Some(at + 1),
            Some('[') => bracket(&pattern[at..], name[from]).map(|length| at + length),
            Some(literal) if *literal == name[from] => Some(at + 1),
            _ => None,
        };
        match (step, retry) {
            (Some(next), _) => (at, from) = (next, from + 1),
            (None, Some((star, start))) => {
                retry = Some((star, start + 1));
                (at, from) = (star + 1, start + 1);
            }
            (None, None) => return false,
        }
    }
    pattern[at..].iter().all(|rest| *rest == '*')
}

/// The length of the `[…]` that `pattern` starts with, if it matches `found`.
fn bracket(pattern: &[char], found: char) -> Option<usize> {
    let end = pattern.iter().skip(2).position(|next| *next == ']')? + 2;
    let negated = matches!(pattern.get(1), Some('!' | '^'));
    let set = &pattern[1 + usize::from(negated)..end];
    let mut inside = false;
    let mut at = 0;
    while at < set.len() {
        if let [low, '-', high, ..] = set[at..] {
            inside |= (low..=high).contains(&found);
            at += 3;
        } else {
            inside |= set[at] == found;
            at += 1;
        }
    }
    (inside != negated).then_some(end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_match_names() {
        for (pattern, name, matched) in [
            ("*", "anything", true),
            ("*.log", "a.log", true),
            ("*.log", "a.logs", false),
            ("a*b*c", "a-b-b-c", true),
            ("?", "", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[", "[", false),
            ("a**", "a", true),
        ] {
            assert_eq!(wildcard(pattern, name), matched, "{pattern} {name}");
        }
    }
}
