//! The page of checks is the one that the code writes.

use db_monitoring::checks;

#[test]
fn the_page_of_checks_is_what_the_code_says() {
    let written = include_str!("../../../../docs/checks.md");
    let expected = checks::page();
    assert!(written == expected, "docs/checks.md is out of date: its first lines say how to write it anew");
}

#[test]
fn lines_of_the_page_are_short() {
    // Rows of tables and links cannot be broken.
    let long: Vec<_> = checks::page()
        .lines()
        .filter(|line| line.len() > 110 && !line.starts_with('|'))
        .map(str::to_owned)
        .collect();
    assert!(long.is_empty(), "{long:#?}");
}
