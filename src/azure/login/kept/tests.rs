use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use super::*;

fn place(tenant: &str) -> Place {
    let authority = Url::parse("https://login.example").expect("a URL");
    Place::new(&authority, tenant, "client", true)
}

fn person(refresh: &str) -> Person {
    Person {
        name: Some("ana@contoso.com".to_owned()),
        refresh: refresh.into(),
    }
}

/// A folder that does not exist yet.
fn nowhere() -> (TempDir, PathBuf, Kept) {
    let parent = tempfile::tempdir().expect("a folder");
    let folder = parent.path().join("state/arcproxy");
    let kept = Kept::new(&Environment::default(), Some(folder.clone()));
    (parent, folder, kept)
}

async fn refresh(kept: &Kept, tenant: &str) -> Option<String> {
    let person = kept.person(&place(tenant)).await?;
    Some(person.refresh.expose().to_owned())
}

/// Whose sign-ins were removed: all there were.
async fn signed_out(kept: &Kept) -> Vec<(String, String)> {
    let (gone, done) = kept.remove_all().await;
    done.expect("nothing is left");
    gone
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("is there").permissions().mode() & 0o777
}

/// A `secret-tool` that keeps its one secret in `folder`.
fn with_keyring(folder: &Path, script: &str) -> Environment {
    let program = folder.join("secret-tool");
    fs::write(
        &program,
        format!("#!/bin/sh\ncd {}\n{script}", folder.display()),
    )
    .expect("writes");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("sets the mode");
    let path = format!("{}:/usr/bin:/bin", folder.display());
    Environment::of([
        ("DISPLAY", ":0"),
        ("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent"),
        ("PATH", &path),
    ])
}

const WORKING: &str = r#"
case "$*" in *" application arcproxy kind sign-ins") ;; *) exit 2 ;; esac
case $1 in
  search) [ -e secret ] && printf '[/1]\nlabel = x\nsecret = %s\ncreated = y\n' "$(cat secret)"
    exit 0 ;;
  store) cat >secret ;;
  clear) rm secret ;;
esac
"#;

#[tokio::test]
async fn each_place_has_its_newest_sign_in() {
    let (_parent, folder, kept) = nowhere();
    assert_eq!(refresh(&kept, "a").await, None);
    kept.keep(&place("a"), &person("1")).await;
    kept.keep(&place("a"), &person("2")).await;
    kept.keep(&place("b"), &person("3")).await;
    assert_eq!(refresh(&kept, "A").await.as_deref(), Some("2"));
    assert_eq!(refresh(&kept, "b").await.as_deref(), Some("3"));
    assert_eq!(refresh(&kept, "c").await, None);
    assert_eq!(mode(&folder), 0o700);
    assert_eq!(mode(&folder.join("sign-ins.json")), 0o600);
    kept.forget(&"1".into()).await;
    assert_eq!(
        refresh(&kept, "a").await.as_deref(),
        Some("2"),
        "it is a newer one"
    );
    kept.forget(&"2".into()).await;
    assert_eq!(refresh(&kept, "a").await, None);
    assert_eq!(refresh(&kept, "b").await.as_deref(), Some("3"));
}

#[tokio::test]
async fn a_renewal_takes_the_place_of_what_it_renewed_alone() {
    let (_parent, _folder, kept) = nowhere();
    kept.keep(&place("a"), &person("1")).await;
    kept.renew(&place("a"), &"1".into(), &person("2")).await;
    assert_eq!(refresh(&kept, "a").await.as_deref(), Some("2"));
    kept.renew(&place("a"), &"1".into(), &person("3")).await;
    assert_eq!(
        refresh(&kept, "a").await.as_deref(),
        Some("2"),
        "it is a newer one"
    );
    signed_out(&kept).await;
    kept.renew(&place("a"), &"2".into(), &person("4")).await;
    assert_eq!(refresh(&kept, "a").await, None, "somebody has signed out");
}

#[tokio::test]
async fn the_oldest_make_room() {
    let (_parent, folder, kept) = nowhere();
    kept.keep(&place("new"), &person("new")).await;
    let file = folder.join("sign-ins.json");
    let text = fs::read_to_string(&file).expect("text");
    let mut sign_ins: SignIns = serde_json::from_str(&text).expect("JSON");
    let old = |since: u64| SignIn {
        user: None,
        refresh_token: "old".into(),
        since,
    };
    sign_ins.extend((1..=30).map(|number| (place(&number.to_string()).name(), old(number))));
    fs::write(&file, serde_json::to_string(&sign_ins).expect("JSON")).expect("writes");
    kept.keep(&place("newest"), &person("newest")).await;
    for (tenant, is_known) in [
        ("new", true),
        ("newest", true),
        ("30", true),
        ("17", true),
        ("16", false),
        ("1", false),
    ] {
        assert_eq!(refresh(&kept, tenant).await.is_some(), is_known, "{tenant}");
    }
}

