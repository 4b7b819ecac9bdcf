use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use tempfile::TempDir;

use super::*;

fn place(tenant: &str) -> Place {
    let authority = Url::parse("https://login.example").expect("a URL");
    Place::new(&authority, tenant, "client")
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

fn refresh(kept: &Kept, tenant: &str) -> Option<String> {
    let person = kept.person(&place(tenant))?;
    Some(person.refresh.expose().to_owned())
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
  lookup) cat secret 2>/dev/null ;;
  store) cat >secret ;;
  clear) rm secret ;;
esac
"#;

#[tokio::test]
async fn each_place_has_its_newest_sign_in() {
    let (_parent, folder, kept) = nowhere();
    assert_eq!(refresh(&kept, "a"), None);
    kept.keep(&place("a"), &person("1")).await;
    kept.keep(&place("a"), &person("2")).await;
    kept.keep(&place("b"), &person("3")).await;
    assert_eq!(refresh(&kept, "A").as_deref(), Some("2"));
    assert_eq!(refresh(&kept, "b").as_deref(), Some("3"));
    assert_eq!(refresh(&kept, "c"), None);
    assert_eq!(mode(&folder), 0o700);
    assert_eq!(mode(&folder.join("sign-ins.json")), 0o600);
    kept.forget(&place("a"), &"1".into()).await;
    assert_eq!(
        refresh(&kept, "a").as_deref(),
        Some("2"),
        "it is a newer one"
    );
    kept.forget(&place("a"), &"2".into()).await;
    assert_eq!(refresh(&kept, "a"), None);
    assert_eq!(refresh(&kept, "b").as_deref(), Some("3"));
}

#[tokio::test]
async fn a_renewal_takes_the_place_of_what_it_renewed_alone() {
    let (_parent, _folder, kept) = nowhere();
    kept.keep(&place("a"), &person("1")).await;
    kept.renew(&place("a"), &"1".into(), &person("2")).await;
    assert_eq!(refresh(&kept, "a").as_deref(), Some("2"));
    kept.renew(&place("a"), &"1".into(), &person("3")).await;
    assert_eq!(
        refresh(&kept, "a").as_deref(),
        Some("2"),
        "it is a newer one"
    );
    kept.remove_all().expect("works");
    kept.renew(&place("a"), &"2".into(), &person("4")).await;
    assert_eq!(refresh(&kept, "a"), None, "somebody has signed out");
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
    sign_ins.extend((1..=30).map(|number| (place(&number.to_string()).0, old(number))));
    fs::write(&file, serde_json::to_string(&sign_ins).expect("JSON")).expect("writes");
    kept.keep(&place("newest"), &person("newest")).await;
    let known = |tenant: &str| refresh(&kept, tenant).is_some();
    assert!(known("new") && known("newest") && known("30") && known("17"));
    assert!(!known("16") && !known("1"));
}

#[tokio::test]
async fn signing_out_tells_whose_it_was_and_leaves_nothing() {
    let (_parent, folder, kept) = nowhere();
    assert_eq!(kept.remove_all().expect("works"), []);
    assert!(!folder.exists(), "nothing comes into being for it");
    kept.keep(&place("organizations"), &person("1")).await;
    let gone = [(
        "ana@contoso.com".to_owned(),
        "https://login.example/organizations".to_owned(),
    )];
    assert_eq!(kept.remove_all().expect("works"), gone);
    assert!(!folder.join("sign-ins.json").exists());
    assert_eq!(kept.remove_all().expect("works"), []);
}

#[tokio::test]
async fn nothing_is_kept_where_nothing_shall_be() {
    let kept = Kept::default();
    kept.keep(&place("a"), &person("1")).await;
    assert_eq!(refresh(&kept, "a"), None);
    assert_eq!(kept.remove_all().expect("works"), []);
}

