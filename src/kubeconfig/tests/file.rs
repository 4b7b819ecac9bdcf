//! Writing to real files.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;

use super::super::file::write_within;
use super::super::{Entry, MergeError, Warning, WriteError, check, fresh, write};
use super::{ENTRY, KUBECTL, merged};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// The names in `directory`, to see that nothing was left behind.
fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_new_file_is_private_and_so_are_its_directories() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("a/.kube/config");
    let written = write(&path, &ENTRY).unwrap();
    assert_eq!(written.path, path);
    assert_eq!(written.warnings, []);
    assert_eq!(fs::read_to_string(&path).unwrap(), fresh(&ENTRY));
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    assert_eq!(mode(&home.path().join("a")), 0o700);
    assert_eq!(names(path.parent().unwrap()), ["config"]);
}

#[test]
fn mode_stays_and_a_wide_one_is_warned_of() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("config");
    fs::write(&path, KUBECTL).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    let written = write(&path, &ENTRY).unwrap();
    let warning = Warning::ReadableByOthers {
        path: path.clone(),
        mode: 0o640,
    };
    assert_eq!(written.warnings, [warning]);
    assert_eq!(mode(&path), 0o640);
    assert_eq!(fs::read_to_string(&path).unwrap(), merged(KUBECTL));
    assert_eq!(names(home.path()), ["config"]);
}

#[test]
fn a_link_stays_and_its_target_changes() {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join("real")).unwrap();
    let target = home.path().join("real/config");
    fs::write(&target, KUBECTL).unwrap();
    let middle = home.path().join("real/middle");
    symlink("config", &middle).unwrap();
    let link = home.path().join("link");
    symlink("real/middle", &link).unwrap();
    let written = write(&link, &ENTRY).unwrap();
    assert!(written.path.ends_with("real/config"));
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(fs::symlink_metadata(&middle).unwrap().is_symlink());
    assert_eq!(fs::read_to_string(&target).unwrap(), merged(KUBECTL));

    let dangling = home.path().join("dangling");
    symlink("not/yet", &dangling).unwrap();
    write(&dangling, &ENTRY).unwrap();
    assert!(fs::symlink_metadata(&dangling).unwrap().is_symlink());
    assert_eq!(fs::read_to_string(&dangling).unwrap(), fresh(&ENTRY));
    assert_eq!(names(home.path()), ["dangling", "link", "not", "real"]);
}

#[test]
fn an_unchanged_file_is_not_written() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("config");
    write(&path, &ENTRY).unwrap();
    let before = fs::metadata(&path).unwrap().ino();
    write(&path, &ENTRY).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().ino(), before);
}

#[test]
fn a_lock_is_waited_for_and_then_named() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("config");
    fs::write(&path, KUBECTL).unwrap();
    let lock = home.path().join("config.lock");
    fs::write(&lock, "").unwrap();
    let error = write_within(&path, &ENTRY, Duration::ZERO).unwrap_err();
    assert!(matches!(&error, WriteError::Locked { lock: l, .. } if *l == lock));
    assert!(error.to_string().contains("config.lock"));
    assert_eq!(fs::read_to_string(&path).unwrap(), KUBECTL);
    assert!(lock.exists(), "somebody else's lock");

    let writer = {
        let path = path.clone();
        std::thread::spawn(move || write(&path, &ENTRY))
    };
    fs::remove_file(&lock).unwrap();
    writer.join().unwrap().unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), merged(KUBECTL));
    assert_eq!(names(home.path()), ["config"]);
}

#[test]
fn a_lock_of_a_run_that_was_killed_is_taken_over() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("config");
    fs::write(&path, KUBECTL).unwrap();
    let lock = home.path().join("config.lock");
    fs::write(&lock, "arcproxy\n").unwrap();
    // One that lives holds it.
    let held = fs::File::open(&lock).unwrap();
    held.lock().unwrap();
    let error = write_within(&path, &ENTRY, Duration::ZERO).unwrap_err();
    assert!(matches!(&error, WriteError::Locked { .. }), "{error}");
    assert!(lock.exists());
    drop(held);
    write_within(&path, &ENTRY, Duration::ZERO).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), merged(KUBECTL));
    assert_eq!(names(home.path()), ["config"]);
}