#[tokio::test]
async fn signing_out_tells_whose_it_was_and_leaves_nothing() {
    let (_parent, folder, kept) = nowhere();
    assert_eq!(signed_out(&kept).await, []);
    assert!(!folder.exists(), "nothing comes into being for it");
    kept.keep(&place("organizations"), &person("1")).await;
    let killed = folder.join(".sign-ins-x1y2z3");
    fs::write(&killed, "a refresh token").expect("writes");
    let gone = [(
        "ana@contoso.com".to_owned(),
        "https://login.example/organizations".to_owned(),
    )];
    assert_eq!(signed_out(&kept).await, gone);
    assert!(!killed.exists(), "of a run that was killed");
    assert!(!folder.join("sign-ins.json").exists());
    assert_eq!(signed_out(&kept).await, []);
}

#[tokio::test]
async fn nothing_is_kept_where_nothing_shall_be() {
    let kept = Kept::default();
    kept.keep(&place("a"), &person("1")).await;
    assert_eq!(refresh(&kept, "a").await, None);
    assert_eq!(signed_out(&kept).await, []);
}

#[tokio::test]
async fn what_others_could_have_put_there_is_nothing_to_go_by() {
    let (parent, folder, kept) = nowhere();
    kept.keep(&place("a"), &person("1")).await;
    let file = folder.join("sign-ins.json");

    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("sets the mode");
    assert_eq!(refresh(&kept, "a").await, None, "others may read it");
    kept.keep(&place("a"), &person("2")).await;
    assert_eq!(
        (mode(&file), refresh(&kept, "a").await.as_deref()),
        (0o600, Some("2"))
    );

    let target = parent.path().join("target");
    fs::rename(&file, &target).expect("renames");
    symlink(&target, &file).expect("links");
    assert_eq!(refresh(&kept, "a").await, None, "a link is not followed");
    let before = fs::read(&target).expect("reads");
    kept.keep(&place("b"), &person("3")).await;
    assert_eq!(fs::read(&target).expect("reads"), before);

    fs::remove_file(&file).expect("removes");
    for text in ["", "[]", "\0", r#"{"a": {"since": 1}}"#] {
        fs::write(&file, text).expect("writes");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("sets the mode");
        assert_eq!(refresh(&kept, "a").await, None, "{text}");
        kept.keep(&place("a"), &person("4")).await;
        assert_eq!(refresh(&kept, "a").await.as_deref(), Some("4"), "{text}");
    }

    let moved = parent.path().join("moved");
    fs::rename(&folder, &moved).expect("renames");
    symlink(&moved, &folder).expect("links");
    assert_eq!(refresh(&kept, "a").await, None, "the folder is a link");
}

