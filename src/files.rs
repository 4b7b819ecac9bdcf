//! Files that are replaced as a whole or not at all, and folders that others may write to.

use std::fs::{self, DirBuilder, File, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::{Mode, OFlags};
use tempfile::NamedTempFile;

/// A file on its way to another name is there for milliseconds. One as old as this was left by a run
/// that was killed.
const LEFT: Duration = Duration::from_mins(1);

/// Creates `folder`, and what is missing above it, for this user alone. One that exists stays as it
/// is.
pub(crate) fn create_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// A new file of mode 0600 in `folder`, for what is to take another file's place with
/// [`NamedTempFile::persist`]. It is removed when it is dropped before that.
pub(crate) fn replacement_in(folder: &Path, prefix: &str) -> io::Result<NamedTempFile> {
    tempfile::Builder::new().prefix(prefix).tempfile_in(folder)
}

/// Removes from `folder` what runs of this user's that were killed left there: files whose names
/// begin with `prefix`, whose content is a minute old, and that `is_left` thinks so of. What cannot be
/// removed is the next run's to try.
pub(crate) fn sweep(folder: &Path, prefix: &str, is_left: impl Fn(&Path) -> bool) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        if entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(prefix.as_bytes())
            && let Ok(found) = entry.metadata()
            && found.is_file()
            && found.uid() == rustix::process::geteuid().as_raw()
            && is_old(&found)
            && is_left(&entry.path())
        {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn is_old(found: &Metadata) -> bool {
    let changed = found.modified().ok();
    changed.is_some_and(|changed| {
        let age = SystemTime::now().duration_since(changed);
        age.is_ok_and(|age| age >= LEFT)
    })
}

/// Whether the file at `path` can be locked: the run that held it has ended.
pub(crate) fn is_nobodys(path: &Path) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
        .is_ok_and(|file| File::from(file).try_lock().is_ok())
}

/// Whether `found`, a file or a link in `folder`, may have been put there by somebody who wants it
/// written to or followed. What Linux calls protected links and files works in the same way; but
/// links that a program follows by itself are not the kernel's to guard.
pub(crate) fn is_planted(folder: &Path, found: &Metadata) -> io::Result<bool> {
    let folder = fs::metadata(folder)?;
    let me = rustix::process::geteuid().as_raw();
    Ok(is_shared(&folder) && ![me, folder.uid()].contains(&found.uid()))
}

/// Checks that nobody else can put something in the place of a file of this user's in `folder`.
pub(crate) fn check_temporary(folder: &Path) -> io::Result<()> {
    const STICKY: u32 = 0o1000;
    let found = fs::metadata(folder)?;
    if is_shared(&found) && found.mode() & STICKY == 0 {
        let why = "other users may replace what is in it (it lacks the sticky bit)";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    Ok(())
}

fn is_shared(folder: &Metadata) -> bool {
    const OTHERS_MAY_WRITE: u32 = 0o002;
    folder.mode() & OTHERS_MAY_WRITE != 0
}
