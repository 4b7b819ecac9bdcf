//! Files that are replaced as a whole or not at all.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
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
