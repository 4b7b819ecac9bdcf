//! Sign-ins in a file that only this user can read.

use std::fs::{self, File, Metadata, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use rustix::fs::{Mode, OFlags};
use tokio::time::{Instant, sleep};
use zeroize::Zeroizing;

use super::Source;
use crate::files::{create_folder, replacement_in, sweep};

/// The largest file that is read, in bytes.
const LIMIT: usize = 256 << 10;
/// What the names of files begin with that are to take the file's place.
const REPLACEMENT: &str = ".sign-ins-";
/// How long another run may take to change what is kept. It may be stopped, or wait for somebody
/// to unlock a keyring.
const TURN: Duration = Duration::from_secs(5);
/// How often is looked whether it is done.
const PAUSE: Duration = Duration::from_millis(20);

/// The folder that the file is in. It need not exist.
#[derive(Debug, Clone)]
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    fn file(&self) -> PathBuf {
        self.0.join("sign-ins.json")
    }

    /// What tells that a sign-in is in a keyring, for when that is out of reach.
    pub(super) fn mark(&self) -> PathBuf {
        self.0.join("sign-ins.keyring")
    }

    pub(super) fn is_there(&self) -> bool {
        self.0.exists()
    }

    /// Waits for the turn to change what is kept, here or elsewhere, for five seconds.
    pub(super) async fn lock(&self) -> io::Result<File> {
        create_folder(&self.0)?;
        check_folder(&self.0)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o600);
        let path = self.0.join("sign-ins.lock");
        let lock = File::from(rustix::fs::open(path, flags, mode)?);
        let end = Instant::now() + TURN;
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(lock),
                Err(TryLockError::Error(error)) => return Err(error),
                Err(TryLockError::WouldBlock) if Instant::now() < end => sleep(PAUSE).await,
                Err(TryLockError::WouldBlock) => {
                    let why = "another arcproxy is at it";
                    return Err(io::Error::new(io::ErrorKind::TimedOut, why));
                }
            }
        }
    }
}

#[async_trait]
impl Source for Folder {
    fn limit(&self) -> usize {
        LIMIT
    }

    async fn read(&self) -> io::Result<Option<Zeroizing<String>>> {
        let read = || -> io::Result<_> {
            check_folder(&self.0)?;
            // A link is not followed, and a pipe not waited for.
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let file = File::from(rustix::fs::open(self.file(), flags, Mode::empty())?);
            check_file(&file.metadata()?)?;
            let mut text = Zeroizing::new(String::new());
            file.take(LIMIT as u64).read_to_string(&mut text)?;
            Ok(text)
        };
        match read() {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => {
                // A good one will take its place.
                tracing::info!(file = %self.file().display(), %error, "what is kept there is not used");
                Ok(None)
            }
        }
    }

    async fn write(&self, text: &str) -> io::Result<()> {
        // What is no file is left alone; a file takes the place of whatever file was there.
        match fs::symlink_metadata(self.file()) {
            Ok(found) if !found.is_file() => return Err(something_else()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // A run that was killed just then has left all that it was to keep.
        sweep(&self.0, REPLACEMENT, |_| true);
        let mut replacement = replacement_in(&self.0, REPLACEMENT)?;
        replacement.write_all(text.as_bytes())?;
        replacement.persist(self.file())?;
        Ok(())
    }

    async fn clear(&self) -> io::Result<()> {
        let remove = |path: PathBuf| match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        // What a run left that was killed just then has as much in it.
        for entry in fs::read_dir(&self.0).into_iter().flatten() {
            let entry = entry?;
            if entry
                .file_name()
                .as_encoded_bytes()
                .starts_with(REPLACEMENT.as_bytes())
            {
                remove(entry.path())?;
            }
        }
        remove(self.file())
    }
}

fn check_folder(folder: &Path) -> io::Result<()> {
    let found = fs::symlink_metadata(folder)?;
    if !found.is_dir() {
        return Err(something_else());
    }
    check_owner(&found)
}

/// What others could read or change is nothing to go by.
fn check_file(found: &Metadata) -> io::Result<()> {
    if !found.is_file() {
        return Err(something_else());
    }
    if found.mode() & 0o077 != 0 {
        return Err(io::Error::other("others may read it"));
    }
    check_owner(found)
}

fn check_owner(found: &Metadata) -> io::Result<()> {
    if found.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::other("it belongs to somebody else"));
    }
    Ok(())
}

fn something_else() -> io::Error {
    io::Error::other("something else is in its place")
}
