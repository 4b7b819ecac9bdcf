//! Secrets: never on disk, in no core dump.

use std::path::Path;
use std::process::Stdio;

use super::wire::Local;
use crate::harness::{Proxy, Ran, World};

const DEMO: [&str; 4] = ["-n", "edge-demo", "-g", "demo"];

/// Every file below `folder`, with what it holds.
fn files(folder: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            let bytes = std::fs::read(&path).unwrap();
            let text = String::from_utf8_lossy(&bytes).into_owned();
            found.push((path.display().to_string(), text));
        }
    }
    found
}

/// What Azure and the cluster would take, or a part of it.
fn assert_no_credential(found: &[(String, String)], known: &[&str]) {
    for (path, text) in found {
        for mark in ["SharedAccessSignature", "eyJ", "PRIVATE KEY", "Bearer "] {
            assert!(!text.contains(mark), "{mark} is in {path}");
        }
        for secret in known {
            assert!(!text.contains(secret), "a secret is in {path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_credential_is_on_disk() {
    let world = World::new().await;
    let (home, temporary) = (world.path("home"), world.path("tmp"));
    let state = world.path("state");
    for folder in [&home, &temporary, &state] {
        std::fs::create_dir(folder).unwrap();
    }
    let token = world.service_account_token();
    let secret = world.emulator.client_secret();
    let known = [token.as_str(), secret.as_str()];
    for by_token in [false, true] {
        let placed = |mut command: tokio::process::Command| {
            command
                .env("HOME", &home)
                .env("TMPDIR", &temporary)
                .env("XDG_STATE_HOME", &state)
                .env("ARCPROXY_LOG", "trace");
            if by_token {
                command.env("ARCPROXY_TOKEN", &token);
            }
            command
        };
        let kubeconfig = home.join(".kube/config");
        let proxy = Proxy::start(placed(world.arcproxy(&DEMO))).await;
        let local = Local::in_text(&std::fs::read_to_string(&kubeconfig).unwrap());
        assert!(local.serves().await);
        let found = files(world.home());
        assert!(found.len() > 1, "{found:?}");
        assert_no_credential(&found, &known);
        // The local token is where its user's tools look for it, and nowhere else.
        for (path, text) in &found {
            let is_there = text.contains(&local.token);
            assert_eq!(is_there, Path::new(path) == kubeconfig, "{path}");
        }
        proxy.signal("TERM");
        proxy.ended().await;
        // While a command runs, and when it has ended.
        let script = "cp -r \"$TMPDIR\" \"$HOME/seen\"";
        let mut command = placed(world.arcproxy(&DEMO));
        Ran::of(command.args(["--", "sh", "-c", script])).await.ok();
        let seen = files(&home.join("seen"));
        assert!(!seen.is_empty(), "the kubeconfig was there");
        assert_no_credential(&files(world.home()), &known);
        assert_eq!(files(&temporary), []);
        std::fs::remove_dir_all(home.join("seen")).unwrap();
    }
}

/// Where the system writes core files at all.
#[tokio::test(flavor = "multi_thread")]
async fn its_memory_is_in_no_core_dump_and_the_commands_is() {
    let world = World::new().await;
    // Says whether a shell that is killed so leaves a core file, by its own account.
    let dies = "ulimit -c unlimited; exec \"$@\"";
    let dumped = async |arguments: &[&str]| {
        let folder = world.path("cores");
        std::fs::create_dir_all(&folder).unwrap();
        let mut command = world.command("sh");
        command
            .args(["-c", dies, "sh"])
            .args(arguments)
            .current_dir(&folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let status = command.status().await.unwrap();
        let found = std::fs::read_dir(&folder).unwrap().count();
        std::fs::remove_dir_all(&folder).unwrap();
        (
            std::os::unix::process::ExitStatusExt::core_dumped(&status),
            found,
        )
    };
    let suicide = ["sh", "-c", "kill -s ABRT $$"];
    if !dumped(&suicide).await.0 {
        super::left_out("this system writes no core dumps");
        return;
    }
    let binary = [env!("CARGO_BIN_EXE_arcproxy")];
    // It is killed while the command runs, by the command.
    let killed = [
        &binary[..],
        &DEMO,
        &["--", "sh", "-c", "kill -s ABRT $PPID"],
    ]
    .concat();
    let (is_dumped, _) = dumped(&killed).await;
    assert!(!is_dumped, "a core dump has its secrets");
    // What it runs is as it would be anyway, and so is its limit.
    let child = [
        &binary[..],
        &DEMO,
        &[
            "--",
            "sh",
            "-c",
            "test \"$(ulimit -c)\" = unlimited && kill -s ABRT $$",
        ],
    ]
    .concat();
    let (_, cores) = dumped(&child).await;
    if std::fs::read_to_string("/proc/sys/kernel/core_pattern")
        .unwrap()
        .trim()
        == "core"
    {
        assert_eq!(cores, 1, "the command is no secret");
    }
}