#[test]
fn a_lock_that_only_looks_like_ours_is_left_alone() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("config");
    fs::write(&path, KUBECTL).unwrap();
    let lock = home.path().join("config.lock");
    let other = home.path().join("other");
    fs::write(&other, "arcproxy\n").unwrap();
    symlink(&other, &lock).unwrap();
    let is_locked = || {
        let written = write_within(&path, &ENTRY, Duration::ZERO);
        matches!(written, Err(WriteError::Locked { .. }))
    };
    assert!(is_locked(), "a link");
    fs::remove_file(&lock).unwrap();
    fs::create_dir(&lock).unwrap();
    assert!(is_locked(), "a folder");
    fs::remove_dir(&lock).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &lock, rustix::fs::Mode::RUSR).unwrap();
    assert!(is_locked(), "a pipe, which is not waited for");
    for text in ["", "arcproxy", "arcproxy\n\n", "somebody\n"] {
        fs::remove_file(&lock).unwrap();
        fs::write(&lock, text).unwrap();
        assert!(is_locked(), "{text:?}");
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), KUBECTL);
    // One that is another file's second name is no more than that.
    fs::remove_file(&lock).unwrap();
    fs::hard_link(&path, &lock).unwrap();
    assert!(is_locked(), "a second name");
    assert_eq!(fs::read_to_string(&path).unwrap(), KUBECTL);
    assert_eq!(names(home.path()), ["config", "config.lock", "other"]);
}

#[test]
fn what_a_run_that_was_killed_left_on_its_way_is_removed() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("config");
    fs::write(&path, KUBECTL).unwrap();
    let long_ago = std::time::SystemTime::now() - Duration::from_mins(2);
    let file = |name: &str| {
        let file = fs::File::create(home.path().join(name)).unwrap();
        file.set_modified(long_ago).unwrap();
        file
    };
    file(".arcproxy-new-a1b2c3");
    file(".kubeconfig-mine");
    let now = std::time::SystemTime::now();
    file(".arcproxy-new-young1").set_modified(now).unwrap();
    fs::create_dir(home.path().join(".arcproxy-new-folder")).unwrap();
    write(&path, &ENTRY).unwrap();
    let left = [
        ".arcproxy-new-folder",
        ".arcproxy-new-young1",
        ".kubeconfig-mine",
        "config",
    ];
    assert_eq!(names(home.path()), left);
}

#[test]
fn writers_at_the_same_time_lose_nothing() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("config");
    let names: Vec<String> = (0..8).map(|n| format!("edge-{n}")).collect();
    std::thread::scope(|scope| {
        for name in &names {
            let path = &path;
            let entry = Entry {
                context: name,
                user: name,
                ..ENTRY
            };
            scope.spawn(move || {
                write_within(path, &entry, Duration::from_mins(1)).unwrap();
            });
        }
    });
    let text = fs::read_to_string(&path).unwrap();
    for name in &names {
        assert!(text.contains(&format!("- name: {name}\n  user:")), "{name}");
    }
}

