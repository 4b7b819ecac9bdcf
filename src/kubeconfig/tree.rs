//! A kubeconfig as a tree of nodes that know their place in the text.

use std::collections::HashMap;
use std::ops::Range;

use serde_saphyr::granit_parser::{
    Event, Options, Parser, ScalarStyle, ScanError, Span, StructureStyle,
};

use super::MergeError;

/// As deep as a kubeconfig may nest; kubectl's own fields need six levels.
const MAX_DEPTH: usize = 60;

/// A parsed text.
#[derive(Default)]
pub(super) struct Document {
    /// The root, unless the text holds no node at all.
    pub(super) root: Option<Node>,
    /// Where each anchor is defined, and on what.
    anchors: HashMap<usize, (usize, Node)>,
    /// Which anchor each alias refers to, and where.
    aliases: Vec<(usize, usize)>,
}

/// A node and the bytes it covers, its anchor and tag included.
///
/// A block collection ends where its last scalar ends; a block scalar where its last line does,
/// its line break included.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) range: Range<usize>,
}

#[derive(Clone)]
pub(super) enum Kind {
    Scalar {
        value: String,
        style: ScalarStyle,
    },
    Sequence {
        flow: bool,
        items: Vec<Node>,
    },
    Mapping {
        flow: bool,
        pairs: Vec<(Node, Node)>,
    },
    Alias(usize),
}

impl Node {
    /// The value, if this is a scalar.
    pub(super) fn scalar(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar { value, .. } => Some(value),
            _ => None,
        }
    }

    /// Whether this is `null`, written out or left out.
    pub(super) fn is_null(&self) -> bool {
        match &self.kind {
            Kind::Scalar {
                value,
                style: ScalarStyle::Plain,
            } => matches!(value.as_str(), "" | "~" | "null" | "Null" | "NULL"),
            _ => false,
        }
    }

    pub(super) fn is_block_scalar(&self) -> bool {
        matches!(
            self.kind,
            Kind::Scalar {
                style: ScalarStyle::Literal | ScalarStyle::Folded,
                ..
            }
        )
    }

    /// The value of `key`, if this is a mapping that has it.
    pub(super) fn field(&self, key: &str) -> Option<&Node> {
        match &self.kind {
            Kind::Mapping { pairs, .. } => pairs
                .iter()
                .find(|(k, _)| k.scalar() == Some(key))
                .map(|(_, value)| value),
            _ => None,
        }
    }
}

impl Document {
    /// The node that `node` stands for, if it is an alias; itself otherwise.
    pub(super) fn resolve<'a>(&'a self, node: &'a Node) -> &'a Node {
        match node.kind {
            Kind::Alias(id) => self.anchors.get(&id).map_or(node, |(_, target)| target),
            _ => node,
        }
    }

    /// Whether an anchor inside `range` is used outside it.
    pub(super) fn is_shared(&self, range: &Range<usize>) -> bool {
        self.aliases.iter().any(|(id, at)| {
            !range.contains(at)
                && self
                    .anchors
                    .get(id)
                    .is_some_and(|(defined, _)| range.contains(defined))
        })
    }

    /// Whether `range` defines or uses an anchor.
    pub(super) fn has_anchors(&self, range: &Range<usize>) -> bool {
        self.aliases.iter().any(|(_, at)| range.contains(at))
            || self.anchors.values().any(|(at, _)| range.contains(at))
    }
}

/// Parses `text`, which must hold one document at most.
pub(super) fn parse(text: &str) -> Result<Document, MergeError> {
    let mut options = Options::default();
    options.emit_anchor_events = true;
    options.set_emit_comments(false);
    let mut builder = Builder {
        text,
        parser: Parser::new_from_str_with_options(text, options),
        document: Document::default(),
    };
    let mut documents = 0;
    while let Some((event, span)) = builder.next()? {
        match event {
            Event::DocumentStart(..) if documents == 1 => {
                return Err(MergeError::SeveralDocuments);
            }
            Event::DocumentStart(..) => documents += 1,
            Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
            event => builder.document.root = Some(builder.node(event, span, 0)?),
        }
    }
    Ok(builder.document)
}

/// The line of byte `at`, counted from one.
pub(super) fn line(text: &str, at: usize) -> usize {
    let before = &text.as_bytes()[..at.min(text.len())];
    before.split(|b| *b == b'\n').count()
}

struct Builder<'a> {
    text: &'a str,
    parser: Parser<'a, serde_saphyr::granit_parser::StrInput<'a>>,
    document: Document,
}

