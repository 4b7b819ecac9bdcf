//! What must differ between two runs of one command, taken out by name.

/// Ages are told in seconds and go on between two commands; the columns beside them move along.
pub(super) fn ageless(text: &str) -> String {
    let is_age = |word: &str| {
        let word = word.trim_matches(|c: char| "()".contains(c));
        word.ends_with(['s', 'm', 'h', 'd'])
            && word.starts_with(|c: char| c.is_ascii_digit())
            && word
                .chars()
                .all(|c| c.is_ascii_digit() || "smhd".contains(c))
    };
    by_line(text, |line| {
        let indent = line.len() - line.trim_start().len();
        let words: Vec<_> = line
            .split_whitespace()
            .map(|word| if is_age(word) { "AGE" } else { word })
            .collect();
        format!("{}{}", &line[..indent], words.join(" "))
    })
}

/// Two clusters do the same at other moments, count their writes on their own, and give objects
/// ids of their own.
pub(super) fn of_any_cluster(text: &str) -> String {
    let text = masked(text, "0000-00-00T00:00:00Z", "TIME");
    let text = masked(&text, "XXXXXXXX-XXXX-XXXX-XXXX-XXXXXXXXXXXX", "UID");
    // A process that is started in a container.
    let text = masked(&text, &format!("exec \"{}\"", "X".repeat(32)), "exec ID");
    by_line(&text, |line| match line.split_once("resourceVersion: ") {
        Some((indent, _)) => format!("{indent}resourceVersion: VERSION"),
        None => line.to_owned(),
    })
}

/// `text` with `name` wherever `pattern` fits: its `0` is any digit, its `X` any one of
/// hexadecimal.
pub(super) fn masked(text: &str, pattern: &str, name: &str) -> String {
    let fits = |at: &str| {
        let mut given = at.chars();
        pattern.chars().all(|wanted| {
            given.next().is_some_and(|given| match wanted {
                '0' => given.is_ascii_digit(),
                'X' => given.is_ascii_hexdigit(),
                literal => given == literal,
            })
        })
    };
    let mut rest = text;
    let mut masked = String::new();
    while let Some(next) = rest.chars().next() {
        if fits(rest) {
            masked.push_str(name);
            rest = &rest[pattern.len()..];
        } else {
            masked.push(next);
            rest = &rest[next.len_utf8()..];
        }
    }
    masked
}

fn by_line(text: &str, change: impl Fn(&str) -> String) -> String {
    text.split('\n').map(change).collect::<Vec<_>>().join("\n")
}

#[test]
fn only_what_must_differ_is_taken_out() {
    assert_eq!(ageless("  web 3/3  5d3h\n"), "  web 3/3 AGE\n");
    assert_eq!(ageless("0 (0%)  (12s) 3x"), "0 (0%) AGE 3x");
    assert_eq!(
        of_any_cluster("at 2026-01-02T03:04:05Z: 846b2ac9-2abe-4c6f-99cd-17908e65328b"),
        "at TIME: UID"
    );
    assert_eq!(
        of_any_cluster("  resourceVersion: \"7\"\n  é: 2026"),
        "  resourceVersion: VERSION\n  é: 2026"
    );
}
