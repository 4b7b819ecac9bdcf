//! Writing a kubeconfig file: under kubectl's lock, as a whole or not at all.
//!
//! A replacement keeps the file's mode and owner; access control lists, extended attributes and
//! further hard links stay with the old file, which is the price of an atomic rename.

use std::fmt;
use std::fs::{self, File, Metadata};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::NamedTempFile;

use super::lock::{self, Lock};
use super::{Entry, WriteError, merge};
use crate::files::{create_folder, is_planted};

/// kubectl holds its lock for a few milliseconds.
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// As many links in a row as Linux follows.
const MAX_LINKS: usize = 40;

/// How often the file may change under a merge before that counts as a failure.
const MAX_ATTEMPTS: usize = 5;

/// What [`write()`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The file that now holds the entry: what a link led to, not the link.
    pub path: PathBuf,
    /// What the person should know about it.
    pub warnings: Vec<Warning>,
}

/// Something that is no failure, but not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// Others may read the file, and with it the entry's token.
    ReadableByOthers {
        /// The kubeconfig.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReadableByOthers { path, mode } => write!(
                f,
                "{} can be read by other users (mode {mode:04o})",
                path.display()
            ),
        }
    }
}

/// Whether the kubeconfig at `path` could take an entry, as far as reading it tells. Nothing is
/// written or locked.
///
/// # Errors
///
/// What [`write()`] would stumble over.
pub fn check(path: &Path) -> Result<(), WriteError> {
    let path_buf = || path.to_owned();
    let target = follow(path)?;
    // A pipe would wait for ever to be read.
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(WriteError::from_io(path, error)),
        Ok(file) if file.is_dir() => return Err(WriteError::IsDirectory { path: path_buf() }),
        Ok(file) if !file.is_file() => return Err(WriteError::NotAFile { path: path_buf() }),
        Ok(file) => not_planted(&target, &file)?,
    }
    let text = fs::read(path).map_err(|error| WriteError::from_io(path, error))?;
    let text = String::from_utf8(text).map_err(|_| WriteError::NotText { path: path_buf() })?;
    let probe = Entry {
        context: "arcproxy",
        user: "arcproxy",
        server: "https://127.0.0.1:1",
        certificate_authority_pem: "",
        token: "",
    };
    let path = path_buf();
    match merge(&text, &probe) {
        Ok(_) => Ok(()),
        Err(source) => Err(WriteError::Merge { path, source }),
    }
}

/// Merges `entry` into the kubeconfig at `path`, creating it and its directories if missing.
///
/// A link stays a link: the file it leads to is the one that changes. Blocks the thread, for up to
/// five seconds if another program holds the lock.
///
/// # Errors
///
/// Whatever the failure, the file is as it was before.
pub fn write(path: &Path, entry: &Entry<'_>) -> Result<Written, WriteError> {
    write_within(path, entry, LOCK_WAIT)
}

pub(super) fn write_within(
    path: &Path,
    entry: &Entry<'_>,
    wait: Duration,
) -> Result<Written, WriteError> {
    let target = follow(path)?;
    for file in [path, &target] {
        let folder = parent(file);
        create_folder(folder).map_err(|e| WriteError::from_io(folder, e))?;
    }
    // kubectl locks the name that it was given, which may be the link or the file.
    let _lock = Lock::take(path, wait)?;
    let _target_lock = if target == path {
        None
    } else {
        Some(Lock::take(&target, wait)?)
    };
    for file in [path, &target] {
        lock::sweep(parent(file));
    }
    for _ in 0..MAX_ATTEMPTS {
        let existing = read(&target)?;
        let text = existing.as_ref().map_or("", |(text, _)| text);
        let merged = merge(text, entry).map_err(|source| WriteError::Merge {
            path: target.clone(),
            source,
        })?;
        let metadata = existing.as_ref().map(|(_, metadata)| metadata);
        if existing.is_some() && merged == text {
            return Ok(written(target, metadata));
        }
        let replacement = replacement(&target, &merged, metadata)?;
        // Editors know no lock: what one saved since must not be lost.
        if read(&target)?.map(|(text, _)| text).as_deref() != metadata.map(|_| text) {
            continue;
        }
        replacement
            .persist(&target)
            .map_err(|e| WriteError::from_io(&target, e.error))?;
        sync_directory(&target);
        return Ok(written(target, metadata));
    }
    Err(WriteError::Changing { path: target })
}

