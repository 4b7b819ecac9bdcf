//! A container's file system, in memory.
//!
//! One method per operation of a container's processes, all over the one `tree`. Paths given to it are absolute; `.` and `..` are resolved by name before symbolic links are
//! followed. The whole file system holds a bounded number of bytes, beyond which writes fail as on a full disk.

mod tree;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;

use tree::{Content, Node, Tree, components};

/// How many bytes all files of a container may hold.
pub(crate) const CAPACITY: u64 = 256 * 1024 * 1024;

/// Why an operation on a file failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FsError {
    /// There is nothing under the name.
    NotFound,
    /// A part of the path is a file.
    NotADirectory,
    /// The name is a directory where a file is needed.
    IsADirectory,
    /// The name is taken.
    Exists,
    /// The directory still has entries.
    NotEmpty,
    /// The symbolic links lead in a circle.
    Loop,
    /// The disk is full.
    Full,
    /// The operation would remove or move a root.
    Busy,
}

impl fmt::Display for FsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFound => "No such file or directory",
            Self::NotADirectory => "Not a directory",
            Self::IsADirectory => "Is a directory",
            Self::Exists => "File exists",
            Self::NotEmpty => "Directory not empty",
            Self::Loop => "Too many levels of symbolic links",
            Self::Full => "No space left on device",
            Self::Busy => "Device or resource busy",
        })
    }
}

impl std::error::Error for FsError {}

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A file of this many bytes.
    File(u64),
    /// A directory.
    Directory,
    /// A symbolic link to this target.
    Link(String),
}

/// What is known about a name without opening it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Metadata {
    /// File, directory or link.
    pub(crate) kind: Kind,
    /// Permission bits.
    pub(crate) mode: u32,
    /// When it was last written.
    pub(crate) modified: SystemTime,
}

impl Metadata {
    /// Whether the name is a directory.
    pub(crate) fn is_directory(&self) -> bool {
        self.kind == Kind::Directory
    }
}

/// The files of one container.
#[derive(Debug)]
pub(crate) struct FileSystem {
    tree: Mutex<Tree>,
}

impl FileSystem {
    /// An empty file system.
    pub(crate) fn new() -> Self {
        Self {
            tree: Mutex::new(Tree::new()),
        }
    }

    /// What `path` is, with links followed.
    pub(crate) fn metadata(&self, path: &str) -> Result<Metadata, FsError> {
        let tree = self.lock();
        let path = tree.follow(path, true)?;
        Ok(tree.node(&path)?.metadata())
    }

    /// What `path` itself is, be it a link.
    pub(crate) fn link_metadata(&self, path: &str) -> Result<Metadata, FsError> {
        let tree = self.lock();
        let path = tree.follow(path, false)?;
        Ok(tree.node(&path)?.metadata())
    }

    /// Whether there is anything under `path`.
    pub(crate) fn exists(&self, path: &str) -> bool {
        self.metadata(path).is_ok()
    }

    /// Whether `path` is a directory.
    pub(crate) fn is_directory(&self, path: &str) -> bool {
        self.metadata(path)
            .is_ok_and(|metadata| metadata.is_directory())
    }

    /// The whole of a file. What is written later does not show in it.
    pub(crate) fn read(&self, path: &str) -> Result<Bytes, FsError> {
        let tree = self.lock();
        let path = tree.follow(path, true)?;
        match &tree.node(&path)?.content {
            Content::File(data) => Ok(Bytes::from_owner(Shared(Arc::clone(data)))),
            Content::Directory(_) => Err(FsError::IsADirectory),
            Content::Link(_) => Err(FsError::Loop),
        }
    }

    /// The names in a directory with what they are, sorted.
    pub(crate) fn list(&self, path: &str) -> Result<Vec<(String, Metadata)>, FsError> {
        let tree = self.lock();
        let path = tree.follow(path, true)?;
        match &tree.node(&path)?.content {
            Content::Directory(entries) => Ok(entries
                .iter()
                .map(|(name, node)| (name.clone(), node.metadata()))
                .collect()),
            Content::File(_) | Content::Link(_) => Err(FsError::NotADirectory),
        }
    }