#[tokio::test]
async fn what_cannot_be_kept_is_no_failure() {
    let parent = tempfile::tempdir().expect("a folder");
    let taken = parent.path().join("taken");
    fs::write(&taken, "").expect("writes");
    let kept = Kept::new(&Environment::default(), Some(taken.join("arcproxy")));
    kept.keep(&place("a"), &person("1")).await;
    assert_eq!(refresh(&kept, "a").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_side_by_side_lose_nothing() {
    let (_parent, _folder, kept) = nowhere();
    let keeping = (0..SIGN_INS).map(|number| {
        let kept = kept.clone();
        async move {
            let name = number.to_string();
            kept.keep(&place(&name), &person(&name)).await;
        }
    });
    futures_util::future::join_all(keeping).await;
    for number in 0..SIGN_INS {
        let name = number.to_string();
        assert_eq!(refresh(&kept, &name).await, Some(name));
    }
}

#[tokio::test]
async fn a_keyring_is_better_than_a_file() {
    let (parent, folder, kept) = nowhere();
    kept.keep(&place("a"), &person("in the file")).await;
    let environment = with_keyring(parent.path(), WORKING);
    let kept = Kept::new(&environment, Some(folder.clone()));
    assert_eq!(refresh(&kept, "a").await.as_deref(), Some("in the file"));
    kept.keep(&place("a"), &person("1")).await;
    assert_eq!(refresh(&kept, "a").await.as_deref(), Some("1"));
    let secret = fs::read_to_string(parent.path().join("secret")).expect("text");
    assert!(secret.contains("\"1\""), "{secret}");
    assert!(!folder.join("sign-ins.json").exists(), "it has moved");
    let gone = signed_out(&kept).await;
    assert_eq!(gone.len(), 1);
    assert_eq!(refresh(&kept, "a").await, None);
}

#[tokio::test]
async fn a_keyring_that_takes_nothing_leaves_the_file() {
    let (parent, folder, _) = nowhere();
    for script in ["exit 1", "cat >&2; exit 1", "kill -9 $$"] {
        let environment = with_keyring(parent.path(), script);
        let kept = Kept::new(&environment, Some(folder.clone()));
        kept.keep(&place("a"), &person("1")).await;
        assert_eq!(refresh(&kept, "a").await.as_deref(), Some("1"), "{script}");
        signed_out(&kept).await;
        assert_eq!(refresh(&kept, "a").await, None);
    }
}

#[test]
fn a_keyring_needs_a_desktop_and_its_bus() {
    let folder = tempfile::tempdir().expect("a folder");
    let environment = with_keyring(folder.path(), "exit 1");
    assert!(Keyring::find(&environment, None).is_some());
    let path = environment.text("PATH").expect("set");
    for variables in [
        &[("PATH", path.as_str()), ("DISPLAY", ":0")][..],
        &[
            ("PATH", &path),
            ("DBUS_SESSION_BUS_ADDRESS", "unix:path=/x"),
        ],
        &[
            ("DISPLAY", ":0"),
            ("DBUS_SESSION_BUS_ADDRESS", "unix:path=/x"),
        ],
    ] {
        let environment = Environment::of(variables.iter().copied());
        assert!(Keyring::find(&environment, None).is_none(), "{variables:?}");
    }
}

#[test]
fn a_keyring_is_not_spoken_to_through_whatever_lies_in_the_callers_folder() {
    let folder = tempfile::tempdir_in(".").expect("a folder");
    let environment = with_keyring(folder.path(), "exit 1");
    let name = folder.path().file_name().and_then(|name| name.to_str());
    let find = |path: &str| {
        let variables = ["DISPLAY", "DBUS_SESSION_BUS_ADDRESS"];
        let variables = variables.map(|name| (name, environment.text(name).expect("set")));
        let all = variables
            .iter()
            .map(|(name, value)| (*name, value.as_str()));
        Keyring::find(&Environment::of(all.chain([("PATH", path)])), None)
    };
    assert!(find(name.expect("text")).is_none(), "a relative folder");
    let whole = std::path::absolute(folder.path()).expect("a path");
    let whole = whole.to_str().expect("text");
    assert!(find(whole).is_some());
    let program = folder.path().join("secret-tool");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o644)).expect("sets the mode");
    assert!(find(whole).is_none(), "it is no program");
}

/// A `secret-tool` whose keyring is locked, and nobody unlocks it.
const LOCKED: &str = r#"
[ "$1" = search ] || exit 1
printf '[/1]\nlabel = x\ncreated = y\n'
"#;

#[tokio::test]
async fn what_is_left_in_a_keyring_is_told() {
    let (parent, folder, in_file) = nowhere();
    let environment = with_keyring(parent.path(), WORKING);
    let kept = Kept::new(&environment, Some(folder.clone()));
    kept.keep(&place("a"), &person("1")).await;
    in_file.keep(&place("b"), &person("2")).await;

    for script in [LOCKED, "exit 1"] {
        with_keyring(parent.path(), script);
        let (_, done) = kept.remove_all().await;
        done.expect_err("it may be there still");
    }
    let file = folder.join("sign-ins.json");
    assert!(!file.exists(), "what can be removed is");
    let (gone, done) = in_file.remove_all().await;
    let error = done.expect_err("there is no keyring here").to_string();
    assert!(error.contains("out of reach"), "{error}");
    assert_eq!(gone, []);

    with_keyring(parent.path(), WORKING);
    assert_eq!(signed_out(&kept).await.len(), 1);
    assert_eq!(signed_out(&in_file).await, []);
}

