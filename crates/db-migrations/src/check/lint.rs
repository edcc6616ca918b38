//! The static layer: what `squawk-linter` reads in the text of a migration, without a server.
//!
//! Its rules about style are off, and those that the runner makes needless (timeouts, CONCURRENTLY in a
//! transaction). Where a migration was played on a server, what was seen there overrules what the text
//! suggests: a rule cannot know whether the table is new, or whether the server changes a type without
//! touching a row.

use squawk_linter::{Linter, Rule, Violation};
use squawk_syntax::SourceFile;

use super::accepted;
use super::findings::{Finding, Severity};
use super::report::{FileFinding, MigrationCheck};
use super::rules;
use super::statement_text;
use super::trace::StatementTrace;
use crate::source::Migration;
use crate::split::split;

/// What a statement costs while it runs: a server knows better.
const COSTS: [Rule; 10] = [
    Rule::RequireConcurrentIndexCreation,
    Rule::ConstraintMissingNotValid,
    Rule::AddingFieldWithDefault,
    Rule::AddingForeignKeyConstraint,
    Rule::ChangingColumnType,
    Rule::AddingNotNullableField,
    Rule::AddingSerialPrimaryKeyField,
    Rule::DisallowedUniqueConstraint,
    Rule::RequireConcurrentReindex,
    Rule::BanAlterDomainWithAddConstraint,
];

/// What a statement breaks for the code that runs beside it, where the table was there before.
const BREAKS: [Rule; 11] = [
    Rule::RequireConcurrentIndexDeletion,
    Rule::RequireConcurrentPartitionDetach,
    Rule::RenamingColumn,
    Rule::RenamingTable,
    Rule::BanDropColumn,
    Rule::BanDropTable,
    Rule::BanDropDatabase,
    Rule::AddingRequiredField,
    Rule::BanTruncateCascade,
    Rule::BanDuplicateColumnAssignments,
    Rule::IdentifierTooLong,
];

/// What the trace says itself, of tables that were there only.
const SEEN_BETTER: [Rule; 6] = [
    Rule::RenamingColumn,
    Rule::RenamingTable,
    Rule::BanDropColumn,
    Rule::BanDropTable,
    Rule::AddingRequiredField,
    Rule::BanTruncateCascade,
];

/// How a text is read without a server.
///
/// ```
/// use db_migrations::check::LintConfig;
/// assert!(!LintConfig::default().assume_in_transaction);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LintConfig {
    /// The oldest major version of the server that it must run on; 15 where none is given.
    pub pg_version: Option<u16>,
    /// Whether the files run in a transaction that their text does not show.
    pub assume_in_transaction: bool,
}

/// Reads one file of SQL, without a server. `file` is only repeated in the findings.
///
/// `-- squawk-ignore RULE` above a statement silences a rule there, and so does `-- check-ignore lint/RULE`.
pub fn lint(file: &str, sql: &str, config: LintConfig) -> Vec<FileFinding> {
    let text = statement_text::of_file(&split(sql)).into_iter().map(|(line, told)| Finding {
        rule: told.rule.to_owned(),
        severity: rules::of(told.rule).map_or(Severity::Warning, |rule| rule.severity),
        line: Some(line),
        message: told.message,
        fix: rules::of(told.rule).map(|rule| rule.instead.to_owned()),
    });
    let mut all: Vec<Finding> = findings(sql, config).into_iter().chain(text).collect();
    accepted::take(&mut all, sql);
    all.extend(accepted::misspelt(sql));
    all.sort_by_key(|finding| finding.line);
    all.into_iter().map(|finding| FileFinding { file: file.to_owned(), finding }).collect()
}

/// Adds the static findings to what was seen, as far as that does not overrule them.
pub(crate) fn merge(check: &mut MigrationCheck, migration: &Migration) {
    let mut findings = findings(&migration.up, LintConfig::default());
    accepted::take(&mut findings, &migration.up);
    for finding in findings {
        let statement =
            finding.line.and_then(|line| check.statements.iter().rev().find(|trace| trace.line <= line));
        if statement.is_none_or(|trace| stands(&finding, trace)) {
            check.findings.push(finding);
        }
    }
    check.findings.sort_by_key(|finding| finding.line);
}

/// Whether a static finding is still of interest, now that the statement was seen.
fn stands(finding: &Finding, trace: &StatementTrace) -> bool {
    let about = |rules: &[Rule]| rules.iter().any(|rule| finding.rule == name(*rule));
    if about(&COSTS) || about(&SEEN_BETTER) {
        return false;
    }
    !about(&BREAKS) || trace.locks.iter().any(|lock| lock.existed_before)
}

fn findings(sql: &str, config: LintConfig) -> Vec<Finding> {
    let parsed = SourceFile::parse(sql);
    let errors = parsed.errors().into_iter().map(|error| Finding {
        rule: "lint/syntax".to_owned(),
        severity: Severity::Warning,
        line: Some(line_of(sql, usize::from(error.range().start()))),
        message: format!("not understood: {}", error.message()),
        fix: None,
    });
    let mut linter = Linter::from(COSTS.into_iter().chain(BREAKS));
    linter.settings.assume_in_transaction = config.assume_in_transaction;
    // A number is a version: this cannot fail.
    if let Some(version) = config.pg_version.and_then(|major| major.to_string().parse().ok()) {
        linter.settings.pg_version = version;
    }
    let violations = linter.lint(&parsed, sql);
    errors.chain(violations.into_iter().map(|violation| from_violation(sql, violation))).collect()
}

fn from_violation(sql: &str, violation: Violation) -> Finding {
    Finding {
        rule: name(violation.code),
        severity: Severity::Warning,
        line: Some(line_of(sql, usize::from(violation.text_range.start()))),
        message: violation.message,
        fix: violation.help.or_else(|| violation.fix.map(|fix| fix.title)),
    }
}

fn name(rule: Rule) -> String {
    format!("lint/{rule}")
}

fn line_of(sql: &str, offset: usize) -> usize {
    sql.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_that_is_read_is_listed() {
        let mut read: Vec<String> = COSTS.into_iter().chain(BREAKS).map(name).collect();
        read.push("lint/syntax".to_owned());
        let mut listed: Vec<&str> = rules::READ.iter().map(|rule| rule.name).collect();
        read.sort();
        listed.sort_unstable();
        assert_eq!(read, listed);
    }
}
