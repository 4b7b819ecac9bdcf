//! The nodes of a file system and the way to them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use super::{FsError, Kind, Metadata, join};

/// How many symbolic links are followed on the way to a file.
const LINKS: usize = 16;

#[derive(Debug)]
pub(super) struct Node {
    pub(super) content: Content,
    pub(super) mode: u32,
    pub(super) modified: SystemTime,
}

#[derive(Debug)]
pub(super) enum Content {
    File(Arc<Vec<u8>>),
    Directory(BTreeMap<String, Node>),
    Link(String),
}

impl Node {
    pub(super) fn new(content: Content, mode: u32) -> Self {
        Self {
            content,
            mode,
            modified: SystemTime::now(),
        }
    }

    pub(super) fn directory(mode: u32) -> Self {
        Self::new(Content::Directory(BTreeMap::new()), mode)
    }

    pub(super) fn metadata(&self) -> Metadata {
        let kind = match &self.content {
            Content::File(data) => Kind::File(data.len() as u64),
            Content::Directory(_) => Kind::Directory,
            Content::Link(target) => Kind::Link(target.clone()),
        };
        Metadata {
            kind,
            mode: self.mode,
            modified: self.modified,
        }
    }

    fn bytes(&self) -> u64 {
        match &self.content {
            Content::File(data) => data.len() as u64,
            Content::Directory(entries) => entries.values().map(Node::bytes).sum(),
            Content::Link(_) => 0,
        }
    }
}

#[derive(Debug)]
pub(super) struct Tree {
    root: Node,
    /// How many bytes all files hold.
    pub(super) used: u64,
}

impl Tree {
    /// A tree of nothing but its root.
    pub(super) fn new() -> Self {
        Self {
            root: Node::directory(0o755),
            used: 0,
        }
    }

    /// The names that lead to `path`, links followed (the last one only if `last`).
    pub(super) fn follow(&self, path: &str, last: bool) -> Result<Vec<String>, FsError> {
        let mut names = components(path);
        'again: for _ in 0..LINKS {
            let mut node = &self.root;
            for depth in 0..names.len() {
                let Content::Directory(entries) = &node.content else {
                    return Err(FsError::NotADirectory);
                };
                let Some(next) = entries.get(&names[depth]) else {
                    return Ok(names);
                };
                let follows = last || depth + 1 < names.len();
                if let (Content::Link(target), true) = (&next.content, follows) {
                    let above = format!("/{}", names[..depth].join("/"));
                    let rest = names[depth + 1..].join("/");
                    names = components(&join(&join(&above, target), &rest));
                    continue 'again;
                }
                node = next;
            }
            return Ok(names);
        }
        Err(FsError::Loop)
    }

    pub(super) fn node(&self, path: &[String]) -> Result<&Node, FsError> {
        let mut node = &self.root;
        for name in path {
            node = match &node.content {
                Content::Directory(entries) => entries.get(name).ok_or(FsError::NotFound)?,
                Content::File(_) | Content::Link(_) => return Err(FsError::NotADirectory),
            };
        }
        Ok(node)
    }

    pub(super) fn node_mut(&mut self, path: &[String]) -> Result<&mut Node, FsError> {
        let mut node = &mut self.root;
        for name in path {
            node = match &mut node.content {
                Content::Directory(entries) => entries.get_mut(name).ok_or(FsError::NotFound)?,
                Content::File(_) | Content::Link(_) => return Err(FsError::NotADirectory),
            };
        }
        Ok(node)
    }

    pub(super) fn insert(&mut self, path: &[String], node: Node) -> Result<(), FsError> {
        let (name, above) = path.split_last().ok_or(FsError::Exists)?;
        let bytes = node.bytes();
        let above = self.node_mut(above)?;
        let Content::Directory(entries) = &mut above.content else {
            return Err(FsError::NotADirectory);
        };
        entries.insert(name.clone(), node);
        above.modified = SystemTime::now();
        self.used += bytes;
        Ok(())
    }

    pub(super) fn take(&mut self, path: &[String]) -> Result<Node, FsError> {
        let (name, above) = path.split_last().ok_or(FsError::Busy)?;
        let above = self.node_mut(above)?;
        let Content::Directory(entries) = &mut above.content else {
            return Err(FsError::NotADirectory);
        };
        let node = entries.remove(name).ok_or(FsError::NotFound)?;
        above.modified = SystemTime::now();
        self.used -= node.bytes();
        Ok(node)
    }
}

/// The names on a path, with `.` and `..` resolved.
pub(super) fn components(path: &str) -> Vec<String> {
    let mut names = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => {
                names.pop();
            }
            name => names.push(name.to_owned()),
        }
    }
    names
}