#[tokio::test]
async fn a_locked_keyring_that_nobody_unlocks_is_left_as_it_is() {
    let (parent, folder, _) = nowhere();
    let environment = with_keyring(parent.path(), LOCKED);
    let kept = Kept::new(&environment, Some(folder.clone()));
    kept.keep(&place("a"), &person("1")).await;
    assert_eq!(refresh(&kept, "a").await.as_deref(), Some("1"));
    assert!(folder.join("sign-ins.json").exists());
    assert!(!folder.join("sign-ins.keyring").exists());
}

#[tokio::test]
async fn no_more_goes_into_a_keyring_than_its_program_reads() {
    let (parent, folder, _) = nowhere();
    let environment = with_keyring(parent.path(), WORKING);
    let kept = Kept::new(&environment, Some(folder.clone()));
    for tenant in ["a", "b", "c", "d", "e"] {
        let long = tenant.repeat(2000);
        kept.keep(&place(tenant), &person(&long)).await;
        assert_eq!(refresh(&kept, tenant).await, Some(long));
    }
    let secret = fs::read(parent.path().join("secret")).expect("reads");
    assert!((4000..8192).contains(&secret.len()), "{}", secret.len());
    let longest = "x".repeat(9000);
    kept.keep(&place("f"), &person(&longest)).await;
    assert_eq!(refresh(&kept, "f").await, Some(longest), "in the file");
}

#[tokio::test(start_paused = true)]
async fn who_is_at_it_for_long_is_not_waited_for() {
    let (_parent, folder, kept) = nowhere();
    kept.keep(&place("a"), &person("1")).await;
    let _turn = Folder(folder).lock().await.expect("a turn");
    kept.keep(&place("a"), &person("2")).await;
    assert_eq!(refresh(&kept, "a").await.as_deref(), Some("1"));
    assert_eq!(signed_out(&kept).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_keyring_that_does_not_answer_is_asked_once_where_nobody_can() {
    let (parent, folder, kept) = nowhere();
    kept.keep(&place("a"), &person("1")).await;
    let hangs = "echo x >>asked; exec sleep 1000";
    let environment = with_keyring(parent.path(), hangs);
    let kept = Kept::new(&environment, Some(folder));
    let began = tokio::time::Instant::now();
    for _ in 0..3 {
        let known = kept.known(&place("a")).await;
        assert!(known.is_some(), "what is in the file is found all the same");
    }
    assert!(began.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn who_signed_in_last_is_tried_in_a_tenant_that_nobody_named() {
    let (_parent, folder, kept) = nowhere();
    let authority = Url::parse("https://login.example/adfs/").expect("a URL");
    let found = |tenant| Place::new(&authority, tenant, "client", false);
    let other = |client| Place::new(&authority, "other", client, true);
    kept.keep(&other("client"), &person("1")).await;
    kept.keep(&other("another client"), &person("2")).await;
    let elsewhere = Url::parse("https://login.example/").expect("a URL");
    let elsewhere = Place::new(&elsewhere, "other", "client", false);
    kept.keep(&elsewhere, &person("3")).await;
    let file = folder.join("sign-ins.json");
    let text = fs::read_to_string(&file).expect("text");
    let mut sign_ins: SignIns = serde_json::from_str(&text).expect("JSON");
    let older = SignIn {
        user: None,
        refresh_token: "4".into(),
        since: 1,
    };
    sign_ins.insert(found("oldest").name(), older);

    let refresh = |place: &Place| Some(place.pick(&sign_ins)?.refresh.expose().to_owned());
    assert_eq!(refresh(&found("oldest")).as_deref(), Some("4"));
    assert_eq!(refresh(&found("new")).as_deref(), Some("1"));
    let given = Place::new(&authority, "new", "client", true);
    assert_eq!(refresh(&given), None);
}

#[tokio::test]
async fn what_a_run_that_was_killed_left_goes_with_the_next_change() {
    let (_parent, folder, kept) = nowhere();
    kept.keep(&place("a"), &person("1")).await;
    let left = folder.join(".sign-ins-a1b2c3");
    fs::write(&left, "all of it").expect("writes");
    kept.keep(&place("a"), &person("2")).await;
    assert!(left.exists(), "it may be on its way yet");
    let file = fs::File::options()
        .write(true)
        .open(&left)
        .expect("is there");
    let long_ago = SystemTime::now() - Duration::from_mins(2);
    file.set_modified(long_ago).expect("sets the time");
    kept.keep(&place("a"), &person("3")).await;
    assert!(!left.exists());
    assert_eq!(refresh(&kept, "a").await.as_deref(), Some("3"));
}
