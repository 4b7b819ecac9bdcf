//! What one run leaves for the next: the relay that each cluster was reached through, so that the
//! next start can connect to it before Azure has named it.
//!
//! The file holds no secret, and nothing in it is trusted: it only lets a connection begin early,
//! and only to a host that ARM's answer could name too. Whatever is wrong with it is as good as no
//! file. Runs that end their starts at the same time may lose each other's entries.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use crate::azure::cloud::Cloud;
use crate::azure::id::ClusterId;
use crate::files::{create_folder, replacement_in, sweep};

/// How many clusters are remembered.
const CLUSTERS: usize = 64;
/// The largest file that is read, in bytes.
const LIMIT: u64 = 256 << 10;
/// What the names of files begin with that are to take the file's place.
const REPLACEMENT: &str = ".relays-";

/// The relays of earlier runs.
#[derive(Debug)]
pub struct Remembered {
    folder: Option<PathBuf>,
}

/// The cluster's URL at ARM, in lower case, which tells the cloud too; its relay.
type Relays = BTreeMap<String, Relay>;

#[derive(Debug, Serialize, Deserialize)]
struct Relay {
    host: String,
    port: u16,
    /// When it was last used, seconds since 1970.
    used: u64,
}

impl Remembered {
    /// What is remembered in `folder`, which need not exist.
    pub fn in_folder(folder: PathBuf) -> Self {
        Self {
            folder: Some(folder),
        }
    }

    /// Remembers nothing and keeps nothing.
    pub fn disabled() -> Self {
        Self { folder: None }
    }

    /// The host and port of the relay through which the cluster was reached last, if a relay of
    /// `cloud` can be there. Reads a small file.
    pub fn relay(&self, cloud: &Cloud, id: &ClusterId) -> Option<(String, u16)> {
        let folder = self.folder.as_deref()?;
        let mut relays = readable(folder)?;
        let Relay { host, port, .. } = relays.remove(&key(cloud, id))?;
        if !cloud.is_relay(&host, port) {
            tracing::debug!(host, port, "what is remembered is no relay of this cloud");
            return None;
        }
        Some((host, port))
    }

    /// Remembers for each cluster the host and port of its relay. Blocks the thread while a small
    /// file is read and written.
    pub fn keep(&self, cloud: &Cloud, relays: Vec<(ClusterId, (String, u16))>) {
        let Some(folder) = &self.folder else { return };
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
        let used = since_1970.unwrap_or_default().as_secs();
        let new = relays
            .into_iter()
            .map(|(id, (host, port))| (key(cloud, &id), Relay { host, port, used }));
        if let Err(error) = keep(folder, new) {
            tracing::debug!(folder = %folder.display(), %error, "nothing is remembered");
        }
    }
}

fn key(cloud: &Cloud, id: &ClusterId) -> String {
    let arm = &cloud.resource_manager;
    // No user and no password, should the URL have some.
    let origin = arm.origin().ascii_serialization();
    let path = arm.path().trim_end_matches('/');
    format!("{origin}{path}{id}").to_ascii_lowercase()
}

fn keep(folder: &Path, new: impl Iterator<Item = (String, Relay)>) -> io::Result<()> {
    create_folder(folder)?;
    check(&fs::symlink_metadata(folder)?, Metadata::is_dir)?;
    let mut relays = readable(folder).unwrap_or_default();
    relays.extend(new);
    let mut newest: Vec<_> = relays.into_iter().collect();
    newest.sort_by_key(|(_, relay)| Reverse(relay.used));
    newest.truncate(CLUSTERS);
    let relays: Relays = newest.into_iter().collect();
    let mut text = serde_json::to_vec_pretty(&relays)?;
    text.push(b'\n');
    let path = file(folder);
    // A file of ours that makes no sense is replaced; whatever else is there is left alone.
    match fs::symlink_metadata(&path) {
        Ok(found) => check(&found, Metadata::is_file)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    sweep(folder, REPLACEMENT, |_| true);
    let mut replacement = replacement_in(folder, REPLACEMENT)?;
    replacement.write_all(&text)?;
    replacement.persist(path)?;
    Ok(())
}

/// What the file in `folder` says; `None` where there is none or it makes no sense.
fn readable(folder: &Path) -> Option<Relays> {
    match read(folder) {
        Ok(relays) => Some(relays),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            tracing::debug!(folder = %folder.display(), %error, "what is remembered cannot be read");
            None
        }
    }
}

fn read(folder: &Path) -> io::Result<Relays> {
    check(&fs::symlink_metadata(folder)?, Metadata::is_dir)?;
    // A link is not followed, and a pipe not waited for.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(file(folder), flags, Mode::empty())?);
    check(&file.metadata()?, Metadata::is_file)?;
    let mut text = Vec::new();
    file.take(LIMIT).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

/// Links are nothing to follow, and what others may change is nothing to go by.
fn check(found: &Metadata, is_right: impl FnOnce(&Metadata) -> bool) -> io::Result<()> {
    if !is_right(found) {
        return Err(io::Error::other("something else is in its place"));
    }
    if found.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::other("it belongs to somebody else"));
    }
    Ok(())
}

