//! What one run keeps for the next.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Instant;

use arc_emulator::entra::Revocation;
use arcproxy::azure::login::{Auth, Kept, SignInSettings};
use arcproxy::settings::Environment;

use super::device_code::{ARM, method_of};
use super::{ANA, Asking, TRUE, get, value};
use crate::harness::{DEADLINE, Proxy, Ran, World};

const BROWSER: [&str; 4] = ["--auth", "browser", "--", "true"];

impl World {
    /// Signs ana in, and keeps it.
    async fn sign_ana_in(&self) {
        let (ran, pages) = self.seated(ANA, self.by_person(&BROWSER)).await;
        ran.ok();
        assert_eq!(pages.len(), 1);
        self.emulator.entra().seat(None);
    }

    /// Signs gina in, who is of another tenant, for no subscription, and keeps it.
    async fn sign_gina_in(&self) {
        let folder = self.sign_ins().parent().unwrap().to_owned();
        let settings = SignInSettings {
            auth: Auth::DeviceCode,
            kept: Kept::new(&Environment::default(), Some(folder)),
            ..SignInSettings::default()
        };
        let (sign_in, mut codes) = method_of(self, &settings).await;
        let approving = async {
            let code = codes.recv().await.unwrap();
            let gina = "gina@fabrikam.com";
            assert!(self.emulator.entra().approve_device(&code, gina));
        };
        let (token, ()) = tokio::join!(sign_in.bearer(ARM), approving);
        token.unwrap();
    }

    fn kept(&self) -> String {
        std::fs::read_to_string(self.sign_ins()).unwrap_or_default()
    }

