//! A kubeconfig whose writer is killed before each of its system calls, which strace does.

use std::collections::HashMap;
use std::fs::{self, Permissions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, SystemTime};

use arcproxy::kubeconfig::{self, Entry};
use tempfile::TempDir;

/// Tells [`writes_once`] what to write.
const FILE: &str = "ARCPROXY_TEST_KUBECONFIG";

/// Calls by which a file can be touched, and those between them.
const CALLS: &str = "%file,%desc,flock,fsync,fchmod,fchown,ftruncate";

/// More calls of a kind than a thread of libtest's makes.
const AHEAD: usize = 40;

/// As many runs as there are to be.
const RUNS: usize = 200;

const ENTRY: Entry<'static> = Entry {
    context: "edge-42",
    user: "clusterUser_factories_edge-42",
    server: "https://127.0.0.1:47011/proxies/ab",
    certificate_authority_pem: "CA",
    token: "7f3a1b",
};

const OWN: &str = "\
# mine
apiVersion: v1
clusters:
- {name: home, cluster: {server: 'https://home.example:6443'}}
current-context: home # the one I use
users: []
";

/// How things are before a run.
struct Before {
    _home: TempDir,
    folder: PathBuf,
    /// What is written to.
    path: PathBuf,
    /// The file itself, and its text and mode if it exists.
    file: PathBuf,
    was: Option<(String, u32)>,
}

type Scene = (&'static str, fn() -> Before);

const SCENES: [Scene; 6] = [
    ("somebody's file", || Before::with(OWN, 0o640)),
    ("no file, and no folder", || {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("new/.kube");
        let path = folder.join("config");
        Before {
            _home: home,
            folder,
            file: path.clone(),
            path,
            was: None,
        }
    }),
    ("a link", || {
        let mut before = Before::with(OWN, 0o600);
        let link = before.folder.parent().unwrap().join("link");
        symlink(&before.file, &link).unwrap();
        before.path = link;
        before
    }),
    ("a lock that was left", || {
        let before = Before::with(OWN, 0o600);
        fs::write(before.folder.join("config.lock"), "arcproxy\n").unwrap();
        before
    }),
    ("a link to a folder's link, and a lock there", || {
        let mut before = Before::with(OWN, 0o600);
        fs::write(before.folder.join("config.lock"), "arcproxy\n").unwrap();
        let elsewhere = before.folder.parent().unwrap().join("elsewhere");
        symlink(&before.folder, &elsewhere).unwrap();
        before.path = before.folder.parent().unwrap().join("link");
        symlink(elsewhere.join("config"), &before.path).unwrap();
        before
    }),
    ("an entry of before", || {
        let stale = Entry {
            token: "old",
            ..ENTRY
        };
        Before::with(&kubeconfig::merge(OWN, &stale).unwrap(), 0o600)
    }),
];

impl Before {
    fn with(text: &str, mode: u32) -> Self {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join(".kube");
        fs::create_dir(&folder).unwrap();
        let file = folder.join("config");
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        Self {
            _home: home,
            folder,
            path: file.clone(),
            file,
            was: Some((text.to_owned(), mode)),
        }
    }

    /// The file's text and mode now.
    fn now(&self) -> Option<(String, u32)> {
        let text = fs::read_to_string(&self.file).ok()?;
        let mode = fs::metadata(&self.file).unwrap().permissions().mode();
        Some((text, mode & 0o7777))
    }

    /// What the file is once it is written.
    fn merged(&self) -> (String, u32) {
        let (text, mode) = self.was.clone().unwrap_or((String::new(), 0o600));
        (kubeconfig::merge(&text, &ENTRY).unwrap(), mode)
    }

    /// What is beside the file.
    fn others(&self) -> Vec<PathBuf> {
        let beside = |folder: &Path| {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            entries.map(|entry| entry.path()).collect::<Vec<_>>()
        };
        let mut others = beside(&self.folder);
        if self.path.parent() != self.file.parent() {
            others.extend(beside(self.path.parent().unwrap()));
        }
        let known = [&self.file, &self.folder];
        others.retain(|other| !known.contains(&other) && !other.is_symlink());
        others
    }
}

/// Not a test of its own: what strace runs.
#[test]
#[ignore = "the test below runs it"]
fn writes_once() {
    if let Some(path) = std::env::var_os(FILE) {
        // strace counts by thread and kind, and libtest's own thread makes some calls too.
        for _ in 0..AHEAD {
            let _ = rustix::fs::access("/dev/null", rustix::fs::Access::EXISTS);
            let _ = fs::metadata("/dev/null");
            let _ = fs::symlink_metadata("/dev/null");
            let _ = fs::read_dir("/proc/self/task").map(Iterator::count);
            let mut null = fs::File::options()
                .read(true)
                .write(true)
                .open("/dev/null")
                .unwrap();
            let _ = (
                null.write(b"-"),
                null.read(&mut [0]),
                null.metadata(),
                null.stream_position(),
            );
        }
        kubeconfig::write(Path::new(&path), &ENTRY).unwrap();
    }
}

/// Runs [`writes_once`] in a process of its own under strace with `options`.
fn write_under_strace(path: &Path, options: &[&str]) -> ExitStatus {
    let name = format!(
        "{}::writes_once",
        module_path!().split_once("::").unwrap().1
    );
    let traced = format!("trace={CALLS}");
    Command::new("strace")
        .args(["-f", "-e", &traced])
        .args(options)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &name, "--ignored"])
        .env(FILE, path)
        // Each folder in it is looked into for each library.
        .env_remove("LD_LIBRARY_PATH")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("strace (apt-get install strace)")
}

