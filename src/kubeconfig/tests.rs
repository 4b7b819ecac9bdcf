//! Kubeconfigs as people have them, and texts that nobody should have.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod file;
mod property;

use super::{Entry, MergeError, fresh, merge, proof};

const ENTRY: Entry<'static> = Entry {
    context: "edge-42",
    user: "clusterUser_factories_edge-42",
    server: "https://127.0.0.1:47011/proxies/e3b0c44298fc1c149afbf4c8996fb924",
    certificate_authority_pem: "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n",
    token: "7f3a1b",
};

const AUTHORITY: &str =
    "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCkFBPT0KLS0tLS1FTkQgQ0VSVElGSUNBVEUtLS0tLQo=";

/// `text`, its `CA` being the authority's base64.
fn with_authority(text: &str) -> String {
    text.replace("$CA", AUTHORITY)
}

/// Merges, and merges again to see that nothing changes any more.
fn merged(existing: &str) -> String {
    let once = merge(existing, &ENTRY).unwrap();
    assert_eq!(merge(&once, &ENTRY).unwrap(), once, "a second merge");
    once
}

/// The lines of `text` that are not in `before`, which must be there still, in order.
fn added<'a>(before: &str, text: &'a str) -> Vec<&'a str> {
    let mut old = before.lines().peekable();
    let mut new = Vec::new();
    for line in text.lines() {
        if old.peek() == Some(&line) {
            old.next();
        } else {
            new.push(line);
        }
    }
    assert_eq!(old.next(), None, "a line of the original is gone:\n{text}");
    new
}

#[test]
fn fresh_is_what_kubectl_writes() {
    let expected = "\
apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: $CA
    server: https://127.0.0.1:47011/proxies/e3b0c44298fc1c149afbf4c8996fb924
  name: edge-42
contexts:
- context:
    cluster: edge-42
    user: clusterUser_factories_edge-42
  name: edge-42
current-context: edge-42
kind: Config
preferences: {}
users:
- name: clusterUser_factories_edge-42
  user:
    token: \"7f3a1b\"
";
    assert_eq!(fresh(&ENTRY), with_authority(expected));
}

#[test]
fn nothing_becomes_fresh() {
    for empty in ["", "{}", "---\n", "null\n"] {
        let text = merged(empty);
        assert!(text.contains(fresh(&ENTRY).trim_end()), "{empty:?}: {text}");
    }
    assert_eq!(merged("# mine\n"), format!("# mine\n{}", fresh(&ENTRY)));
    assert_eq!(merged("# mine"), format!("# mine\n{}", fresh(&ENTRY)));
}

#[test]
fn null_and_empty_lists_are_filled() {
    for empty in [
        "clusters:",
        "clusters: null # none",
        "clusters: []",
        "clusters: ~",
    ] {
        let text = format!("kind: Config\n{empty}\nusers: # none\ncontexts: []\n# end\n");
        let text = merged(&text);
        assert!(text.contains("- cluster:\n    certificate-authority-data: LS0t"));
        assert!(text.contains("users: # none\n- name: clusterUser_factories_edge-42\n"));
        assert!(text.ends_with("# end\ncurrent-context: edge-42\n") || text.contains("# end\n"));
    }
    assert!(merged("clusters: [\n  # none yet\n]\n").contains("# none yet\n{\"cluster\""));
}

/// `az aks get-credentials` and `kubectl config` write like this.
const KUBECTL: &str = "\
apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: QUJD
    server: https://aks-1.hcp.westeurope.azmk8s.io:443
  name: aks-1
contexts:
- context:
    cluster: aks-1
    user: clusterUser_rg_aks-1
  name: aks-1
current-context: aks-1
kind: Config
preferences: {}
users:
- name: clusterUser_rg_aks-1
  user:
    client-certificate-data: QUJD
    client-key-data: QUJD
";

#[test]
fn kubectls_own_style_is_continued() {
    let before = KUBECTL.replace("current-context: aks-1\n", "");
    assert_eq!(
        added(&before, &merged(KUBECTL)).join("\n"),
        with_authority(
            "\
- cluster:
    certificate-authority-data: $CA
    server: https://127.0.0.1:47011/proxies/e3b0c44298fc1c149afbf4c8996fb924
  name: edge-42
- context:
    cluster: edge-42
    user: clusterUser_factories_edge-42
  name: edge-42
current-context: edge-42
- name: clusterUser_factories_edge-42
  user:
    token: \"7f3a1b\""
        )
    );
}

