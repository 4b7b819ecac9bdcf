//! The threat model of docs/security.md: a test for each of its lines, over real sockets, against
//! the real binary.

mod browser;
mod disk;
mod far;
mod floods;
mod liars;
mod load;
mod others;
mod requests;
mod upgrades;
mod ways;
mod wire;

use std::path::Path;

/// What `line`, a row of a table, has in its last column: names of tests in backticks.
fn tests_of(line: &str) -> Vec<&str> {
    let column = line.trim().trim_matches('|').rsplit('|').next();
    let names = column.unwrap_or_default().split('`').skip(1).step_by(2);
    names.collect()
}

/// The text of all Rust files below `folder`.
fn code(folder: &Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            text += &code(&path);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text += &std::fs::read_to_string(path).unwrap();
        }
    }
    text
}

/// Says that this machine or user leaves no way to try something.
#[expect(
    clippy::print_stderr,
    reason = "who reads that a test passed may want to know what it did not try"
)]
pub(crate) fn left_out(why: &str) {
    eprintln!("left out: {why}");
}

#[test]
fn every_line_of_the_threat_model_names_its_tests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let code = code(&root.join("src")) + &code(&root.join("tests/it"));
    let text = include_str!("../../../docs/security.md");
    let is_row = |line: &&str| line.starts_with("| ") && !line.starts_with("| what they");
    let rows: Vec<_> = text.lines().filter(is_row).collect();
    assert!(rows.len() > 20, "docs/security.md has {} rows", rows.len());
    for row in rows {
        let tests = tests_of(row);
        assert!(!tests.is_empty(), "no test is named: {row}");
        for test in tests {
            assert!(
                code.contains(&format!("fn {test}(")),
                "there is no test {test}, which docs/security.md names"
            );
        }
    }
}