fn written(path: PathBuf, metadata: Option<&Metadata>) -> Written {
    let mode = metadata.map_or(0, Metadata::mode) & 0o7777;
    let mut warnings = Vec::new();
    if mode & 0o044 != 0 {
        let path = path.clone();
        warnings.push(Warning::ReadableByOthers { path, mode });
    }
    Written { path, warnings }
}

/// The file that `path` leads to, which need not exist.
fn follow(path: &Path) -> Result<PathBuf, WriteError> {
    let mut target = path.to_owned();
    for _ in 0..MAX_LINKS {
        match fs::symlink_metadata(&target) {
            Ok(metadata) if metadata.is_symlink() => {
                not_planted(&target, &metadata)?;
                let link = fs::read_link(&target).map_err(|e| WriteError::from_io(&target, e))?;
                target = parent(&target).join(link);
            }
            Ok(_) => return Ok(target),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(target),
            Err(e) => return Err(WriteError::from_io(&target, e)),
        }
    }
    let path = path.to_owned();
    Err(WriteError::SymlinkLoop { path })
}

fn not_planted(path: &Path, found: &Metadata) -> Result<(), WriteError> {
    let folder = parent(path);
    if is_planted(folder, found).map_err(|e| WriteError::from_io(folder, e))? {
        let path = path.to_owned();
        return Err(WriteError::Planted { path });
    }
    Ok(())
}

pub(super) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// The text of the file and what the system knows about it; none if there is no file.
fn read(path: &Path) -> Result<Option<(String, Metadata)>, WriteError> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(WriteError::from_io(path, e)),
    };
    let owned = path.to_owned();
    if metadata.is_dir() {
        return Err(WriteError::IsDirectory { path: owned });
    }
    if !metadata.is_file() {
        return Err(WriteError::NotAFile { path: owned });
    }
    not_planted(path, &metadata)?;
    if metadata.mode() & 0o222 == 0 {
        return Err(WriteError::ReadOnly { path: owned });
    }
    // A rename needs no right to the file itself: without this, a file that its owner keeps from
    // us could be replaced.
    rustix::fs::access(path, rustix::fs::Access::WRITE_OK)
        .map_err(|e| WriteError::from_io(path, e.into()))?;
    let bytes = fs::read(path).map_err(|e| WriteError::from_io(path, e))?;
    let text = String::from_utf8(bytes).map_err(|_| WriteError::NotText { path: owned })?;
    Ok(Some((text, metadata)))
}

/// The new text in a file beside `target`, on disk, with the mode and the owner that it will have.
fn replacement(
    target: &Path,
    text: &str,
    metadata: Option<&Metadata>,
) -> Result<NamedTempFile, WriteError> {
    let folder = parent(target);
    let mut file = lock::new_file(folder).map_err(|e| WriteError::from_io(folder, e))?;
    let failed = |e| WriteError::from_io(target, e);
    file.write_all(text.as_bytes()).map_err(failed)?;
    if let Some(metadata) = metadata {
        keep_owner(file.as_file(), metadata).map_err(|source| WriteError::Owner {
            path: target.to_owned(),
            source,
        })?;
        let permissions = fs::Permissions::from_mode(metadata.mode() & 0o7777);
        file.as_file()
            .set_permissions(permissions)
            .map_err(failed)?;
    }
    file.as_file().sync_all().map_err(failed)?;
    Ok(file)
}

fn keep_owner(file: &File, wanted: &Metadata) -> io::Result<()> {
    let is = file.metadata()?;
    if (is.uid(), is.gid()) == (wanted.uid(), wanted.gid()) {
        return Ok(());
    }
    std::os::unix::fs::fchown(file, Some(wanted.uid()), Some(wanted.gid()))
}

/// Makes the rename outlive a power cut, where the file system can.
fn sync_directory(path: &Path) {
    if let Ok(directory) = File::open(parent(path)) {
        // The new file is in place; nothing is left to undo if this fails.
        let _ = directory.sync_all();
    }
}