impl<'a> Builder<'a> {
    fn next(&mut self) -> Result<Option<(Event<'a>, Span)>, MergeError> {
        self.parser
            .next_event()
            .transpose()
            .map_err(|e| not_yaml(&e))
    }

    /// The node that `event` begins; reads on to its end.
    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, MergeError> {
        let range = bytes(&span);
        if depth > MAX_DEPTH {
            return Err(MergeError::NotKubeconfig {
                line: line(self.text, range.start),
                problem: "it nests too deeply".to_owned(),
            });
        }
        let anchor = event.anchor_id();
        let mut start = span
            .tag_span()
            .map_or(range.start, |tag| bytes(&tag).start.min(range.start));
        if anchor.is_some()
            && let Some((Event::Anchor(..), at)) = self.next()?
        {
            start = start.min(bytes(&at).start);
        }
        let (kind, end) = match event {
            Event::Scalar(value, style, ..) => {
                let end = match style {
                    // The parser counts the next line's indentation in.
                    ScalarStyle::Literal | ScalarStyle::Folded => {
                        let covered = &self.text[range.clone()];
                        range.start + covered.trim_end_matches([' ', '\t']).len()
                    }
                    _ => range.end,
                };
                let value = if range.is_empty() {
                    String::new()
                } else {
                    value.into_owned()
                };
                (Kind::Scalar { value, style }, end)
            }
            Event::Alias(id) => {
                self.document.aliases.push((id, start));
                (Kind::Alias(id), range.end)
            }
            Event::SequenceStart(style, ..) => self.sequence(style, range.end, depth)?,
            Event::MappingStart(style, ..) => self.mapping(style, range.end, depth)?,
            _ => return Err(MergeError::Unfaithful),
        };
        let node = Node {
            kind,
            range: start..end.max(start),
        };
        if let Some(id) = anchor {
            self.document.anchors.insert(id, (start, node.clone()));
        }
        Ok(node)
    }

    fn sequence(
        &mut self,
        style: StructureStyle,
        mut end: usize,
        depth: usize,
    ) -> Result<(Kind, usize), MergeError> {
        let flow = style == StructureStyle::Flow;
        let mut items = Vec::new();
        while let Some((event, span)) = self.next()? {
            if event == Event::SequenceEnd {
                let end = if flow { end.max(closing(&span)) } else { end };
                return Ok((Kind::Sequence { flow, items }, end));
            }
            let item = self.node(event, span, depth + 1)?;
            end = end.max(item.range.end);
            items.push(item);
        }
        Err(MergeError::Unfaithful)
    }

    fn mapping(
        &mut self,
        style: StructureStyle,
        mut end: usize,
        depth: usize,
    ) -> Result<(Kind, usize), MergeError> {
        let flow = style == StructureStyle::Flow;
        let mut pairs = Vec::new();
        while let Some((event, span)) = self.next()? {
            if event == Event::MappingEnd {
                // A pair of its own in a flow list has no braces: its end is its value's.
                let end = if flow { end.max(closing(&span)) } else { end };
                return Ok((Kind::Mapping { flow, pairs }, end));
            }
            let key = self.node(event, span, depth + 1)?;
            let Some((event, span)) = self.next()? else {
                break;
            };
            let mut value = self.node(event, span, depth + 1)?;
            if value.range.is_empty() && value.is_null() {
                // Left out: its place is behind the colon, wherever the parser reported it.
                let place = after_colon(self.text, key.range.end).unwrap_or(key.range.end);
                value.range = place..place;
            }
            end = end.max(value.range.end);
            pairs.push((key, value));
        }
        Err(MergeError::Unfaithful)
    }
}

/// The place behind the colon that follows a key which ends at `at`.
pub(super) fn after_colon(text: &str, at: usize) -> Option<usize> {
    let rest = text.get(at..)?;
    let blank = rest.len() - rest.trim_start().len();
    rest[blank..].starts_with(':').then_some(at + blank + 1)
}

/// Where the bracket ends that `span` covers, if it covers any.
fn closing(span: &Span) -> usize {
    let range = bytes(span);
    if range.is_empty() { 0 } else { range.end }
}

fn bytes(span: &Span) -> Range<usize> {
    span.byte_range()
        .expect("a parser over a string knows byte offsets")
}

fn not_yaml(error: &ScanError) -> MergeError {
    let at = error.marker();
    MergeError::NotYaml {
        line: at.line().max(1),
        column: at.col() + 1,
        problem: error.kind().to_string(),
    }
}
