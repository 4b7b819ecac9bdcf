//! Documents and code say the same.

use arcproxy::error::Code;

#[test]
fn every_error_code_is_in_the_documents_with_its_exit_code() {
    let text = include_str!("../../docs/errors.md");
    for code in Code::ALL {
        let row = format!("| `{code}` | {} |", code.exit_code());
        assert!(text.contains(&row), "docs/errors.md has no row {row:?}");
    }
    let rows = text.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(
        rows,
        Code::ALL.len(),
        "docs/errors.md explains a code that is none"
    );
}