    fn refresh_token(&self) -> String {
        let kept: serde_json::Value = serde_json::from_str(&self.kept()).unwrap();
        let sign_in = kept.as_object().unwrap().values().next().unwrap();
        sign_in["refresh_token"].as_str().unwrap().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_run_asks_nothing() {
    let world = World::new().await;
    world.sign_ana_in().await;
    let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(world.sign_ins()), 0o600);
    assert_eq!(mode(world.sign_ins().parent().unwrap().to_owned()), 0o700);
    let before = world.refresh_token();

    let ran = Ran::of(&mut world.by_person(&BROWSER)).await;
    let words = "✓ Signed in as ana@contoso.com (browser)";
    assert!(ran.stderr.contains(words), "{}", ran.stderr);
    ran.ok();
    let seen = world.emulator.entra().seen();
    assert_eq!(seen.authorize_requests, 1);
    assert_ne!(world.refresh_token(), before, "the newest one is kept");

    // Nor does `auto` where nobody could answer: somebody is known.
    let auto = Ran::of(&mut world.by_person(&["-v", "--", "true"])).await;
    assert!(auto.stderr.contains(words), "{}", auto.stderr);
    auto.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_side_by_side_leave_it_whole() {
    let world = World::new().await;
    world.sign_ana_in().await;
    let runs: Vec<_> = (0..4)
        .map(|_| {
            let mut command = world.by_person(&BROWSER);
            tokio::spawn(async move { Ran::of(&mut command).await })
        })
        .collect();
    for run in runs {
        run.await.unwrap().ok();
    }
    assert!(world.refresh_token().starts_with("1."));
    Ran::of(&mut world.by_person(&BROWSER)).await.ok();
    assert_eq!(world.emulator.entra().seen().authorize_requests, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_printed_holds_a_secret() {
    let world = World::new().await;
    let command = world.by_person(&[&["--debug"], &BROWSER[..]].concat());
    let mut asking = Asking::start(command);
    let page = asking.page().await.unwrap();
    world.emulator.entra().seat(Some(ANA));
    let back = world.sent_back(page.as_str()).await;
    get(back.as_str()).await;
    let first = asking.ended().await;
    let mut command = world.by_person(&[&["--debug"], &BROWSER[..]].concat());
    let kept = world.refresh_token();
    let second = Ran::of(&mut command).await;
    assert!(second.stderr.contains("DEBUG"), "the log is there");
    let code = value(&back, "code").unwrap();
    for ran in [first, second] {
        for secret in [&code, &kept, &world.refresh_token(), "eyJ", "Bearer "] {
            assert!(!ran.stderr.contains(secret), "{secret}: {}", ran.stderr);
        }
        ran.ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_out_forgets_it_and_says_whose_it_was() {
    let world = World::new().await;
    world.sign_ana_in().await;
    let out = world.run(&["logout"]).await.ok();
    let authority = world.emulator.entra().url();
    assert_eq!(
        out,
        format!(
            "Signed out {ANA} at {authority}/{}\n",
            world.emulator.tenant()
        )
    );
    assert!(!world.sign_ins().exists());
    let again = world.run(&["logout"]).await.ok();
    assert_eq!(again, "No sign-in was kept.\n");
    let mut asking = Asking::start(world.by_person(&BROWSER));
    assert!(asking.page().await.is_some(), "somebody is asked again");
}

/// A `secret-tool` that says in the pipe `asked` that it runs.
fn with_keyring(world: &World, command: &mut tokio::process::Command, script: &str) {
    let program = world.path("secret-tool");
    let script = format!("#!/bin/sh\ncd {}\n{script}\n", world.home().display());
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    command
        .env("DISPLAY", ":0")
        .env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent")
        .env("PATH", format!("{}:/usr/bin:/bin", world.home().display()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keyring_that_hangs_keeps_no_signal_from_ending_it() {
    for arguments in [&TRUE[..], &BROWSER] {
        let world = World::new().await;
        let asked = world.path("asked");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &asked, kind, mode, 0).unwrap();
        let mut command = world.by_person(arguments);
        with_keyring(&world, &mut command, "echo x >asked; exec sleep 1000");
        let asking = Asking::start(command);
        let begun = tokio::task::spawn_blocking(|| std::fs::read_to_string(asked));
        begun.await.unwrap().unwrap();
        let signalled = Instant::now();
        asking.signal("TERM");
        assert_eq!(asking.ended().await.code, Some(143), "{arguments:?}");
        let took = signalled.elapsed();
        assert!(took < std::time::Duration::from_secs(30), "{took:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_asked_to_unlock_a_keyring_where_nobody_can_answer() {
    let world = World::new().await;
    let mut command = world.by_person(&TRUE);
    with_keyring(&world, &mut command, "echo \"$@\" >>asked; exec sleep 1000");
    let ran = Ran::of(&mut command).await;
    ran.failed(3, &["no sign-in method is configured"]);
    let asked = std::fs::read_to_string(world.path("asked")).unwrap();
    assert_eq!(asked, "search application arcproxy kind sign-ins\n", "once");
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_out_tells_that_a_keyring_is_locked() {
    let world = World::new().await;
    world.sign_ana_in().await;
    let mut command = world.arcproxy(&["logout"]);
    let locked = r#"[ "$1" = search ] || exit 1; printf '[/1]\nlabel = x\n'"#;
    with_keyring(&world, &mut command, locked);
    let ran = Ran::of(&mut command).await;
    let ran = ran.failed(1, &["the keyring is locked", "run `arcproxy logout`"]);
    assert!(ran.stdout.contains("Signed out ana@"), "{}", ran.stdout);
    assert!(!world.sign_ins().exists(), "what is in the file is removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_tenant_has_its_account() {
    let world = World::new().await;
    world.sign_gina_in().await;
    let ran = Ran::of(&mut world.by_person(&TRUE)).await;
    ran.failed(3, &["AADSTS50020", "sign in on a terminal"]);

    let (ran, pages) = world.seated(ANA, world.by_person(&BROWSER)).await;
    ran.ok();
    assert_eq!(pages.len(), 1);
    assert_eq!(value(&pages[0], "login_hint"), None);
    let prompt = value(&pages[0], "prompt");
    assert_eq!(prompt.as_deref(), Some("select_account"));
    let ran = Ran::of(&mut world.by_person(&BROWSER)).await;
    assert!(ran.stderr.contains("Signed in as ana@"), "{}", ran.stderr);
    ran.ok();
    let kept = world.kept();
    assert!(kept.contains("gina@") && kept.contains(ANA), "both stay");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_cache_nothing_is_kept_or_used() {
    let world = World::new().await;
    let no_cache = [&["--no-cache"], &BROWSER[..]].concat();
    let (ran, _) = world.seated(ANA, world.by_person(&no_cache)).await;
    ran.ok();
    assert!(!world.sign_ins().exists());

    world.sign_ana_in().await;
    let before = world.kept();
    let mut command = world.by_person(&TRUE);
    command.env("ARCPROXY_AUTH", "browser");
    command.env("ARCPROXY_NO_CACHE", "1");
    let (ran, pages) = world.seated(ANA, command).await;
    ran.ok();
    assert_eq!(pages.len(), 1, "what is kept is not used");
    assert_eq!(world.kept(), before, "nor changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_revoked_is_forgotten_and_asked_for_anew() {
    let world = World::new().await;
    for why in [Revocation::Revoked, Revocation::SignInFrequency] {
        world.sign_ana_in().await;
        let before = world.refresh_token();
        world.emulator.entra().revoke(ANA, why);
        let (ran, pages) = world.seated(ANA, world.by_person(&BROWSER)).await;
        ran.ok();
        assert_eq!(pages.len(), 1);
        assert_eq!(value(&pages[0], "login_hint").as_deref(), Some(ANA));
        assert_ne!(world.refresh_token(), before);
        world.run(&["logout"]).await.ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_can_answer_it_is_told_how_to_sign_in_anew() {
    let world = World::new().await;
    world.sign_ana_in().await;
    world.emulator.entra().revoke(ANA, Revocation::Revoked);
    let ran = Ran::of(&mut world.by_person(&TRUE)).await;
    ran.failed(
        3,
        &["AADSTS50173", "sign in on a terminal", "--auth browser"],
    );
    assert!(!world.sign_ins().exists(), "it is of no use any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_goes_on_by_itself() {
    let world = World::new().await;
    world.sign_ana_in().await;
    let faults = world.emulator.faults();
    faults.update(|set| set.access_token_seconds = Some(5));
    let proxy = Proxy::start(world.by_person(&["--auth", "browser"])).await;
    let renewed = || world.emulator.entra().seen().grants["refresh_token"];
    let (before, began) = (renewed(), Instant::now());
    // Longer than the first token lives, and without any request.
    while renewed() < before + 3 {
        assert!(began.elapsed() < DEADLINE, "nothing is renewed");
        tokio::task::yield_now().await;
    }
    let version = Ran::of(&mut world.kubectl(&["get", "--raw", "/version"])).await;
    version.ok();
    proxy.signal("TERM");
    let (code, stderr) = proxy.ended().await;
    assert_eq!(code, Some(0));
    assert!(!stderr.contains("WARN"), "{stderr}");
    assert_eq!(world.emulator.entra().seen().authorize_requests, 1);
}