#[test]
fn every_refusal_is_told_apart_and_leaves_the_file() {
    let home = tempfile::tempdir().unwrap();
    let path = |name: &str| home.path().join(name);

    fs::create_dir(path("directory")).unwrap();
    let error = write(&path("directory"), &ENTRY).unwrap_err();
    assert!(matches!(error, WriteError::IsDirectory { .. }), "{error}");

    symlink("b", path("a")).unwrap();
    symlink("a", path("b")).unwrap();
    let error = write(&path("a"), &ENTRY).unwrap_err();
    assert!(matches!(error, WriteError::SymlinkLoop { .. }), "{error}");

    fs::write(path("read-only"), KUBECTL).unwrap();
    fs::set_permissions(path("read-only"), Permissions::from_mode(0o400)).unwrap();
    let error = write(&path("read-only"), &ENTRY).unwrap_err();
    assert!(matches!(error, WriteError::ReadOnly { .. }), "{error}");
    assert_eq!(fs::read_to_string(path("read-only")).unwrap(), KUBECTL);

    fs::write(path("binary"), [0xff, 0xfe]).unwrap();
    let error = write(&path("binary"), &ENTRY).unwrap_err();
    assert!(matches!(error, WriteError::NotText { .. }), "{error}");

    fs::write(path("list"), "- a\n").unwrap();
    let error = write(&path("list"), &ENTRY).unwrap_err();
    assert!(
        matches!(
            &error,
            WriteError::Merge {
                source: MergeError::NotKubeconfig { .. },
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(fs::read_to_string(path("list")).unwrap(), "- a\n");

    let error = write(&path("list/config"), &ENTRY).unwrap_err();
    assert!(matches!(error, WriteError::Io { .. }), "{error}");

    let error = write(Path::new("/dev/full"), &ENTRY).unwrap_err();
    assert!(
        matches!(
            error,
            WriteError::NotAFile { .. } | WriteError::Denied { .. }
        ),
        "{error}"
    );
    assert_eq!(
        names(home.path()),
        ["a", "b", "binary", "directory", "list", "read-only"]
    );
}

#[test]
fn system_errors_are_sorted() {
    let path = Path::new("config");
    let sort = |errno: Errno| WriteError::from_io(path, errno.into());
    assert!(matches!(sort(Errno::NOSPC), WriteError::DiskFull { .. }));
    assert!(matches!(sort(Errno::DQUOT), WriteError::DiskFull { .. }));
    assert!(matches!(sort(Errno::ROFS), WriteError::ReadOnly { .. }));
    assert!(matches!(sort(Errno::ACCESS), WriteError::Denied { .. }));
    assert!(matches!(sort(Errno::PERM), WriteError::Denied { .. }));
    assert!(matches!(sort(Errno::LOOP), WriteError::SymlinkLoop { .. }));
    assert!(matches!(sort(Errno::IO), WriteError::Io { .. }));
}

/// Only root can give files away: elsewhere nobody else's is at hand.
#[test]
#[expect(
    clippy::print_stderr,
    reason = "who reads that a test passed may want to know what it did not try"
)]
fn what_another_user_has_put_into_a_shared_folder_is_not_followed_or_written_to() {
    let shared = tempfile::tempdir().unwrap();
    fs::set_permissions(shared.path(), Permissions::from_mode(0o1777)).unwrap();
    let (link, own) = (shared.path().join("link"), tempfile::tempdir().unwrap());
    let target = own.path().join("config");
    symlink(&target, &link).unwrap();
    let file = shared.path().join("config");
    fs::write(&file, KUBECTL).unwrap();
    // One's own are followed and written to.
    write(&link, &ENTRY).unwrap();
    write(&file, &ENTRY).unwrap();
    for theirs in [&link, &file] {
        if std::os::unix::fs::lchown(theirs, Some(65_533), None).is_err() {
            eprintln!("left out: only root can play another user");
            return;
        }
        let before = fs::read(theirs).unwrap();
        for refused in [write(theirs, &ENTRY).err(), check(theirs).err()] {
            let refused = refused.expect("refused");
            assert!(matches!(&refused, WriteError::Planted { path } if path == theirs));
            assert!(refused.to_string().contains("another user"), "{refused}");
        }
        assert_eq!(fs::read(theirs).unwrap(), before);
    }
    // In a folder of one's own, root may write to anybody's.
    fs::set_permissions(shared.path(), Permissions::from_mode(0o755)).unwrap();
    write(&file, &ENTRY).unwrap();
    assert_eq!(fs::metadata(&file).unwrap().uid(), 65_533);
}
