//! Other users of the machine.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use super::wire::Local;
use crate::harness::{Proxy, Ran, World};

const DEMO: [&str; 4] = ["-n", "edge-demo", "-g", "demo"];

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_passes_without_the_token_of_this_run() {
    let world = World::new().await;
    let earlier = world.proxy(&[]).await;
    let before = Local::of(&world);
    let earlier_token = before.token.clone();
    earlier.signal("TERM");
    earlier.ended().await;
    let _proxy = world.proxy(&[]).await;
    let local = Local::of(&world);
    let token = local.token.clone();
    assert_ne!(token, earlier_token);
    assert!(local.serves().await);
    // Who takes the port of a run that has ended cannot pass for it.
    let mut trusting = before;
    trusting.port = local.port;
    let refused = trusting.try_tls("h2").await.expect_err("another authority");
    assert!(refused.to_string().contains("certificate"), "{refused}");
    let asked = |authorization: &str| {
        format!(
            "GET {}/api HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{authorization}\r\n",
            local.path
        )
    };
    // Wrong at its beginning, and at its end.
    let wrong = |at: usize| {
        let mut wrong = token.clone().into_bytes();
        wrong[at] = if wrong[at] == b'0' { b'1' } else { b'0' };
        String::from_utf8(wrong).unwrap()
    };
    let before = world.emulator.aad_proxy().seen().requests;
    let mut answers = Vec::new();
    for authorization in [
        String::new(),
        "Authorization: Bearer \r\n".to_owned(),
        format!("Authorization: Bearer {}\r\n", wrong(0)),
        format!("Authorization: Bearer {}\r\n", wrong(token.len() - 1)),
        format!("Authorization: Bearer {earlier_token}\r\n"),
        format!("Authorization: Bearer {token}0\r\n"),
        format!("Authorization: Bearer {}\r\n", &token[..63]),
        format!("Authorization: Basic {token}\r\n"),
        format!("Authorization: {token}\r\n"),
        format!("Proxy-Authorization: Bearer {token}\r\n"),
        format!("Cookie: token={token}\r\n"),
        format!("Authorization: Bearer {token}\r\nAuthorization: Bearer {earlier_token}\r\n"),
    ] {
        let answer = local.ask(asked(&authorization)).await;
        assert_eq!(answer.status, 401, "{authorization}");
        assert!(!answer.body.contains(&token) && !answer.head.contains(&token));
        answers.push(answer.body);
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "a stranger learns what was wrong");
    let query = format!(
        "GET {}/api?access_token={token} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        local.path
    );
    assert_eq!(local.ask(query).await.status, 401);
    assert_eq!(world.emulator.aad_proxy().seen().requests, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_opens_its_own_cluster_alone() {
    let world = World::new().await;
    let id = |name| world.emulator.cluster_id(name).unwrap().to_owned();
    let (demo, other) = (id("edge-demo"), id("edge-second"));
    let _proxy = Proxy::start(world.arcproxy(&["--ids", &demo, "--ids", &other])).await;
    let text = std::fs::read_to_string(world.kubeconfig()).unwrap();
    let servers: Vec<_> = text.split("server: ").skip(1).collect();
    let tokens: Vec<_> = text.split("token: ").skip(1).collect();
    assert_eq!((servers.len(), tokens.len()), (2, 2));
    let first = Local::of(&world);
    let paths: Vec<_> = servers
        .iter()
        .map(|server| {
            server
                .lines()
                .next()
                .unwrap()
                .trim_matches('"')
                .split_once("/proxies/")
                .unwrap()
                .1
        })
        .collect();
    assert_ne!(paths[0], paths[1]);
    let asked = |path: &str| first.request(&format!("GET {path}"), "Connection: close\r\n");
    let own = first.path.trim_start_matches("/proxies/");
    let theirs = paths.iter().find(|path| **path != own).unwrap();
    assert_eq!(
        first
            .ask(asked(&format!("/proxies/{own}/version")))
            .await
            .status,
        200
    );
    let seen = || {
        ["edge-demo", "edge-second"]
            .map(|name| world.emulator.aad_proxy_of(name).unwrap().seen().requests)
    };
    let before = seen();
    for path in [
        format!("/proxies/{theirs}/version"),
        format!("/proxies/{theirs}"),
        format!("/proxies/{own}{theirs}/version"),
        "/proxies/".to_owned(),
    ] {
        assert_eq!(first.ask(asked(&path)).await.status, 404, "{path}");
    }
    assert_eq!(seen(), before);
    // Whatever a path says beyond that, it is said to the token's own cluster.
    for path in [
        format!("/proxies/{own}/../{theirs}/version"),
        format!("/proxies/{own}/%2e%2e/{theirs}/version"),
        format!("/proxies%2F{theirs}/version"),
        format!("//proxies/{theirs}/version"),
        format!("/./proxies/{theirs}/version"),
        format!("/PROXIES/{theirs}/version"),
    ] {
        let answer = first.ask(asked(&path)).await;
        assert!(answer.status < 500, "{path}: {answer:?}");
    }
    let mut came = [seen()[0] - before[0], seen()[1] - before[1]];
    came.sort_unstable();
    assert_eq!(came, [0, 6], "a path led to another cluster");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_run_leaves_is_its_users_alone() {
    let world = World::new().await;
    // The widest there is.
    let open = |arguments: &[&str]| {
        let mut command = world.command("sh");
        command
            .args([
                "-c",
                "umask 0; exec \"$@\"",
                "sh",
                env!("CARGO_BIN_EXE_arcproxy"),
            ])
            .args(DEMO)
            .args(arguments);
        command
    };
    let script = "stat -c %a \"$KUBECONFIG\"";
    let ran = Ran::of(&mut open(&["--", "sh", "-c", script])).await.ok();
    assert_eq!(ran.trim(), "600", "the kubeconfig of a command");
    let proxy = Proxy::start(open(&[])).await;
    assert_eq!(mode(&world.kubeconfig()), 0o600);
    assert_eq!(mode(&world.path(".kube")), 0o700);
    assert_eq!(mode(&world.path(".local/state/arcproxy")), 0o700);
    assert_eq!(
        mode(&world.path(".local/state/arcproxy/relays.json")),
        0o600
    );
    proxy.signal("TERM");
    proxy.ended().await;
    // The sign-ins' are looked at where somebody signs in.
}

#[tokio::test(flavor = "multi_thread")]
async fn the_temporary_kubeconfig_cannot_be_guessed_or_replaced() {
    let world = World::new().await;
    let shared = world.path("shared");
    std::fs::create_dir(&shared).unwrap();
    let run = async |mode: u32| {
        std::fs::set_permissions(&shared, Permissions::from_mode(mode)).unwrap();
        let mut command = world.arcproxy(&DEMO);
        command
            .args(["--", "sh", "-c", "echo \"$KUBECONFIG\""])
            .env("TMPDIR", &shared);
        Ran::of(&mut command).await
    };
    let (one, two) = (run(0o1777).await.ok(), run(0o1777).await.ok());
    assert_ne!(one, two);
    for path in [&one, &two] {
        let path = Path::new(path.trim());
        assert_eq!(path.parent(), Some(shared.as_path()));
        assert!(!path.exists(), "it is gone with the run");
        let name = path.file_name().unwrap().to_str().unwrap();
        let (_, random) = name.rsplit_once('-').unwrap();
        assert!(name.starts_with("arcproxy-kubeconfig-"), "{name}");
        assert!(random.len() >= 6, "{name}");
    }
    let refused = run(0o777).await;
    refused.failed(
        6,
        &[
            "other users may replace",
            "set TMPDIR to a folder of your own",
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn links_lead_nowhere_else() {
    let world = World::new().await;
    std::fs::create_dir(world.path(".kube")).unwrap();
    // A second name of the kubeconfig's file keeps what it had.
    let elsewhere = world.path("elsewhere");
    std::fs::write(&elsewhere, "# mine\n").unwrap();
    std::fs::hard_link(&elsewhere, world.kubeconfig()).unwrap();
    // The state folder is somebody else's choice: nothing is written there.
    let lure = world.path("lure");
    std::fs::create_dir(&lure).unwrap();
    std::fs::create_dir_all(world.path(".local/state")).unwrap();
    symlink(&lure, world.path(".local/state/arcproxy")).unwrap();
    let proxy = world.proxy(&[]).await;
    assert_eq!(std::fs::read_to_string(&elsewhere).unwrap(), "# mine\n");
    let own = std::fs::read_to_string(world.kubeconfig()).unwrap();
    assert!(
        own.starts_with("# mine\n") && own.contains("edge-demo"),
        "{own}"
    );
    assert_eq!(std::fs::read_dir(&lure).unwrap().count(), 0);
    proxy.signal("TERM");
    proxy.ended().await;
    // Nor is a file of it another's second name once it is written.
    let state = world.path(".local/state/arcproxy");
    std::fs::remove_file(&state).unwrap();
    std::fs::create_dir(&state).unwrap();
    let relays = state.join("relays.json");
    let second = world.path("second");
    std::fs::write(&second, "# mine\n").unwrap();
    std::fs::hard_link(&second, &relays).unwrap();
    let command = ["--", "true"];
    world.run(&[&DEMO[..], &command].concat()).await.ok();
    assert_eq!(std::fs::read_to_string(&second).unwrap(), "# mine\n");
    let written = std::fs::read_to_string(&relays).unwrap();
    assert!(written.contains("edge-demo"), "{written}");

    // A lock that leads to another file neither makes nor empties it.
    let target = world.path("target");
    symlink(&target, world.path(".kube/config.lock")).unwrap();
    let ran = world.run(&DEMO).await;
    ran.failed(6, &["is locked by another program"]);
    assert!(!target.exists());
    assert_eq!(std::fs::read_to_string(world.kubeconfig()).unwrap(), own);
}

/// Only root can play another user.
#[tokio::test(flavor = "multi_thread")]
async fn what_another_user_has_planted_is_refused_before_anything_is_sent() {
    let world = World::new().await;
    let shared = world.path("shared");
    std::fs::create_dir(&shared).unwrap();
    std::fs::set_permissions(&shared, Permissions::from_mode(0o1777)).unwrap();
    let link = shared.join("config");
    symlink(world.path("target"), &link).unwrap();
    if std::os::unix::fs::lchown(&link, Some(65_533), None).is_err() {
        super::left_out("only root can play another user");
        return;
    }
    let file = ["-f", link.to_str().unwrap()];
    let ran = world.run(&[&DEMO[..], &file].concat()).await;
    ran.failed(6, &["was put there by another user"]);
    assert!(!world.path("target").exists());
    assert_eq!(world.emulator.entra().seen().token_requests, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_on_a_command_line() {
    let world = World::new().await;
    let token = world.service_account_token();
    let secret = world.emulator.client_secret();
    // The command line of arcproxy and of the command, and the command's environment.
    let script =
        "tr '\\0' ' ' < /proc/$PPID/cmdline; tr '\\0' ' ' < /proc/$$/cmdline; echo; echo ---; env";
    let mut command = world.arcproxy(&DEMO);
    command
        .args(["--", "sh", "-c", script])
        .env("ARCPROXY_TOKEN", &token);
    let output = command.output().await.unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let (lines, environment) = printed.split_once("\n---\n").expect("both");
    assert!(lines.contains("arcproxy -n edge-demo"), "{lines}");
    for known in [&token, &secret] {
        assert!(!lines.contains(known.as_str()), "{lines}");
    }
    // What is for arcproxy alone stays with it; what other tools read too is passed on.
    assert!(!environment.contains("ARCPROXY_TOKEN"), "{environment}");
    assert!(environment.contains(&format!("AZURE_CLIENT_SECRET={secret}")));
}
