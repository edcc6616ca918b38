//! The page that describes every check, written from the checks themselves.

use crate::amount;
use crate::checks::{Bound, all};

const HEAD: &str = "\
# Checks

What `dbctl check` looks at, and what alerts go by. Every result is `ok`, `warn`, `critical` or `skipped`: what could not be
looked at, because the role may not see it, the server does not have it, or too little was counted yet, is never `ok`.
A finding brings its figures, what to run about it, and how to run it safely. `--only` and `--skip` take the names below.

Counters are compared between two looks; `dbctl check --window 60s` waits between them, and a service always has an earlier
look. A look that follows a reset of the counters, a restart or a failover has nothing to compare with.

This page is written from the code: `cargo run -q -p db-monitoring --example checks --features server > docs/checks.md`.
";

/// The text of `docs/checks.md`.
///
/// ```
/// assert!(db_monitoring::checks::page().contains("## `blocking`: "));
/// ```
pub fn page() -> String {
    let mut page = HEAD.split("\n\n").map(wrapped).collect::<Vec<_>>().join("\n");
    for check in all() {
        page.push_str(&format!("\n## `{}`: {}\n\n", check.id, check.title));
        page.push_str(&wrapped(&format!("Looks at {}", check.looks_at)));
        if !check.bounds.is_empty() {
            page.push_str("\n| figure | warn above | critical above |\n|---|---|---|\n");
            for bound in check.bounds {
                page.push_str(&row(bound));
            }
        }
        if !check.sql.is_empty() {
            page.push_str(&format!("\nBy hand:\n\n```sql\n{}```\n", wrapped(check.sql)));
        }
    }
    page
}

fn row(bound: &Bound) -> String {
    let text = |value: f64| {
        if value.is_finite() { spelt(value, bound.unit) } else { "never".to_owned() }
    };
    format!("| {} | {} | {} |\n", bound.of, text(bound.warn), text(bound.critical))
}

fn spelt(value: f64, unit: &str) -> String {
    match unit {
        unit if unit.starts_with('{') => {
            let word = unit.trim_matches(['{', '}']);
            format!("{} {word}s", grouped(value))
        }
        "d" => format!("{value:.0} days"),
        "/min" => format!("{value:.0} a minute"),
        "%" => format!("{value:.0} %"),
        unit => amount(value, unit),
    }
}

fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Lines of at most 110 characters.
fn wrapped(text: &str) -> String {
    let (mut lines, mut length) = (String::new(), 0);
    for word in text.split_whitespace() {
        if length > 0 && length + 1 + word.len() > 110 {
            lines.push('\n');
            length = 0;
        } else if length > 0 {
            lines.push(' ');
            length += 1;
        }
        lines.push_str(word);
        length += word.len();
    }
    lines.push('\n');
    lines
}
