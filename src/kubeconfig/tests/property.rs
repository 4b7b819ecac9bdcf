//! What holds for every kubeconfig, whatever its style.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::{ENTRY, added, merge, proof};

/// A list's item in one of the styles that people and tools write.
fn item() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        4 => "[a-z][a-z0-9-]{0,8}",
        1 => Just(ENTRY.context.to_owned()),
        1 => Just(ENTRY.user.to_owned()),
    ];
    let style = prop::sample::select(vec![
        "- name: $N\n  $K: {a: b}   # c\n",
        "- $K:\n    a: 'b'\n    c: |\n      d\n      e\n\n  name: \"$N\"\n",
        "- {name: $N, $K: {}} # f\n\n",
        "# above\n- # beside\n  name: $N\n  # inside\n  $K:\n    x:\n    - y\n    - z\n",
        "-   name: '$N'\n    $K: # none\n",
        "- $K: !!map\n    é: 日本 # ü\n  name: $N\n# below\n",
        "- name: $N\n  $K:\n    k: |+\n      v\n\n",
        "- name: $N\n  $K:\n    k: >-\n      v\n      w\n",
        "- name: $N\n  $K:\n",
        "-\n",
    ]);
    (name, style).prop_map(|(name, style)| style.replace("$N", &name))
}

fn list(key: &'static str) -> impl Strategy<Value = String> {
    let inner = &key[..key.len() - 1];
    let indent = prop::sample::select(vec!["", "  ", "   "]);
    let items = prop::collection::vec(item(), 1..4);
    let block = (indent, items).prop_map(move |(indent, items)| {
        let mut text = format!("{key}:\n");
        for line in items.concat().replace("$K", inner).lines() {
            let gap = if line.is_empty() { "" } else { indent };
            writeln!(text, "{gap}{line}").expect("writing to a string");
        }
        text
    });
    let other = prop::sample::select(vec![
        "",
        "$L:\n",
        "$L: []\n",
        "$L: null # n\n",
        "$L: [{name: a, $K: {}}]\n",
        "$L: [\n  {name: a}, # a\n  {name: edge-42},\n  {name: edge-42} ]\n",
        "$L: [ ] # e\n",
    ])
    .prop_map(move |text| text.replace("$L", key).replace("$K", inner));
    prop_oneof![3 => block, 1 => other]
}

fn kubeconfig() -> impl Strategy<Value = String> {
    let others = prop::sample::select(vec![
        "",
        "kind: Config\n",
        "# alone\n\n",
        "current-context: a # now\n",
        "current-context:\n",
        "x: &x\n  y: z\n",
        "current-context: >-\n  b\n",
        "preferences: {colors: true}\n",
    ]);
    let rest = prop::sample::select(vec!["", "# end\n", "...\n", "z: 1", "z: |\n  q", "\n\n"]);
    let head = prop::sample::select(vec!["", "---\n", "%YAML 1.2\n---\n", "# head\n"]);
    let lists = (list("clusters"), list("contexts"), list("users"));
    (head, lists, others, rest, any::<bool>(), any::<u8>()).prop_map(
        |(head, (clusters, contexts, users), others, rest, returns, order)| {
            let mut parts = [clusters, contexts, users, others.to_owned()];
            parts.rotate_left(usize::from(order % 4));
            let text = format!("{head}{}{rest}", parts.concat());
            if returns {
                text.replace('\n', "\r\n")
            } else {
                text
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_style_takes_the_entry(text in kubeconfig()) {
        prop_assume!(proof::read(&text).is_ok());
        let once = merge(&text, &ENTRY);
        prop_assert!(once.is_ok(), "{:?}\n{}", once, text);
        let once = once.unwrap();
        prop_assert_eq!(merge(&once, &ENTRY).unwrap(), once);
    }

    #[test]
    fn without_our_names_every_line_stays(text in kubeconfig()) {
        let text = text.replace("edge-42", "other");
        prop_assume!(proof::read(&text).is_ok());
        let after = merge(&text, &ENTRY);
        prop_assert!(after.is_ok(), "{:?}\n{}", after, text);
        let after = after.unwrap();
        // All but the values that an edit may rewrite.
        let rewritten = |line: &&str| {
            line.contains(['[', ']']) || line.contains("null") || *line == "  b"
                || line.starts_with("current-context:")
        };
        let kept: Vec<_> = text.lines().filter(|line| !rewritten(line)).collect();
        prop_assert!(!added(&kept.join("\n"), &after).is_empty());
    }

    #[test]
    fn no_text_panics(text in any::<String>()) {
        let merged = merge(&text, &ENTRY);
        prop_assert!(merged.is_err() || merged.is_ok_and(|m| proof::read(&m).is_ok()));
    }

    #[test]
    fn no_text_of_yaml_characters_panics(text in "[-a:{}\\[\\],#&*!|>'\"?%@ \n\t\r~0é\u{feff}]{0,60}") {
        for text in [text.clone(), format!("clusters: {text}"), format!("clusters:\n- {text}\n- name: edge-42 {text}\n")] {
            if let Ok(merged) = merge(&text, &ENTRY) {
                prop_assert!(proof::read(&merged).is_ok());
            }
        }
    }

    #[test]
    fn a_kubeconfig_with_damage_does_not_panic(text in kubeconfig(), at in any::<prop::sample::Index>(), c in any::<char>()) {
        let mut chars: Vec<char> = text.chars().collect();
        prop_assume!(!chars.is_empty());
        let at = at.index(chars.len());
        chars[at] = c;
        let text: String = chars.into_iter().collect();
        if let Ok(merged) = merge(&text, &ENTRY) {
            prop_assert!(proof::read(&merged).is_ok());
        }
    }
}
