//! The edits that bring the entry into the text: which bytes go, and what comes in their place.

use std::ops::Range;

use super::edit::{Edits, line_start};
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
        document,
        entry,
        edits: Edits::new(text),
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
    splicer.edits.apply(document)
}

struct Splicer<'a> {
    text: &'a str,
    document: &'a Document,
    entry: &'a Entry<'a>,
    edits: Edits<'a>,
}

impl Splicer<'_> {
    /// A text without content, perhaps with comments: they stay above.
    fn appended(&self) -> String {
        let fresh = emit::document(self.entry, self.edits.newline);
        let gap = if self.text.is_empty() || self.text.ends_with('\n') {
            ""
        } else {
            self.edits.newline
        };
        format!("{}{gap}{fresh}", self.text)
    }

    fn replaced(&self, root: &Range<usize>) -> String {
        let fresh = emit::document(self.entry, self.edits.newline);
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
            self.edits.insert(value.range.end - 1, item.flow());
        } else if flow {
            self.edits
                .replace(colon..value.range.end, format!(" [{}]", item.flow()));
        } else {
            let indent = self.edits.indent(key.range.start);
            let [_, line] = emit::list(section, self.entry, indent, self.edits.newline);
            self.edits.replace(colon..value.range.end, String::new());
            self.edits.insert_line(value.range.end, &line);
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
                self.edits.replace(start..item.range.end, String::new());
            } else {
                self.edits.replace(self.edits.lines(item)?, String::new());
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
        let mark = self.edits.mark();
        if !self.document.has_anchors(&node.range) && self.patch(flow, node, item) {
            return;
        }
        self.edits.undo(mark);
        let is_block = matches!(node.kind, Kind::Mapping { flow: false, .. });
        let text = if is_block && !self.document.has_anchors(&node.range) {
            let column = node.range.start - line_start(self.text, node.range.start);
            item.block(&" ".repeat(column), self.edits.newline)
        } else {
            item.flow()
        };
        self.edits
            .replace(self.edits.trimmed(node.range.clone()), text);
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
                self.edits.replace(node.range.clone(), scalar(flow, wanted));
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
            let separator = self.edits.separator(first.range.start);
            self.edits
                .insert(last.range.end, format!(",{separator}{}", item.flow()));
        } else {
            let dash = self.edits.dash(last)?;
            let indent = self.edits.indent(dash);
            let item = item.block(&format!("{indent}  "), self.edits.newline);
            self.edits
                .insert_line(last.range.end, &format!("{indent}- {item}"));
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
            let range = self.edits.trimmed(self.colon(key)?..value.range.end);
            self.edits
                .replace(range, format!(" {}", emit::scalar(wanted)));
        } else if value.range.is_empty() {
            self.edits
                .insert(self.colon(key)?, format!(" {}", scalar(flow, wanted)));
        } else {
            self.edits
                .replace(value.range.clone(), scalar(flow, wanted));
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
                    let separator = format!(",{}", self.edits.separator(first.range.start));
                    let text = format!("{separator}{}", texts.join(&separator));
                    self.edits.insert(last.range.end, text);
                }
                _ => self.edits.insert(root.range.end - 1, texts.join(", ")),
            }
        } else {
            let indent = pairs
                .first()
                .map_or("", |(key, _)| self.edits.indent(key.range.start));
            let mut lines = Vec::new();
            for section in &missing.sections {
                lines.extend(emit::list(*section, self.entry, indent, self.edits.newline));
            }
            if missing.current_context {
                let value = emit::scalar(self.entry.context);
                lines.push(format!("{indent}{current}: {value}"));
            }
            self.edits
                .insert_line(root.range.end, &lines.join(self.edits.newline));
        }
    }

    fn colon(&self, key: &Node) -> Result<usize, MergeError> {
        tree::after_colon(self.text, key.range.end).ok_or(MergeError::Unfaithful)
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
