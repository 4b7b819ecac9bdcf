//! Commands that change something: the same ones in two equal clusters, through arcproxy in one.

use tokio::process::Command;

use super::{Mode, Session};

const MANIFEST: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata: {name: fresh, namespace: demo, labels: {app: fresh}}
spec:
  replicas: 1
  selector: {matchLabels: {app: fresh}}
  template:
    metadata: {labels: {app: fresh}}
    spec:
      containers:
      - {name: main, image: 'busybox:1.36'}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: fresh, namespace: demo}
data: {key: one}
";

async fn changes(mode: Mode) {
    let session = Session::twins(mode).await;
    applies(&session).await;
    alters(&session).await;
    edits(&session).await;
    deletes(&session).await;
}

/// What the configuration map holds, and who says so.
async fn holds(session: &Session, key: &str) {
    let object = session
        .same("get configmap fresh -n demo -o yaml --show-managed-fields")
        .await;
    let line = format!("  key: {key}\n");
    assert!(object.contains(&line), "{line}{object}");
}

async fn applies(session: &Session) {
    let apply = "apply -f manifest.yaml";
    session.write("manifest.yaml", MANIFEST);
    assert_eq!(
        session.same(apply).await,
        "deployment.apps/fresh created\nconfigmap/fresh created\n"
    );
    assert_eq!(
        session.same(apply).await,
        "deployment.apps/fresh unchanged\nconfigmap/fresh unchanged\n"
    );
    session.write("manifest.yaml", &MANIFEST.replace("key: one", "key: two"));
    let applied = session.same(apply).await;
    assert!(applied.contains("configmap/fresh configured"), "{applied}");
    holds(session, "two").await;

    session.write("manifest.yaml", &MANIFEST.replace("key: one", "key: three"));
    let conflict = session.refused(&format!("{apply} --server-side")).await;
    assert!(conflict.contains("conflict"), "{conflict}");
    holds(session, "two").await;
    let forced = session
        .same(&format!("{apply} --server-side --force-conflicts"))
        .await;
    assert!(forced.contains("fresh serverside-applied"), "{forced}");
    holds(session, "three").await;
}

async fn alters(session: &Session) {
    session
        .same("rollout status deployment/fresh -n demo --timeout=30s")
        .await;
    for line in [
        "scale deployment/fresh -n demo --replicas=3",
        "wait deployment/fresh -n demo --for=jsonpath={.status.readyReplicas}=3 --timeout=30s",
        "rollout status deployment/fresh -n demo --timeout=30s",
        "get pods -n demo -l app=fresh -o jsonpath={.items[*].status.phase}",
        "label deployment/fresh -n demo tier=front",
        r#"patch deployment/fresh -n demo --type=merge -p {"metadata":{"labels":{"tier":"merge"}}}"#,
        r#"patch deployment/fresh -n demo --type=json -p [{"op":"replace","path":"/metadata/labels/tier","value":"json"}]"#,
        r#"patch deployment/fresh -n demo --type=strategic -p {"metadata":{"labels":{"tier":"strategic"}}}"#,
        "autoscale deployment/fresh -n demo --min=1 --max=3 --cpu-percent=80",
        "create configmap other -n demo --from-literal=a=b",
        "get configmap other -n demo -o yaml",
    ] {
        let said = session.same(line).await;
        assert!(!said.is_empty(), "{line}");
    }
    let object = session.same("get deployment fresh -n demo -o yaml").await;
    assert!(
        object.contains("tier: strategic") && object.contains("readyReplicas: 3"),
        "{object}"
    );
    for (line, said) in [
        ("label deployment/fresh -n demo tier=back", "--overwrite"),
        ("create configmap other -n demo", "already exists"),
        ("scale deployment/none -n demo --replicas=3", "not found"),
        (
            r#"patch deployment/fresh -n demo -p {"spec":{"replicas":"many"}}"#,
            "(BadRequest)",
        ),
    ] {
        let refusal = session.refused(line).await;
        assert!(refusal.contains(said), "{refusal}");
    }
}

async fn edits(session: &Session) {
    let edit = async |editor: &str| {
        let with_editor = |mut command: Command| {
            command.env("KUBE_EDITOR", editor);
            command
        };
        let line = "edit configmap/fresh -n demo";
        session
            .same_of(line, session.both(line).map(with_editor))
            .await
            .ok()
    };
    assert_eq!(
        edit("sed -i s/three/four/").await,
        "configmap/fresh edited\n"
    );
    holds(session, "four").await;
    assert_eq!(edit("true").await, "");
}

async fn deletes(session: &Session) {
    for line in [
        "delete hpa/fresh -n demo",
        "delete configmap/other -n demo",
        "delete -f manifest.yaml",
    ] {
        let said = session.same(line).await;
        assert!(said.contains("deleted"), "{said}");
    }
    session
        .same("wait deployment/fresh -n demo --for=delete --timeout=30s")
        .await;
    for line in [
        "get deployment/fresh -n demo",
        "delete configmap/other -n demo",
    ] {
        let refusal = session.refused(line).await;
        assert!(refusal.contains("(NotFound)"), "{refusal}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_as_an_entra_identity() {
    changes(Mode::Aad).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_as_a_service_account() {
    changes(Mode::Token).await;
}
