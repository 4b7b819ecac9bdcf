//! The edits that bring the entry into the text: which bytes go, and what comes in their place.

use std::ops::Range;

use super::emit::{self, Item, Section};
use super::tree::{self, Document, Kind, Node};
use super::{Entry, MergeError};

/// `text`, parsed as `document`, with the entry in it.
///
/// Leaves to its caller to prove that the result is what it should be.
pub(super) fn merge(
    text: &str,
    document: &Document,
    entry: &Entry<'_>,
) -> Result<String, MergeError> {
    let mut splicer = Splicer {
        text,
        newline: newline(text),
        document,
        entry,
        edits: Vec::new(),
    };
    let root = match &document.root {
        None => return Ok(splicer.appended()),
        Some(root) if root.is_null() && root.range.is_empty() => return Ok(splicer.appended()),
        Some(root) if root.is_null() || text.trim() == "{}" => {
            return Ok(splicer.replaced(&root.range));
        }
        Some(root) => root,
    };
    splicer.root(root)?;
    splicer.apply()
}

struct Edit {
    range: Range<usize>,
    text: String,
}

struct Splicer<'a> {
    text: &'a str,
    newline: &'static str,
    document: &'a Document,
    entry: &'a Entry<'a>,
    edits: Vec<Edit>,
}