    /// Makes sure that a file is there, and empties it if asked.
    pub(crate) fn create(&self, path: &str, truncate: bool) -> Result<(), FsError> {
        let mut tree = self.lock();
        let path = tree.follow(path, true)?;
        if let Ok(node) = tree.node_mut(&path) {
            match &mut node.content {
                Content::File(data) => {
                    let freed = if truncate { data.len() as u64 } else { 0 };
                    if truncate {
                        *data = Arc::default();
                    }
                    node.modified = SystemTime::now();
                    tree.used -= freed;
                    return Ok(());
                }
                Content::Directory(_) => return Err(FsError::IsADirectory),
                Content::Link(_) => return Err(FsError::Loop),
            }
        }
        tree.insert(&path, Node::new(Content::File(Arc::default()), 0o644))
    }

    /// Adds `bytes` to the end of a file, which is made if it is missing.
    pub(crate) fn append(&self, path: &str, bytes: &[u8]) -> Result<(), FsError> {
        let mut tree = self.lock();
        let path = tree.follow(path, true)?;
        if tree.used + bytes.len() as u64 > CAPACITY {
            return Err(FsError::Full);
        }
        if tree.node(&path).is_err() {
            tree.insert(&path, Node::new(Content::File(Arc::default()), 0o644))?;
        }
        let node = tree.node_mut(&path)?;
        let Content::File(data) = &mut node.content else {
            return Err(FsError::IsADirectory);
        };
        Arc::make_mut(data).extend_from_slice(bytes);
        node.modified = SystemTime::now();
        tree.used += bytes.len() as u64;
        Ok(())
    }

    /// Writes a whole file.
    pub(crate) fn write(&self, path: &str, bytes: &[u8]) -> Result<(), FsError> {
        self.create(path, true)?;
        self.append(path, bytes)
    }

    /// Makes a directory, and those above it if `parents`.
    pub(crate) fn make_directory(&self, path: &str, parents: bool) -> Result<(), FsError> {
        let mut tree = self.lock();
        let path = tree.follow(path, true)?;
        if !parents {
            if tree.node(&path).is_ok() {
                return Err(FsError::Exists);
            }
            return tree.insert(&path, Node::directory(0o755));
        }
        for depth in 1..=path.len() {
            let above = &path[..depth];
            match tree.node(above) {
                Ok(node) if matches!(node.content, Content::File(_)) => {
                    return Err(FsError::NotADirectory);
                }
                Ok(_) => {}
                Err(_) => tree.insert(above, Node::directory(0o755))?,
            }
        }
        Ok(())
    }

    /// Makes a symbolic link to `target`.
    pub(crate) fn link(&self, target: &str, path: &str) -> Result<(), FsError> {
        let mut tree = self.lock();
        let path = tree.follow(path, false)?;
        if tree.node(&path).is_ok() {
            return Err(FsError::Exists);
        }
        tree.insert(&path, Node::new(Content::Link(target.to_owned()), 0o777))
    }

    /// Sets permission bits.
    pub(crate) fn set_mode(&self, path: &str, mode: u32) -> Result<(), FsError> {
        let mut tree = self.lock();
        let path = tree.follow(path, true)?;
        tree.node_mut(&path)?.mode = mode;
        Ok(())
    }

    /// Sets the time of the last write.
    pub(crate) fn set_modified(&self, path: &str, modified: SystemTime) -> Result<(), FsError> {
        let mut tree = self.lock();
        let path = tree.follow(path, true)?;
        tree.node_mut(&path)?.modified = modified;
        Ok(())
    }

