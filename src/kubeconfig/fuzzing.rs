//! Fuzz target: somebody's kubeconfig.

use super::emit::Section;
use super::tree::{self, Document, Kind, Node};
use super::{Entry, merge as merge_entry, proof};

const ENTRY: Entry<'static> = Entry {
    context: "edge-42",
    user: "user-42",
    server: "https://127.0.0.1:1/proxies/ab",
    certificate_authority_pem: "CA",
    token: "7f",
};

/// The longest text whose bytes are compared one by one.
const COMPARED: usize = 600;

/// Any text. What comes of it is a kubeconfig with the entry, changes no more, and has every byte
/// of the text but those of values that had to go.
pub(crate) fn merge(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(merged) = merge_entry(text, &ENTRY) else {
        return;
    };
    proof::read(merged.trim_start_matches('\u{feff}')).expect("it can be read");
    let again = merge_entry(&merged, &ENTRY).expect("it can be merged again");
    assert!(
        again == merged,
        "a second merge changes it:\n{merged}\n---\n{again}"
    );
    if text.len() <= COMPARED {
        let text = text.trim_start_matches('\u{feff}');
        let document = tree::parse(text).expect("it was parsed");
        let root = document.root.as_ref();
        let may_go = root.map_or(0, |root| may_go(&document, root, text));
        let kept = common(text.as_bytes(), merged.as_bytes());
        assert!(
            kept + may_go >= text.len(),
            "{} bytes are gone, {may_go} may go:\n{text}\n---\n{merged}",
            text.len() - kept
        );
    }
}

/// How many bytes of `text` a merge has reason to take away.
fn may_go(document: &Document, root: &Node, text: &str) -> usize {
    let Kind::Mapping { pairs, .. } = &root.kind else {
        return root.range.len();
    };
    if pairs.is_empty() {
        return root.range.len();
    }
    let mut bytes = 0;
    for (key, value) in pairs {
        let name = document.resolve(key).scalar();
        if name == Some("current-context") {
            // A block scalar ends with its line, and has a header.
            let after = tree::after_colon(text, key.range.end).unwrap_or(key.range.end);
            bytes += value.range.end - after.min(value.range.start);
        }
        for section in Section::ALL {
            if name == Some(section.key()) {
                bytes += replaced(document, section, value, text);
            }
        }
    }
    bytes
}

/// Of a section: what stands for nothing, and whatever has the entry's name.
fn replaced(document: &Document, section: Section, value: &Node, text: &str) -> usize {
    // Blanks before what stands for nothing, and separators of items that were there twice.
    const BESIDE: usize = 4;
    let Kind::Sequence { items, .. } = &value.kind else {
        return value.range.len() + BESIDE;
    };
    if items.is_empty() {
        return value.range.len() + BESIDE;
    }
    let name = section.name(&ENTRY);
    let is_ours = |item: &&Node| {
        let name_of = document.resolve(item).field("name");
        name_of.is_some_and(|node| document.resolve(node).scalar() == Some(name))
    };
    let mut ours = items.iter().filter(is_ours);
    let first = ours.next().map_or(0, |item| item.range.len());
    // One that is there twice goes with its lines, comments and all.
    if ours.next().is_some() {
        let rest = &text[value.range.end..];
        let line = rest.find('\n').unwrap_or(rest.len());
        let blank = rest[line..].len() - rest[line..].trim_start().len();
        return value.range.len() + line + blank + BESIDE;
    }
    first
}

/// The length of the longest common subsequence.
fn common(a: &[u8], b: &[u8]) -> usize {
    let start = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let (a, b) = (&a[start..], &b[start..]);
    let end = a
        .iter()
        .rev()
        .zip(b.iter().rev())
        .take_while(|(a, b)| a == b)
        .count();
    let (a, b) = (&a[..a.len() - end], &b[..b.len() - end]);
    let mut row = vec![0; b.len() + 1];
    for x in a {
        let mut diagonal = 0;
        for (at, y) in b.iter().enumerate() {
            let above = row[at + 1];
            row[at + 1] = if x == y {
                diagonal + 1
            } else {
                above.max(row[at])
            };
            diagonal = above;
        }
    }
    start + row[b.len()] + end
}
