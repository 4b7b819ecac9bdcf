//! The user's kubeconfig through a whole run.

use std::os::unix::fs::PermissionsExt as _;

use crate::harness::{Ran, World};

const OWN: &str = "\
# my clusters
apiVersion: v1
kind: Config
current-context: home   # the one I use
clusters:
- {name: home, cluster: {server: 'https://home.example:6443'}}
contexts:
- name: home
  context: {cluster: home, user: me, namespace: kitchen}
users:
- name: me
  user: {token: mine}
x-notes: [keep, me]
";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_ours_stays_and_ours_becomes_current() {
    let world = World::new().await;
    std::fs::create_dir(world.path(".kube")).unwrap();
    std::fs::write(world.kubeconfig(), OWN).unwrap();
    std::fs::set_permissions(world.kubeconfig(), std::fs::Permissions::from_mode(0o640)).unwrap();

    let first = world.proxy(&[]).await;
    let merged = std::fs::read_to_string(world.kubeconfig()).unwrap();
    for line in OWN
        .lines()
        .filter(|line| !line.starts_with("current-context"))
    {
        assert!(merged.contains(line), "{line:?} is gone from: {merged}");
    }
    assert!(merged.contains("# the one I use"), "{merged}");
    let mode = std::fs::metadata(world.kubeconfig())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o640, "the mode stays");
    let current = Ran::of(&mut world.kubectl(&["config", "current-context"]))
        .await
        .ok();
    assert_eq!(current.trim(), "edge-demo");
    first.signal("INT");
    assert_eq!(first.ended().await.0, Some(0));

    let again = world.proxy(&[]).await;
    let contexts = Ran::of(&mut world.kubectl(&["config", "get-contexts", "-o", "name"]))
        .await
        .ok();
    assert_eq!(
        contexts, "edge-demo\nhome\n",
        "the second run replaces the first one's entries"
    );
    drop(again);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_end_the_context_fails_closed() {
    let world = World::new().await;
    let proxy = world.proxy(&[]).await;
    proxy.signal("INT");
    assert_eq!(proxy.ended().await.0, Some(0));
    let ran = Ran::of(&mut world.kubectl(&["get", "pods"])).await;
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("refused"), "{}", ran.stderr);
    let mode = std::fs::metadata(world.kubeconfig())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600, "a new kubeconfig is private");
}