/// A system call of the writer's: its name, and how many of that name have gone before.
type Call = (String, usize);

/// From the first call that is about the kubeconfig to the last.
fn calls(scene: fn() -> Before) -> Vec<Call> {
    let before = scene();
    let log = tempfile::NamedTempFile::new().unwrap();
    let told = log.path().to_str().unwrap();
    let ended = write_under_strace(&before.path, &["-y", "-s", "4096", "-o", told]);
    assert!(ended.success(), "{ended}");
    assert_eq!(before.now(), Some(before.merged()));
    let log = fs::read_to_string(log.path()).unwrap();
    let home = before.path.parent().unwrap().to_str().unwrap();
    let mut counts: HashMap<(&str, &str), usize> = HashMap::new();
    let mut all = Vec::new();
    for line in log.lines().filter(|line| !line.contains(" resumed>")) {
        let Some((thread, (name, _))) = line
            .split_once(' ')
            .and_then(|(thread, rest)| Some((thread, rest.trim().split_once('(')?)))
        else {
            continue;
        };
        let count = counts.entry((thread, name)).or_default();
        all.push((thread, name, *count, line.contains(home)));
        *count += 1;
    }
    let (writer, ..) = *all.iter().find(|(.., is_about)| *is_about).unwrap();
    let others = |name: &str| {
        let others = counts
            .iter()
            .filter(|((thread, other), _)| *thread != writer && *other == name);
        others.map(|(_, count)| *count).max().unwrap_or(0)
    };
    all.retain(|(thread, ..)| *thread == writer);
    let first = all.iter().position(|(.., is_about)| *is_about).unwrap();
    let last = all.iter().rposition(|(.., is_about)| *is_about).unwrap();
    // Memory comes and goes between, which touches no file.
    let calls = all[first..=last]
        .iter()
        .filter(|(_, name, ..)| *name != "mmap");
    let calls: Vec<_> = calls
        .map(|(_, name, before, _)| {
            assert!(
                *before >= others(name),
                "another thread is the first to reach {name} {before}"
            );
            ((*name).to_owned(), *before)
        })
        .collect();
    calls
}

#[test]
fn a_kubeconfig_is_whole_wherever_its_writer_is_killed() {
    let scenes = std::thread::scope(|scope| {
        let scenes =
            SCENES.map(|(name, scene)| scope.spawn(move || kill_at_each_call(name, scene)));
        scenes.map(|scene| scene.join().unwrap())
    });
    let runs: usize = scenes.iter().map(|(runs, _)| runs).sum();
    let written: usize = scenes.iter().map(|(_, written)| written).sum();
    assert!(runs >= RUNS && written > 0, "{runs}, {written}");
}

/// How often it was killed, and how often once the file had changed.
fn kill_at_each_call(name: &str, scene: fn() -> Before) -> (usize, usize) {
    let (mut runs, mut written) = (0, 0);
    for (call, earlier) in calls(scene) {
        let before = scene();
        let kill = format!("inject={call}:signal=KILL:when={}", earlier + 1);
        let ended = write_under_strace(&before.path, &["-o", "/dev/null", "-e", &kill]);
        let at = format!("{name}, {call} {earlier}");
        assert_eq!(ended.signal(), Some(9), "{at}: {ended}");
        is_whole(&before, &at);
        written += usize::from(before.now() == Some(before.merged()));
        is_no_hindrance(&before, &at);
        runs += 1;
    }
    // On either side of the one call that matters.
    assert!(written > 0 && written < runs, "{name}: {written} of {runs}");
    (runs, written)
}

/// As it was, or merged; with its mode, and no link of it changed.
#[track_caller]
fn is_whole(before: &Before, at: &str) {
    let now = before.now();
    assert!(
        now == before.was || now == Some(before.merged()),
        "{at}: {now:?}"
    );
    if before.path != before.file {
        let link = fs::symlink_metadata(&before.path).unwrap();
        assert!(link.is_symlink(), "{at}");
    }
}

/// The next run neither waits nor fails, and in the end nothing is left.
#[track_caller]
fn is_no_hindrance(before: &Before, at: &str) {
    kubeconfig::write(&before.path, &ENTRY).unwrap_or_else(|error| panic!("{at}: {error}"));
    assert_eq!(before.now(), Some(before.merged()), "{at}");
    let others = before.others();
    let is_on_its_way = |path: &PathBuf| {
        path.file_name()
            .unwrap()
            .as_encoded_bytes()
            .starts_with(b".arcproxy-new-")
    };
    assert!(others.iter().all(is_on_its_way), "{at}: {others:?}");
    // Later, when it can be nobody's any more.
    for path in &others {
        let mode = fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o037, 0, "{at}: {}", path.display());
        let file = fs::File::options().write(true).open(path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_mins(2))
            .unwrap();
    }
    kubeconfig::write(&before.path, &ENTRY).unwrap();
    assert_eq!(before.others(), [] as [PathBuf; 0], "{at}");
}
