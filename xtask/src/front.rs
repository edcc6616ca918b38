//! Whether people find a crate: its front page, and its rows in the tables. A part of `layers`.

use std::fs;

use crate::workspace::{self, Package};

/// What a library's `src/lib.rs` says to have the README as its front page, examples compiled.
const INCLUDED: &str = "#![doc = include_str!(\"../README.md\")]";

/// Where one of `crates/` is not to be found.
pub(crate) fn findings(package: &Package) -> Vec<String> {
    let root = workspace::root();
    if package.folder.parent() != Some(&root.join("crates")) {
        return Vec::new();
    }
    look(&package.name, &|path| fs::read_to_string(root.join(path)).ok())
}

/// The same; `read` gives the text of a file, by its path from the root.
fn look(name: &str, read: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
    let mut findings = Vec::new();
    let has = |path: &str, words: &str| read(path).is_some_and(|text| text.contains(words));
    let (page, library) = (format!("crates/{name}/README.md"), format!("crates/{name}/src/lib.rs"));
    if read(&page).is_none() {
        findings.push(format!("{name} has no front page: write {page}"));
    } else if read(&library).is_some_and(|text| !text.lines().any(|line| line == INCLUDED)) {
        findings.push(format!("{library} does not have the README as its front page: {INCLUDED}"));
    }
    if !has("README.md", &format!("\n| [{name}]({page}) |")) {
        findings.push(format!("{name} has no row in README.md: | [{name}]({page}) | …"));
    }
    if !has("docs/architecture.md", &format!("\n| `{name}` |")) {
        findings.push(format!("{name} has no row in docs/architecture.md: | `{name}` | …"));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_that_nobody_would_find_is_found() {
        let files = [
            ("crates/db-a/README.md", "# db-a\n"),
            ("crates/db-a/src/lib.rs", "//! A.\n#![doc = include_str!(\"../README.md\")]\n"),
            ("README.md", "|---|\n| [db-a](crates/db-a/README.md) | a |\n"),
            ("docs/architecture.md", "|---|\n| `db-a` | a | nobody |\n"),
        ];
        let without = |gone: &str, instead: Option<&str>| {
            look("db-a", &|path| match path == gone {
                true => instead.map(str::to_owned),
                false => files.iter().find(|(at, _)| *at == path).map(|(_, text)| (*text).to_owned()),
            })
        };
        assert_eq!(without("", None), [""; 0]);
        assert_eq!(without("crates/db-a/src/lib.rs", None), [""; 0], "a program has no lib.rs");
        for (path, instead, said) in [
            ("crates/db-a/README.md", None, "no front page"),
            ("crates/db-a/src/lib.rs", Some("//! A.\n"), "does not have the README"),
            ("README.md", Some("db-a\n"), "no row in README.md"),
            ("docs/architecture.md", Some("db-a\n"), "no row in docs/architecture.md"),
        ] {
            let found = without(path, instead);
            assert!(found.len() == 1 && found[0].contains(said), "{path}: {found:?}");
        }
    }
}
