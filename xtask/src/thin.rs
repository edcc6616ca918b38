//! How large the umbrella may be: a part of `layers`.
//!
//! db-platform composes. What is one crate's idea belongs to that crate, so its lines only get fewer: whoever
//! takes some out lowers the limit.

use std::fs;
use std::path::Path;

use crate::failure::Result;
use crate::workspace;

/// Lines of its sources without comments and blank ones, tests included; 1,700 is the target.
const AT_MOST: usize = 4_180;

/// So many lines fewer than the limit, and it is to be lowered.
const SLACK: usize = 60;

/// What is wrong with the umbrella's size.
pub(crate) fn findings() -> Result<Vec<String>> {
    let lines = count(&workspace::root().join("crates/db-platform/src"))?;
    Ok(finding(lines).into_iter().collect())
}

fn finding(lines: usize) -> Option<String> {
    if lines > AT_MOST {
        return Some(format!(
            "db-platform: {lines} lines without comments, and at most {AT_MOST} are allowed: what one crate can do \
             belongs to that crate"
        ));
    }
    let slack = AT_MOST - lines;
    (slack > SLACK).then(|| {
        format!(
            "db-platform: {lines} lines without comments: lower AT_MOST of xtask's thin.rs from {AT_MOST}"
        )
    })
}

fn count(directory: &Path) -> Result<usize> {
    let mut lines = 0;
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            lines += count(&path)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            lines += of_code(&fs::read_to_string(&path)?);
        }
    }
    Ok(lines)
}

fn of_code(text: &str) -> usize {
    text.lines().map(str::trim_start).filter(|line| !line.is_empty() && !line.starts_with("//")).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_blank_lines_do_not_count() {
        assert_eq!(of_code("//! What.\n\nfn a() {\n    // Why.\n    b() // so\n}\n"), 3);
    }

    #[test]
    fn a_larger_umbrella_is_found_and_so_is_a_limit_that_no_longer_binds() {
        assert_eq!(finding(AT_MOST), None);
        assert!(finding(AT_MOST + 1).unwrap().contains("at most"));
        assert!(finding(AT_MOST - SLACK - 1).unwrap().contains("lower AT_MOST"));
    }
}