impl Splicer<'_> {
    /// A text without content, perhaps with comments: they stay above.
    fn appended(&self) -> String {
        let fresh = emit::document(self.entry, self.newline);
        let gap = if self.text.is_empty() || self.text.ends_with('\n') {
            ""
        } else {
            self.newline
        };
        format!("{}{gap}{fresh}", self.text)
    }

    fn replaced(&self, root: &Range<usize>) -> String {
        let fresh = emit::document(self.entry, self.newline);
        let (before, after) = (&self.text[..root.start], &self.text[root.end..]);
        format!("{before}{}{after}", fresh.trim_end())
    }

    fn root(&mut self, root: &Node) -> Result<(), MergeError> {
        let Kind::Mapping { flow, pairs } = &root.kind else {
            return Err(self.not_kubeconfig(root.range.start, "the root is not a mapping"));
        };
        let mut missing = Missing::default();
        for section in Section::ALL {
            match self.pair(pairs, section.key())? {
                Some((key, value)) => self.section(*flow, section, key, value)?,
                None => missing.sections.push(section),
            }
        }
        match self.pair(pairs, "current-context")? {
            Some((key, value)) => self.current_context(*flow, key, value)?,
            None => missing.current_context = true,
        }
        if missing.current_context || !missing.sections.is_empty() {
            self.missing(root, pairs, *flow, &missing);
        }
        Ok(())
    }

    /// The pair with this key.
    fn pair<'n>(
        &self,
        pairs: &'n [(Node, Node)],
        key: &str,
    ) -> Result<Option<&'n (Node, Node)>, MergeError> {
        let mut found = pairs
            .iter()
            .filter(|(k, _)| self.document.resolve(k).scalar() == Some(key));
        let first = found.next();
        if let Some((second, _)) = found.next() {
            let problem = format!("a second `{key}`");
            return Err(self.not_kubeconfig(second.range.start, &problem));
        }
        Ok(first)
    }

    fn section(
        &mut self,
        flow: bool,
        section: Section,
        key: &Node,
        value: &Node,
    ) -> Result<(), MergeError> {
        match &value.kind {
            Kind::Alias(_) => Err(MergeError::Anchored {
                line: tree::line(self.text, value.range.start),
            }),
            Kind::Sequence { items, .. } if items.is_empty() => {
                self.fill(flow, section, key, value)
            }
            Kind::Sequence { flow, items } => self.items(*flow, section, items),
            _ if value.is_null() => self.fill(flow, section, key, value),
            _ => {
                let problem = format!("`{}` is not a list", section.key());
                Err(self.not_kubeconfig(value.range.start, &problem))
            }
        }
    }

    /// Puts the item into a list that is empty or null.
    fn fill(
        &mut self,
        flow: bool,
        section: Section,
        key: &Node,
        value: &Node,
    ) -> Result<(), MergeError> {
        let item = section.item(self.entry, None);
        let colon = self.colon(key)?;
        let covered = &self.text[value.range.clone()];
        if covered.contains('\n') && covered.ends_with(']') {
            // There may be comments between the brackets.
            self.insert(value.range.end - 1, item.flow());
        } else if flow {
            self.replace(colon..value.range.end, format!(" [{}]", item.flow()));
        } else {
            let indent = self.indent(key.range.start);
            let [_, line] = emit::list(section, self.entry, indent, self.newline);
            self.replace(colon..value.range.end, String::new());
            self.insert_line(value.range.end, &line);
        }
        Ok(())
    }

    fn items(&mut self, flow: bool, section: Section, items: &[Node]) -> Result<(), MergeError> {
        let name = section.name(self.entry);
        let mut ours = items.iter().enumerate().filter(|(_, item)| {
            let item = self.document.resolve(item);
            item.field("name")
                .is_some_and(|n| self.document.resolve(n).scalar() == Some(name))
        });
        let first = ours.next();
        let others: Vec<_> = ours.collect();
        match first {
            Some((_, node)) => {
                let item = section.item(self.entry, self.namespace(node));
                self.update(flow, node, &item);
            }
            None => self.append(flow, items, &section.item(self.entry, None))?,
        }
        for (index, item) in others {
            if flow {
                let start = items[index - 1].range.end;
                self.replace(start..item.range.end, String::new());
            } else {
                let dash = self.dash(item)?;
                let start = line_start(self.text, dash);
                let end = next_line(self.text, item.range.end);
                // Blank lines would become part of a `|+` above.
                self.replace(start..end + blank_lines(&self.text[end..]), String::new());
            }
        }
        Ok(())
    }

    /// The namespace that somebody chose for the context `node`.
    fn namespace<'n>(&'n self, node: &'n Node) -> Option<&'n str> {
        let context = self.document.resolve(node).field("context")?;
        let namespace = self.document.resolve(context).field("namespace")?;
        self.document
            .resolve(namespace)
            .scalar()
            .filter(|_| !namespace.is_null())
    }

    /// Makes the item at `node` what it should be, with as small a change as does it.
    fn update(&mut self, flow: bool, node: &Node, item: &Item) {
        let mark = self.edits.len();
        if !self.document.has_anchors(&node.range) && self.patch(flow, node, item) {
            return;
        }
        self.edits.truncate(mark);
        let is_block = matches!(node.kind, Kind::Mapping { flow: false, .. });
        let text = if is_block && !self.document.has_anchors(&node.range) {
            let column = node.range.start - line_start(self.text, node.range.start);
            item.block(&" ".repeat(column), self.newline)
        } else {
            item.flow()
        };
        self.replace(self.trimmed(node.range.clone()), text);
    }

    /// Changes only the scalars that differ; false if the shapes do.
    fn patch(&mut self, flow: bool, node: &Node, item: &Item) -> bool {
        match (&node.kind, item) {
            (Kind::Mapping { flow: inner, pairs }, Item::Map(wanted)) => {
                pairs.len() == wanted.len()
                    && wanted.iter().all(|(key, value)| {
                        node.field(key)
                            .is_some_and(|node| self.patch(flow || *inner, node, value))
                    })
            }
            (Kind::Scalar { value, style }, Item::String(wanted)) => {
                let is_string = *style != serde_saphyr::granit_parser::ScalarStyle::Plain
                    || emit::is_plain(value);
                if value == wanted && is_string {
                    return true;
                }
                if node.is_block_scalar() || node.range.is_empty() {
                    return false;
                }
                self.replace(node.range.clone(), scalar(flow, wanted));
                true
            }
            _ => false,
        }
    }

    fn append(&mut self, flow: bool, items: &[Node], item: &Item) -> Result<(), MergeError> {
        let (Some(first), Some(last)) = (items.first(), items.last()) else {
            return Ok(());
        };
        if flow {
            let separator = self.separator(first.range.start);
            self.insert(last.range.end, format!(",{separator}{}", item.flow()));
        } else {
            let dash = self.dash(last)?;
            let indent = self.indent(dash);
            let item = item.block(&format!("{indent}  "), self.newline);
            self.insert_line(last.range.end, &format!("{indent}- {item}"));
        }
        Ok(())
    }

    fn current_context(&mut self, flow: bool, key: &Node, value: &Node) -> Result<(), MergeError> {
        let wanted = self.entry.context;
        let node = self.document.resolve(value);
        match &node.kind {
            Kind::Scalar { value: is, style }
                if is == wanted
                    && (*style != serde_saphyr::granit_parser::ScalarStyle::Plain
                        || emit::is_plain(is)) =>
            {
                return Ok(());
            }
            Kind::Scalar { .. } => {}
            _ => {
                let problem = "`current-context` is not a string";
                return Err(self.not_kubeconfig(value.range.start, problem));
            }
        }
        if value.is_block_scalar() {
            let range = self.trimmed(self.colon(key)?..value.range.end);
            self.replace(range, format!(" {}", emit::scalar(wanted)));
        } else if value.range.is_empty() {
            self.insert(self.colon(key)?, format!(" {}", scalar(flow, wanted)));
        } else {
            self.replace(value.range.clone(), scalar(flow, wanted));
        }
        Ok(())
    }

    /// Adds root keys that are not there.
    fn missing(&mut self, root: &Node, pairs: &[(Node, Node)], flow: bool, missing: &Missing) {
        let current = "current-context";
        if flow {
            let mut texts: Vec<_> = missing
                .sections
                .iter()
                .map(|section| {
                    let item = section.item(self.entry, None).flow();
                    format!("{}: [{item}]", emit::quoted(section.key()))
                })
                .collect();
            if missing.current_context {
                let value = emit::quoted(self.entry.context);
                texts.push(format!("{}: {value}", emit::quoted(current)));
            }
            match (pairs.first(), pairs.last()) {
                (Some((first, _)), Some((_, last))) => {
                    let separator = format!(",{}", self.separator(first.range.start));
                    let text = format!("{separator}{}", texts.join(&separator));
                    self.insert(last.range.end, text);
                }
                _ => self.insert(root.range.end - 1, texts.join(", ")),
            }
        } else {
            let indent = pairs
                .first()
                .map_or("", |(key, _)| self.indent(key.range.start));
            let mut lines = Vec::new();
            for section in &missing.sections {
                lines.extend(emit::list(*section, self.entry, indent, self.newline));
            }
            if missing.current_context {
                let value = emit::scalar(self.entry.context);
                lines.push(format!("{indent}{current}: {value}"));
            }
            self.insert_line(root.range.end, &lines.join(self.newline));
        }
    }

    fn replace(&mut self, range: Range<usize>, text: String) {
        if self.text[range.clone()] != text {
            self.edits.push(Edit { range, text });
        }
    }

    fn insert(&mut self, at: usize, text: String) {
        self.edits.push(Edit {
            range: at..at,
            text,
        });
    }

    /// Inserts whole lines below the line on which `end` ends.
    fn insert_line(&mut self, end: usize, lines: &str) {
        let at = next_line(self.text, end);
        let text = if at == 0 || self.text[..at].ends_with('\n') {
            format!("{lines}{}", self.newline)
        } else {
            format!("{}{lines}", self.newline)
        };
        self.insert(at, text);
    }

    fn apply(mut self) -> Result<String, MergeError> {
        // Stable: edits at one place stay in the order in which they were made.
        self.edits.sort_by_key(|edit| edit.range.start);
        let mut result = String::with_capacity(self.text.len() + 1024);
        let mut copied = 0;
        for Edit { range, text } in &self.edits {
            if !range.is_empty() && self.document.is_shared(range) {
                return Err(MergeError::Anchored {
                    line: tree::line(self.text, range.start),
                });
            }
            // What is inserted where something goes comes after it.
            let start = if range.is_empty() {
                range.start.max(copied)
            } else {
                range.start
            };
            let between = self.text.get(copied..start);
            result.push_str(between.ok_or(MergeError::Unfaithful)?);
            result.push_str(text);
            copied = range.end.max(start);
        }
        result.push_str(&self.text[copied..]);
        Ok(result)
    }

    fn colon(&self, key: &Node) -> Result<usize, MergeError> {
        tree::after_colon(self.text, key.range.end).ok_or(MergeError::Unfaithful)
    }

    /// `range` without the blank lines that a block scalar ends with.
    fn trimmed(&self, range: Range<usize>) -> Range<usize> {
        let covered = self.text[range.clone()].trim_end();
        range.start..range.start + covered.len()
    }

    /// The dash in front of a block list's item.
    fn dash(&self, item: &Node) -> Result<usize, MergeError> {
        let mut end = item.range.start;
        loop {
            let start = line_start(self.text, end);
            let before = &self.text[start..end];
            // Between the dash and an item that starts on a later line, only comments fit.
            let before = match before.find('#') {
                Some(comment) => &before[..comment],
                None => before,
            };
            let before = before.trim_end();
            if before.ends_with('-') {
                return Ok(start + before.len() - 1);
            }
            if start == 0 || !before.is_empty() {
                return Err(MergeError::Unfaithful);
            }
            end = start - 1;
        }
    }

    /// What is in front of `at` on its line, if it is blank.
    fn indent(&self, at: usize) -> &str {
        let before = &self.text[line_start(self.text, at)..at];
        if before.trim().is_empty() { before } else { "" }
    }

    /// What goes between a comma and the next item of a flow collection whose first is at `first`.
    fn separator(&self, first: usize) -> String {
        let indent = self.indent(first);
        let line = line_start(self.text, first);
        if line > 0 && line + indent.len() == first {
            format!("{}{indent}", self.newline)
        } else {
            " ".to_owned()
        }
    }

    fn not_kubeconfig(&self, at: usize, problem: &str) -> MergeError {
        MergeError::NotKubeconfig {
            line: tree::line(self.text, at),
            problem: problem.to_owned(),
        }
    }
}

/// The keys that the root lacks.
#[derive(Default)]
struct Missing {
    sections: Vec<Section>,
    current_context: bool,
}

fn scalar(flow: bool, value: &str) -> String {
    if flow {
        emit::quoted(value)
    } else {
        emit::scalar(value)
    }
}

/// The line break that `text` uses.
fn newline(text: &str) -> &'static str {
    match text.find('\n') {
        Some(at) if text[..at].ends_with('\r') => "\r\n",
        _ => "\n",
    }
}

fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |newline| newline + 1)
}

/// The start of the line after the one on which something ends at `end`.
fn next_line(text: &str, end: usize) -> usize {
    if text[..end].ends_with('\n') {
        return end;
    }
    text[end..]
        .find('\n')
        .map_or(text.len(), |newline| end + newline + 1)
}

/// How many bytes of `text` are blank lines at its start.
fn blank_lines(text: &str) -> usize {
    text.split_inclusive('\n')
        .take_while(|line| line.ends_with('\n') && line.trim().is_empty())
        .map(str::len)
        .sum()
}
