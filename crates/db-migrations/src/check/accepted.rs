//! What a file accepts of its own findings: `-- check-ignore RULE: reason`, and `-- contract: reason` for
//! what it takes away.

use serde::Serialize;

use super::findings::{Finding, Severity};
use super::rules;

/// A finding that the file accepts.
///
/// ```
/// use db_migrations::check::Accepted;
/// let told = |one: &Accepted| format!("{}: {}", one.rule, one.reason);
/// assert_eq!(<[Accepted]>::iter(&[]).map(told).count(), 0);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Accepted {
    /// The rule.
    pub rule: String,
    /// The line of what was found, where it is about one.
    pub line: Option<usize>,
    /// What was found.
    pub message: String,
    /// Why it is accepted; empty where the comment does not say.
    pub reason: String,
}

/// A rule that a comment accepts.
struct Ignore<'a> {
    /// The line of the comment, from 1.
    line: usize,
    rule: &'a str,
    reason: &'a str,
}

/// What `-- contract` accepts: what is taken away from code that runs.
const TAKEN_AWAY: [&str; 6] = [
    "trace/drop-object",
    "trace/drop-table",
    "trace/drop-view",
    "trace/drop-column",
    "trace/rename",
    "trace/required-column",
];

const IGNORE: &str = "check-ignore";

/// Every rule that a comment of the text accepts.
fn ignores(sql: &str) -> impl Iterator<Item = Ignore<'_>> {
    sql.lines().enumerate().flat_map(|(number, line)| {
        let comment = line.find("--").and_then(|at| line.get(at + 2..)).unwrap_or_default().trim_start();
        let rules = comment.strip_prefix(IGNORE).unwrap_or_default();
        let (rules, reason) = rules.split_once(": ").unwrap_or((rules, ""));
        let rules = rules.split(',').map(|rule| rule.trim().trim_end_matches(':'));
        rules.filter(|rule| !rule.is_empty()).map(move |rule| Ignore {
            line: number + 1,
            rule,
            reason: reason.trim(),
        })
    })
}

/// Why `-- contract` says that nobody uses what is taken away.
pub(crate) fn contract(sql: &str) -> Option<&str> {
    sql.lines().find_map(|line| {
        let said = line.trim().strip_prefix("-- contract")?;
        if said.is_empty() { Some("") } else { said.strip_prefix(':').map(str::trim) }
    })
}

/// The reason that the text gives for a finding, where it accepts it.
///
/// The comment stands right above the statement or on its line; for what is about no line, anywhere in the
/// file.
pub(crate) fn reason<'a>(sql: &'a str, rule: &str, line: Option<usize>) -> Option<&'a str> {
    let names_it = |ignore: &Ignore<'_>| {
        ignore.rule == rule || rules::of(rule).is_some_and(|rule| rule.also.contains(&ignore.rule))
    };
    let above = line.map(|line| {
        let lines: Vec<&str> = sql.lines().take(line.saturating_sub(1)).collect();
        let comments = lines.iter().rev().take_while(|line| line.trim_start().starts_with("--")).count();
        line.saturating_sub(comments)..=line
    });
    ignores(sql)
        .filter(|ignore| above.as_ref().is_none_or(|above| above.contains(&ignore.line)))
        .find(names_it)
        .map(|ignore| ignore.reason)
        .or_else(|| TAKEN_AWAY.contains(&rule).then(|| contract(sql)).flatten())
}

/// Takes out of the findings what the text accepts.
pub(crate) fn take(findings: &mut Vec<Finding>, sql: &str) -> Vec<Accepted> {
    let mut accepted = Vec::new();
    findings.retain(|finding| match reason(sql, &finding.rule, finding.line) {
        Some(reason) => {
            accepted.push(Accepted {
                rule: finding.rule.clone(),
                line: finding.line,
                message: finding.message.clone(),
                reason: reason.to_owned(),
            });
            false
        }
        None => true,
    });
    accepted
}

/// Comments that accept a rule that is not there.
pub(crate) fn misspelt(sql: &str) -> impl Iterator<Item = Finding> {
    ignores(sql).filter(|ignore| rules::of(ignore.rule).is_none()).map(|ignore| Finding {
        rule: IGNORE.to_owned(),
        severity: Severity::Warning,
        line: Some(ignore.line),
        message: format!("there is no rule {}", ignore.rule),
        fix: rules::of(IGNORE).map(|rule| rule.instead.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_accepts_what_is_found_below_it_or_on_its_line() {
        let sql = "-- check-ignore trace/rewrite, trace/several-tables: it has\n-- few rows\nALTER TABLE a;\n\
                   ALTER TABLE b; -- check-ignore trace/rewrite\n";
        assert_eq!(reason(sql, "trace/rewrite", Some(3)), Some("it has"));
        assert_eq!(reason(sql, "trace/several-tables", Some(3)), Some("it has"));
        assert_eq!(reason(sql, "trace/rewrite", Some(4)), Some(""));
        assert_eq!(reason(sql, "trace/several-tables", Some(4)), None);
        assert_eq!(
            reason("\n-- check-ignore round-trip: no way\n\nSELECT", "round-trip", None),
            Some("no way")
        );
    }

    #[test]
    fn names_of_the_static_layer_and_a_contract_accept_the_same() {
        let sql = "-- check-ignore lint/ban-drop-column: gone\nALTER TABLE a DROP b";
        assert_eq!(reason(sql, "trace/drop-column", Some(2)), Some("gone"));
        assert_eq!(
            reason("-- contract: since May\nDROP TABLE a", "trace/drop-table", Some(2)),
            Some("since May")
        );
        assert_eq!(reason("-- contract\nTRUNCATE a", "trace/truncate", Some(2)), None);
        assert_eq!(misspelt("-- check-ignore trace/rewriting\nSELECT 1").count(), 1);
        assert_eq!(misspelt(sql).count(), 0);
    }
}
