//! Files that are replaced as a whole or not at all, and folders that others may write to.

use std::fs::{self, DirBuilder, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::Path;

use tempfile::NamedTempFile;

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
