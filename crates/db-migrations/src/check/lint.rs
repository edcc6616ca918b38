//! The static layer: what `squawk-linter` reads in the text of a migration, without a server.
//!
//! Its rules about style are off, and those that the runner makes needless (timeouts, CONCURRENTLY in a transaction).
//! Where a migration was played on a server, what was seen there overrules what the text suggests: a rule cannot know
//! whether the table is new, or whether the server changes a type without touching a row.

use squawk_linter::{Linter, LinterSettings, Rule, Violation};
use squawk_syntax::SourceFile;

use super::findings::{Finding, Severity, ignored};
use super::report::{FileFinding, MigrationCheck};
use super::trace::StatementTrace;
use crate::source::Migration;

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

/// Reads one file of SQL, without a server. `file` is only repeated in the findings.
///
/// `-- squawk-ignore RULE` above a statement silences a rule there, and so does `-- check-ignore lint/RULE`.
pub fn lint(file: &str, sql: &str) -> Vec<FileFinding> {
    findings(sql).into_iter().map(|finding| FileFinding { file: file.to_owned(), finding }).collect()
}

/// Adds the static findings to what was seen, as far as that does not overrule them.
pub(crate) fn merge(check: &mut MigrationCheck, migration: &Migration) {
    for finding in findings(&migration.up) {
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
    if about(&COSTS) {
        return false;
    }
    !about(&BREAKS) || trace.locks.iter().any(|lock| lock.existed_before)
}

fn findings(sql: &str) -> Vec<Finding> {
    let parsed = SourceFile::parse(sql);
    let errors = parsed.errors().into_iter().map(|error| Finding {
        rule: "lint/syntax".to_owned(),
        severity: Severity::Warning,
        line: Some(line_of(sql, usize::from(error.range().start()))),
        message: format!("not understood: {}", error.message()),
        fix: None,
    });
    let mut linter = Linter::from(COSTS.into_iter().chain(BREAKS));
    linter.settings = LinterSettings { assume_in_transaction: false, ..LinterSettings::default() };
    let violations = linter.lint(&parsed, sql);
    let violations = violations.into_iter().map(|violation| from_violation(sql, violation));
    let mut all: Vec<Finding> = errors.chain(violations).filter(|finding| !ignored(sql, finding)).collect();
    all.sort_by_key(|finding| finding.line);
    all
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