    /// Removes a file, a link, an empty directory or, if `recursive`, a whole tree.
    pub(crate) fn remove(&self, path: &str, recursive: bool) -> Result<(), FsError> {
        let mut tree = self.lock();
        let path = tree.follow(path, false)?;
        if let Content::Directory(entries) = &tree.node(&path)?.content
            && !entries.is_empty()
            && !recursive
        {
            return Err(FsError::NotEmpty);
        }
        tree.take(&path).map(drop)
    }

    /// Gives a file or a tree another name; a file there is replaced.
    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<(), FsError> {
        let mut tree = self.lock();
        let (from, to) = (tree.follow(from, false)?, tree.follow(to, false)?);
        if to.starts_with(&from) {
            return if to == from {
                Ok(())
            } else {
                Err(FsError::Busy)
            };
        }
        if let Ok(node) = tree.node(&to) {
            if matches!(node.content, Content::Directory(_)) {
                return Err(FsError::Exists);
            }
            tree.take(&to)?;
        } else {
            // Looked up before anything is taken, so that a failed move loses nothing.
            let above = to.split_last().ok_or(FsError::Busy)?.1;
            if !matches!(tree.node(above)?.content, Content::Directory(_)) {
                return Err(FsError::NotADirectory);
            }
        }
        let node = tree.take(&from)?;
        tree.insert(&to, node)
    }

    fn lock(&self) -> MutexGuard<'_, Tree> {
        self.tree.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `path` seen from `directory`, as an absolute path without `.`, `..` and doubled slashes.
pub(crate) fn join(directory: &str, path: &str) -> String {
    let names = if path.starts_with('/') {
        components(path)
    } else {
        components(&format!("{directory}/{path}"))
    };
    format!("/{}", names.join("/"))
}

struct Shared(Arc<Vec<u8>>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn files_are_written_read_and_removed() {
        let fs = FileSystem::new();
        fs.make_directory("/a/b", true).unwrap();
        fs.write("/a/b/c", b"one").unwrap();
        fs.append("/a/b/c", b" two").unwrap();
        assert_eq!(fs.read("/a/b/c").unwrap(), "one two");
        assert_eq!(fs.remove("/a", false), Err(FsError::NotEmpty));
        fs.remove("/a", true).unwrap();
        assert_eq!(fs.read("/a/b/c"), Err(FsError::NotFound));
        assert_eq!(fs.lock().used, 0);
    }

    #[test]
    fn links_are_followed_and_circles_end() {
        let fs = FileSystem::new();
        fs.make_directory("/real", false).unwrap();
        fs.write("/real/file", b"here").unwrap();
        fs.link("../real", "/tmp-link").unwrap();
        fs.link("real", "/again").unwrap();
        assert_eq!(fs.read("/again/file").unwrap(), "here");
        assert_eq!(fs.read("/tmp-link/file").unwrap(), "here");
        fs.link("/y", "/x").unwrap();
        fs.link("/x", "/y").unwrap();
        assert_eq!(fs.read("/x"), Err(FsError::Loop));
        assert_eq!(
            fs.link_metadata("/again").unwrap().kind,
            Kind::Link("real".to_owned())
        );
    }

    #[test]
    fn a_move_replaces_files_and_never_loses_its_source() {
        let fs = FileSystem::new();
        fs.write("/from", b"new").unwrap();
        fs.write("/to", b"old!").unwrap();
        fs.rename("/from", "/to").unwrap();
        assert_eq!(fs.read("/to").unwrap(), "new");
        assert_eq!(fs.lock().used, 3);
        assert_eq!(fs.rename("/to", "/missing/to"), Err(FsError::NotFound));
        assert_eq!(fs.read("/to").unwrap(), "new");
    }

    #[test]
    fn paths_are_joined_by_name() {
        for (directory, path, joined) in [
            ("/", "a", "/a"),
            ("/a/b", "../c", "/a/c"),
            ("/a", "/x//y/./z/", "/x/y/z"),
            ("/", "../..", "/"),
        ] {
            assert_eq!(join(directory, path), joined);
        }
    }
}