#[test]
fn comments_indentation_and_unknown_fields_stay() {
    let text = "\
# Managed by hand. é 日本
kind: Config
x-mine: &defaults
  colour: blue   # only I know why
clusters:
  # The one at home.
  - name: kind-home
    cluster:
      server: https://127.0.0.1:6443
      extensions:
      - extension:
          last-update: Mon, 01 Jan 2024 00:00:00 UTC
          provider: minikube.sigs.k8s.io
        name: cluster_info

  # The one at work.
  - name: work
    cluster: {server: 'https://work', proxy-url: \"http://p:3128\"}   # slow
# Above the users.
users:
  - name: gke
    user:
      exec:
        apiVersion: client.authentication.k8s.io/v1beta1
        command: gke-gcloud-auth-plugin
        args: null
        installHint: |+
          Install it:
            gcloud components install

        provideClusterInfo: true
        env:
        - <<: *defaults
contexts:
  - name: work
    context:
      cluster: work
      user: gke
";
    let after = merged(text);
    let new = added(text, &after);
    assert_eq!(new.len(), 12, "{after}");
    assert!(after.contains("# slow\n  - cluster:\n      certificate-authority-data: LS0t"));
    assert!(after.contains("name: edge-42\n# Above the users.\n"));
    assert!(after.ends_with("current-context: edge-42\n"));
}

#[test]
fn carriage_returns_byte_order_mark_and_missing_newline_stay() {
    let text = format!("\u{feff}{}", KUBECTL.replace('\n', "\r\n"));
    let text = text.strip_suffix("\r\n").unwrap();
    let after = merged(text);
    assert!(after.starts_with('\u{feff}'));
    assert_eq!(after.matches('\n').count(), after.matches("\r\n").count());
    assert!(after.ends_with("token: \"7f3a1b\""));
}

#[test]
fn json_stays_json() {
    let compact = r#"{"kind":"Config","clusters":[],"contexts":[{"name":"a","context":{"cluster":"a","user":"a"}}],"users":null}"#;
    let after = merged(compact);
    let value: serde_json::Value = serde_json::from_str(&after).unwrap();
    assert_eq!(value["contexts"][1]["name"], "edge-42");
    assert_eq!(value["clusters"][0]["name"], "edge-42");
    assert_eq!(value["current-context"], "edge-42");

    let pretty = "{\n  \"clusters\": [\n    {\n      \"name\": \"a\",\n      \"cluster\": {}\n    }\n  ],\n  \"kind\": \"Config\"\n}\n";
    let after = merged(pretty);
    serde_json::from_str::<serde_json::Value>(&after).unwrap();
    assert!(after.contains("\n    },\n    {\"cluster\": {"), "{after}");
    assert!(after.contains("\"Config\",\n  \"contexts\": ["), "{after}");
}

#[test]
fn flow_lists_in_block_files_are_continued() {
    let text = "clusters: [{name: a, cluster: {server: x}}, ] # c\nusers: [\n  {name: a, user: {}}, # me\n]\n";
    let after = merged(text);
    assert!(after.starts_with("clusters: [{name: a, cluster: {server: x}}, {\"cluster\": {"));
    assert!(
        after.contains("}, ] # c\nusers: [\n  {name: a, user: {}},\n  {\"name\""),
        "{after}"
    );
    assert!(after.contains(", # me\n]\n"));
}

#[test]
fn a_second_run_changes_only_what_changed() {
    let text = merged(KUBECTL).replace("    token: ", "    # per run\n    token: ");
    let entry = Entry {
        token: "other",
        ..ENTRY
    };
    let after = merge(&text, &entry).unwrap();
    assert_eq!(after, text.replace("token: \"7f3a1b\"", "token: other"));
}

#[test]
fn an_entry_of_another_shape_is_replaced_whole_but_for_its_namespace() {
    let text = "\
clusters:
- name: edge-42
  cluster:
    insecure-skip-tls-verify: true
    server: https://old # gone
  # between
- name: b
  cluster: {server: https://b}
contexts:
- {name: edge-42, context: {cluster: b, user: b, namespace: lines}}
users:
-
  name: clusterUser_factories_edge-42
  user:
    exec:
      command: x
      args: |
        y

current-context:
";
    let after = merged(text);
    let expected = "\
clusters:
- cluster:
    certificate-authority-data: $CA
    server: https://127.0.0.1:47011/proxies/e3b0c44298fc1c149afbf4c8996fb924
  name: edge-42 # gone
  # between
- name: b
  cluster: {server: https://b}
contexts:
- {name: edge-42, context: {cluster: \"edge-42\", user: \"clusterUser_factories_edge-42\", namespace: lines}}
users:
-
  name: clusterUser_factories_edge-42
  user:
    token: \"7f3a1b\"

current-context: edge-42
";
    assert_eq!(after, with_authority(expected));
}

#[test]
fn names_that_occur_twice_end_up_once() {
    let text = "\
clusters:
- name: edge-42
  cluster: {server: https://one}
- name: b
  cluster: {server: https://b}
- name: edge-42 # again
  cluster:
    server: https://two # two
# end
contexts: [{name: edge-42, context: {}}, {name: edge-42, context: {}}, {name: c, context: {}}]
";
    let after = merged(text);
    assert_eq!(after.matches("name: edge-42").count(), 1);
    assert!(after.contains("https://b}\n# end\n"), "{after}");
    assert!(!after.contains("two"));
    assert!(
        after.contains("\"name\": \"edge-42\"}, {name: c, context: {}}]\n"),
        "{after}"
    );
}

#[test]
fn shared_anchors_are_not_broken() {
    let shared = "\
clusters:
- name: edge-42
  cluster: &c {server: https://one}
- name: b
  cluster: *c
";
    let error = merge(shared, &ENTRY).unwrap_err();
    assert_eq!(error, MergeError::Anchored { line: 2 });

    let alias = "x: &x [{name: a, cluster: {}}]\nclusters: *x\n";
    let error = merge(alias, &ENTRY).unwrap_err();
    assert_eq!(error, MergeError::Anchored { line: 2 });

    let private = "clusters:\n- name: edge-42\n  cluster: &c {server: https://one}\n";
    assert!(!merged(private).contains("&c"));

    let outer = "\
x: &c {server: https://one}
y: &e {name: edge-42, cluster: *c}
clusters:
- *e
- name: b
  cluster: *c
current-context: &now b
";
    let after = merged(outer);
    assert!(after.starts_with("x: &c {server: https://one}\ny: &e {name: edge-42, cluster: *c}\n"));
    assert!(after.contains("- {\"cluster\": {"), "{after}");
    assert!(after.contains("- name: b\n  cluster: *c\ncurrent-context: edge-42\n"));
}

#[test]
fn current_context_is_replaced_however_it_is_written() {
    for value in [
        "'b'",
        "\"b\"",
        ">-\n  b",
        "|\n  b\n\n",
        "\n  b",
        "!!str b # c",
        "# none",
        "",
        "~",
    ] {
        let text = format!("kind: Config\ncurrent-context: {value}\nx: 1\n");
        let after = merged(&text);
        assert!(after.contains("current-context:"), "{after}");
        assert!(after.contains("\nx: 1\n"), "{after}");
    }
}

#[test]
fn names_that_look_like_something_else_are_quoted() {
    for name in [
        "no",
        "12e3",
        "~",
        "a: b",
        "a #b",
        "ü",
        "'",
        "\"",
        "a\u{85}b\u{1}",
        "{x}",
        "",
        "Null",
    ] {
        let entry = Entry {
            context: name,
            ..ENTRY
        };
        let text = merge(KUBECTL, &entry).unwrap();
        assert_eq!(merge(&text, &entry).unwrap(), text);
        assert!(proof::read(&fresh(&entry)).is_ok());
    }
}

#[test]
fn what_is_no_kubeconfig_is_refused_with_its_place() {
    let line = |text: &str| match merge(text, &ENTRY).unwrap_err() {
        MergeError::NotYaml { line, .. } | MergeError::NotKubeconfig { line, .. } => line,
        other => panic!("{other}"),
    };
    assert_eq!(line("a:\n\tb: c\n"), 2);
    assert_eq!(line("a: 1\nb: [c\n"), 2);
    assert_eq!(line("a: *nobody\n"), 1);
    assert_eq!(line("- a\n- b\n"), 1);
    assert_eq!(line("hello"), 1);
    assert_eq!(line("kind: Config\nclusters: {a: b}\n"), 2);
    assert_eq!(line("kind: Config\nusers: none\n"), 2);
    assert_eq!(line("kind: Config\ncurrent-context: [a]\n"), 2);
    assert_eq!(line("clusters: []\nkind: Config\nclusters: []\n"), 3);
    assert_eq!(
        line(&format!("a: {}{}", "[".repeat(500), "]".repeat(500))),
        1
    );
    let several = merge("a: b\n---\nc: d\n", &ENTRY).unwrap_err();
    assert_eq!(several, MergeError::SeveralDocuments);
}

#[test]
fn messages_hold_no_secret() {
    let text = "users:\n- name: a\n  user: {token: hunter2 hunter2: [}\n";
    let error = merge(text, &ENTRY).unwrap_err();
    assert!(!format!("{error} {error:?} {ENTRY:?}").contains("hunter2"));
    assert!(!format!("{ENTRY:?}").contains(ENTRY.token));
}