#[tokio::test]
async fn what_others_could_have_put_there_is_nothing_to_go_by() {
    let (parent, folder, kept) = nowhere();
    kept.keep(&place("a"), &person("1")).await;
    let file = folder.join("sign-ins.json");

    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("sets the mode");
    assert_eq!(refresh(&kept, "a"), None, "others may read it");
    kept.keep(&place("a"), &person("2")).await;
    assert_eq!(
        (mode(&file), refresh(&kept, "a").as_deref()),
        (0o600, Some("2"))
    );

    let target = parent.path().join("target");
    fs::rename(&file, &target).expect("renames");
    symlink(&target, &file).expect("links");
    assert_eq!(refresh(&kept, "a"), None, "a link is not followed");
    let before = fs::read(&target).expect("reads");
    kept.keep(&place("b"), &person("3")).await;
    assert_eq!(fs::read(&target).expect("reads"), before);

    fs::remove_file(&file).expect("removes");
    for text in ["", "[]", "\0", r#"{"a": {"since": 1}}"#] {
        fs::write(&file, text).expect("writes");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("sets the mode");
        assert_eq!(refresh(&kept, "a"), None, "{text}");
        kept.keep(&place("a"), &person("4")).await;
        assert_eq!(refresh(&kept, "a").as_deref(), Some("4"), "{text}");
    }

    let moved = parent.path().join("moved");
    fs::rename(&folder, &moved).expect("renames");
    symlink(&moved, &folder).expect("links");
    assert_eq!(refresh(&kept, "a"), None, "the folder is a link");
}

#[tokio::test]
async fn what_cannot_be_kept_is_no_failure() {
    let parent = tempfile::tempdir().expect("a folder");
    let taken = parent.path().join("taken");
    fs::write(&taken, "").expect("writes");
    let kept = Kept::new(&Environment::default(), Some(taken.join("arcproxy")));
    kept.keep(&place("a"), &person("1")).await;
    assert_eq!(refresh(&kept, "a"), None);
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
        assert_eq!(refresh(&kept, &name), Some(name));
    }
}

#[tokio::test]
async fn a_keyring_is_better_than_a_file() {
    let (parent, folder, kept) = nowhere();
    kept.keep(&place("a"), &person("in the file")).await;
    let environment = with_keyring(parent.path(), WORKING);
    let kept = Kept::new(&environment, Some(folder.clone()));
    assert_eq!(refresh(&kept, "a").as_deref(), Some("in the file"));
    kept.keep(&place("a"), &person("1")).await;
    assert_eq!(refresh(&kept, "a").as_deref(), Some("1"));
    let secret = fs::read_to_string(parent.path().join("secret")).expect("text");
    assert!(secret.contains("\"1\""), "{secret}");
    assert!(!folder.join("sign-ins.json").exists(), "it has moved");
    let gone = kept.remove_all().expect("works");
    assert_eq!(gone.len(), 1);
    assert_eq!(refresh(&kept, "a"), None);
}

#[tokio::test]
async fn a_keyring_that_takes_nothing_leaves_the_file() {
    let (parent, folder, _) = nowhere();
    for script in ["exit 1", "cat >&2; exit 1", "kill -9 $$"] {
        let environment = with_keyring(parent.path(), script);
        let kept = Kept::new(&environment, Some(folder.clone()));
        kept.keep(&place("a"), &person("1")).await;
        assert_eq!(refresh(&kept, "a").as_deref(), Some("1"), "{script}");
        kept.remove_all().expect("works");
        assert_eq!(refresh(&kept, "a"), None);
    }
}

#[test]
fn a_keyring_needs_a_desktop_and_its_bus() {
    let folder = tempfile::tempdir().expect("a folder");
    let environment = with_keyring(folder.path(), "exit 1");
    assert!(Keyring::find(&environment).is_some());
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
        assert!(Keyring::find(&environment).is_none(), "{variables:?}");
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
        Keyring::find(&Environment::of(all.chain([("PATH", path)])))
    };
    assert!(find(name.expect("text")).is_none(), "a relative folder");
    let whole = std::path::absolute(folder.path()).expect("a path");
    let whole = whole.to_str().expect("text");
    assert!(find(whole).is_some());
    let program = folder.path().join("secret-tool");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o644)).expect("sets the mode");
    assert!(find(whole).is_none(), "it is no program");
}