fn file(folder: &Path) -> PathBuf {
    folder.join("relays.json")
}

/// Any file in the place of ours: each relay that it leads to is one of the cloud's.
#[cfg(fuzzing)]
pub(crate) fn fuzzing(data: &[u8]) {
    let cloud = Cloud::named("AzureCloud").expect("a known cloud");
    let Ok(relays) = serde_json::from_slice::<Relays>(data) else {
        return;
    };
    for relay in relays.values() {
        if cloud.is_relay(&relay.host, relay.port) {
            assert!(relay.host.ends_with(".servicebus.windows.net") && relay.port == 443);
        }
    }
    let text = serde_json::to_vec_pretty(&relays).expect("what was read can be written");
    let again = serde_json::from_slice::<Relays>(&text).expect("and read");
    assert_eq!(again.len(), relays.len());
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use tempfile::TempDir;

    use super::*;

    const HOST: &str = "r1.servicebus.windows.net";

    fn cloud() -> Cloud {
        Cloud::named("AzureCloud").expect("known")
    }

    fn id(name: &str) -> ClusterId {
        ClusterId {
            subscription: "00000000-0000-0000-0000-0000000000aa".to_owned(),
            resource_group: "Factories".to_owned(),
            name: name.to_owned(),
        }
    }

    /// A folder that does not exist yet.
    fn nowhere() -> (TempDir, PathBuf, Remembered) {
        let parent = tempfile::tempdir().expect("a folder");
        let folder = parent.path().join("state/arcproxy");
        let remembered = Remembered::in_folder(folder.clone());
        (parent, folder, remembered)
    }

    fn keep_one(remembered: &Remembered, name: &str, host: &str) {
        remembered.keep(&cloud(), vec![(id(name), (host.to_owned(), 443))]);
    }

    fn host(remembered: &Remembered, name: &str) -> Option<String> {
        remembered.relay(&cloud(), &id(name)).map(|(host, _)| host)
    }

    fn mode(path: &Path) -> u32 {
        let metadata = fs::metadata(path).expect("is there");
        metadata.permissions().mode() & 0o777
    }

    #[test]
    fn it_is_kept_for_one_cluster_of_one_cloud() {
        let (_parent, folder, remembered) = nowhere();
        assert_eq!(host(&remembered, "edge"), None);
        keep_one(&remembered, "Edge", HOST);
        let relay = Some((HOST.to_owned(), 443));
        assert_eq!(remembered.relay(&cloud(), &id("eDGE")), relay);
        assert_eq!(host(&remembered, "other"), None);
        let elsewhere = Cloud {
            resource_manager: "https://arm.lab.example".parse().expect("a URL"),
            ..cloud()
        };
        assert_eq!(remembered.relay(&elsewhere, &id("edge")), None);
        assert_eq!((mode(&folder), mode(&file(&folder))), (0o700, 0o600));
        assert_eq!(mode(folder.parent().expect("one")), 0o700);
    }

    #[test]
    fn a_newer_relay_takes_the_place_of_an_older_one() {
        let (_parent, folder, remembered) = nowhere();
        keep_one(&remembered, "edge", HOST);
        keep_one(&remembered, "edge", "r2.servicebus.windows.net");
        let found = host(&remembered, "edge");
        assert_eq!(found.as_deref(), Some("r2.servicebus.windows.net"));
        let left = fs::read_dir(&folder).expect("a folder").count();
        assert_eq!(left, 1, "no file is left over");
    }

    #[test]
    fn only_the_newest_are_kept() {
        let (_parent, folder, remembered) = nowhere();
        let old = |number: u64| {
            let (host, port) = (HOST.to_owned(), 443);
            let used = number;
            let relay = Relay { host, port, used };
            (key(&cloud(), &id(&number.to_string())), relay)
        };
        let relays: Relays = (1..=100).map(old).collect();
        create_folder(&folder).expect("creates");
        let text = serde_json::to_string(&relays).expect("JSON");
        fs::write(file(&folder), text).expect("writes");
        keep_one(&remembered, "new", HOST);
        assert_eq!(read(&folder).expect("reads").len(), CLUSTERS);
        let known = |name: &str| host(&remembered, name).is_some();
        assert!(known("new") && known("100") && known("38"));
        assert!(!known("37") && !known("1"));
    }

    #[test]
    fn a_host_that_the_cloud_cannot_have_is_not_gone_to() {
        let (_parent, _folder, remembered) = nowhere();
        for elsewhere in [
            "relay.evil.example",
            "localhost",
            "a.b.servicebus.windows.net",
        ] {
            keep_one(&remembered, "edge", elsewhere);
            assert_eq!(host(&remembered, "edge"), None);
        }
        let other_port = vec![(id("edge"), (HOST.to_owned(), 80))];
        remembered.keep(&cloud(), other_port);
        assert_eq!(host(&remembered, "edge"), None);
    }

    #[test]
    fn what_makes_no_sense_is_replaced() {
        let (_parent, folder, remembered) = nowhere();
        create_folder(&folder).expect("creates");
        for text in ["", "[]", "{\"a\": 1}", "\0", "{\"a\": {\"host\": \"h\"}}"] {
            fs::write(file(&folder), text).expect("writes");
            assert_eq!(host(&remembered, "edge"), None, "{text}");
            keep_one(&remembered, "edge", HOST);
            assert!(host(&remembered, "edge").is_some(), "{text}");
        }
        // Spaces would do no harm but for how many they are.
        let mut large = fs::read(file(&folder)).expect("reads");
        let spaces = usize::try_from(LIMIT).expect("fits");
        large.splice(0..0, std::iter::repeat_n(b' ', spaces));
        fs::write(file(&folder), large).expect("writes");
        assert_eq!(host(&remembered, "edge"), None);
    }

    #[test]
    fn what_is_no_file_of_ours_is_left_alone() {
        let (parent, folder, remembered) = nowhere();
        keep_one(&remembered, "edge", HOST);
        let ours = fs::read(file(&folder)).expect("reads");
        let target = parent.path().join("target");
        fs::rename(file(&folder), &target).expect("renames");
        symlink(&target, file(&folder)).expect("links");
        assert_eq!(host(&remembered, "edge"), None, "a link is not followed");
        keep_one(&remembered, "other", HOST);
        assert_eq!(fs::read(&target).expect("reads"), ours);
        assert!(
            fs::symlink_metadata(file(&folder))
                .expect("is there")
                .is_symlink()
        );

        fs::remove_file(file(&folder)).expect("removes");
        fs::create_dir(file(&folder)).expect("creates");
        keep_one(&remembered, "edge", HOST);
        assert_eq!(host(&remembered, "edge"), None);

        fs::remove_dir(file(&folder)).expect("removes");
        let kind = rustix::fs::FileType::Fifo;
        let mode = Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, file(&folder), kind, mode, 0).expect("makes a pipe");
        keep_one(&remembered, "edge", HOST);
        assert_eq!(host(&remembered, "edge"), None);
    }

    #[test]
    fn what_a_run_that_was_killed_left_goes() {
        let (_parent, folder, remembered) = nowhere();
        keep_one(&remembered, "edge", HOST);
        let left = folder.join(".relays-a1b2c3");
        let file = File::create(&left).expect("a file");
        let long_ago = SystemTime::now() - std::time::Duration::from_mins(2);
        file.set_modified(long_ago).expect("sets the time");
        keep_one(&remembered, "other", HOST);
        assert!(!left.exists());
        assert_eq!(host(&remembered, "edge").as_deref(), Some(HOST));
    }

    #[test]
    fn what_is_somebody_elses_is_nothing_to_go_by() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let is_right = |path: &Path| {
            let metadata = fs::metadata(path).expect("is there");
            check(&metadata, |_| true).is_ok()
        };
        assert!(is_right(file.path()));
        // Only root can give files away, and only root's is the root folder.
        let given = std::os::unix::fs::chown(file.path(), Some(1), None);
        let theirs = given.map_or(Path::new("/"), |()| file.path());
        assert!(!is_right(theirs));
    }

    #[test]
    fn a_folder_that_is_a_link_is_not_used() {
        let (parent, folder, remembered) = nowhere();
        keep_one(&remembered, "edge", HOST);
        let target = parent.path().join("target");
        fs::rename(&folder, &target).expect("renames");
        symlink(&target, &folder).expect("links");
        assert_eq!(host(&remembered, "edge"), None);
        fs::remove_file(target.join("relays.json")).expect("removes");
        keep_one(&remembered, "edge", HOST);
        assert_eq!(fs::read_dir(&target).expect("a folder").count(), 0);
    }

    #[test]
    fn what_cannot_be_written_is_no_failure() {
        let parent = tempfile::tempdir().expect("a folder");
        let taken = parent.path().join("taken");
        fs::write(&taken, "").expect("writes");
        let remembered = Remembered::in_folder(taken.join("arcproxy"));
        keep_one(&remembered, "edge", HOST);
        assert_eq!(host(&remembered, "edge"), None);
    }

    #[test]
    fn a_disabled_one_keeps_nothing() {
        let remembered = Remembered::disabled();
        keep_one(&remembered, "edge", HOST);
        assert_eq!(host(&remembered, "edge"), None);
    }

    #[test]
    fn an_arm_urls_password_is_not_written_down() {
        let (_parent, folder, remembered) = nowhere();
        let cloud = Cloud {
            resource_manager: "https://ana:hunter2@arm.lab.example/v1/"
                .parse()
                .expect("a URL"),
            ..cloud()
        };
        remembered.keep(&cloud, vec![(id("edge"), (HOST.to_owned(), 443))]);
        let text = fs::read_to_string(file(&folder)).expect("text");
        assert!(
            text.contains("\"https://arm.lab.example/v1/subscriptions/"),
            "{text}"
        );
        assert!(!text.contains("hunter2"));
    }
}
