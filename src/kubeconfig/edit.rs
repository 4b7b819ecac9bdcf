//! Edits to a text, by byte positions, and where its lines give them a place.

use std::ops::Range;

use super::MergeError;
use super::tree::{self, Document, Node};

struct Edit {
    range: Range<usize>,
    text: String,
}

/// Edits that wait to be applied to `text`.
pub(super) struct Edits<'a> {
    text: &'a str,
    /// The line break that the text uses.
    pub(super) newline: &'static str,
    list: Vec<Edit>,
}

impl<'a> Edits<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            text,
            newline: newline(text),
            list: Vec::new(),
        }
    }

    /// How far the edits have come, for [`Self::undo`].
    pub(super) fn mark(&self) -> usize {
        self.list.len()
    }

    /// Drops the edits since `mark`.
    pub(super) fn undo(&mut self, mark: usize) {
        self.list.truncate(mark);
    }

    /// Puts `text` in the place of `range`.
    pub(super) fn replace(&mut self, range: Range<usize>, text: String) {
        if self.text[range.clone()] != text {
            self.list.push(Edit { range, text });
        }
    }

    pub(super) fn insert(&mut self, at: usize, text: String) {
        self.list.push(Edit {
            range: at..at,
            text,
        });
    }

    /// Inserts whole lines below the line on which `end` ends.
    pub(super) fn insert_line(&mut self, end: usize, lines: &str) {
        let at = next_line(self.text, end);
        let text = if at == 0 || self.text[..at].ends_with('\n') {
            format!("{lines}{}", self.newline)
        } else {
            format!("{}{lines}", self.newline)
        };
        self.insert(at, text);
    }

    /// The text with all edits made; fails if one would take an anchor from who uses it.
    pub(super) fn apply(mut self, document: &Document) -> Result<String, MergeError> {
        // Stable: edits at one place stay in the order in which they were made.
        self.list.sort_by_key(|edit| edit.range.start);
        let mut result = String::with_capacity(self.text.len() + 1024);
        let mut copied = 0;
        for Edit { range, text } in &self.list {
            if !range.is_empty() && document.is_shared(range) {
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

    /// `range` without the blank lines that a block scalar ends with.
    pub(super) fn trimmed(&self, range: Range<usize>) -> Range<usize> {
        let covered = self.text[range.clone()].trim_end();
        range.start..range.start + covered.len()
    }

    /// The dash in front of a block list's item.
    pub(super) fn dash(&self, item: &Node) -> Result<usize, MergeError> {
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

    /// The lines of a block list's item, and the blank ones below it: they would become part of a
    /// `|+` above.
    pub(super) fn lines(&self, item: &Node) -> Result<Range<usize>, MergeError> {
        let end = next_line(self.text, item.range.end);
        let end = end + blank_lines(&self.text[end..]);
        Ok(line_start(self.text, self.dash(item)?)..end)
    }

    /// What is in front of `at` on its line, if it is blank.
    pub(super) fn indent(&self, at: usize) -> &'a str {
        let before = &self.text[line_start(self.text, at)..at];
        if before.trim().is_empty() { before } else { "" }
    }

    /// What goes between a comma and the next item of a flow collection whose first is at `first`.
    pub(super) fn separator(&self, first: usize) -> String {
        let indent = self.indent(first);
        let line = line_start(self.text, first);
        if line > 0 && line + indent.len() == first {
            format!("{}{indent}", self.newline)
        } else {
            " ".to_owned()
        }
    }
}

/// The line break that `text` uses.
fn newline(text: &str) -> &'static str {
    match text.find('\n') {
        Some(at) if text[..at].ends_with('\r') => "\r\n",
        _ => "\n",
    }
}

/// Where the line of byte `at` starts.
pub(super) fn line_start(text: &str, at: usize) -> usize {
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
