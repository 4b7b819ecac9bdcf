//! kubectl's lock on a kubeconfig: `<file>.lock`, which only one can create.
//!
//! kubectl's is an empty file that says nothing of its owner: where kubectl was killed, somebody has
//! to remove it. Ours says whose it is, and is held by the system's own lock as well, which ends with
//! its process: a run that finds one that nobody holds takes it over. It appears under its name
//! only once both are true, so that one killed at any point leaves nothing that blocks the next.
//! Where the file system has no hard links or no locks, ours is as kubectl's.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use tempfile::NamedTempFile;

use super::WriteError;
use crate::files::replacement_in;

const POLL: Duration = Duration::from_millis(20);
/// What is in a lock of ours.
const MARK: &[u8] = b"arcproxy\n";
/// What the names of files begin with that are on their way to another name.
const PREFIX: &str = ".arcproxy-new-";

/// The lock. It is gone when this is dropped.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    /// Of ours; none where it is as kubectl's.
    _held: Option<File>,
}

impl Lock {
    /// Locks `file`, waiting up to `wait` for whoever else has.
    pub(super) fn take(file: &Path, wait: Duration) -> Result<Self, WriteError> {
        let mut name = file.as_os_str().to_owned();
        name.push(".lock");
        let path = PathBuf::from(name);
        let deadline = Instant::now() + wait;
        loop {
            match Self::try_take(&path) {
                Ok(Some(lock)) => return Ok(lock),
                Ok(None) if Instant::now() >= deadline => {
                    let (path, lock) = (file.to_owned(), path);
                    return Err(WriteError::Locked { path, lock });
                }
                Ok(None) => thread::sleep(POLL),
                Err(error) => return Err(WriteError::from_io(&path, error)),
            }
        }
    }

    /// `None` where somebody else has it.
    fn try_take(path: &Path) -> io::Result<Option<Self>> {
        match fs::symlink_metadata(path) {
            Ok(_) => return Ok(abandoned(path).map(|held| Self::ours(path, held))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let made = match prepared(path) {
            Ok(Some(prepared)) => match fs::hard_link(prepared.path(), path) {
                Ok(()) => {
                    let (held, _under_its_other_name) = prepared.into_parts();
                    return Ok(Some(Self::ours(path, held)));
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
                Err(_) => plain(path),
            },
            Ok(None) => plain(path),
            Err(error) => Err(error),
        };
        match made {
            Ok(()) => Ok(Some(Self {
                path: path.to_owned(),
                _held: None,
            })),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn ours(path: &Path, held: File) -> Self {
        Self {
            path: path.to_owned(),
            _held: Some(held),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Whoever removed it already thought it stale; there is nothing more to release.
        let _ = fs::remove_file(&self.path);
    }
}

/// A lock of ours under another name, held; `None` where nothing can be held.
fn prepared(path: &Path) -> io::Result<Option<NamedTempFile>> {
    let mut file = new_file(super::file::parent(path))?;
    file.write_all(MARK)?;
    Ok(file.as_file().try_lock().is_ok().then_some(file))
}

/// A lock as kubectl makes it.
fn plain(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o000);
    options.open(path).map(drop)
}

/// The lock at `path`, if a run that was killed left it: then it is held from now on.
fn abandoned(path: &Path) -> Option<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty()).ok()?);
    let opened = file.metadata().ok()?;
    let is_mine = opened.uid() == rustix::process::geteuid().as_raw();
    if !opened.is_file() || !is_mine || opened.len() != MARK.len() as u64 {
        return None;
    }
    let mut mark = Vec::new();
    (&file).take(opened.len()).read_to_end(&mut mark).ok()?;
    if mark != MARK || file.try_lock().is_err() {
        return None;
    }
    // Its owner may have ended in between, and somebody else have come.
    let now = fs::symlink_metadata(path).ok()?;
    ((now.dev(), now.ino()) == (opened.dev(), opened.ino())).then_some(file)
}

/// A new file of mode 0600 in `folder`, on its way to another name.
pub(super) fn new_file(folder: &Path) -> io::Result<NamedTempFile> {
    replacement_in(folder, PREFIX)
}

/// Removes from `folder` what runs that were killed left on its way: it has all of a kubeconfig in
/// it.
pub(super) fn sweep(folder: &Path) {
    crate::files::sweep(folder, PREFIX, |_| true);
}
