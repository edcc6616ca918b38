//! Cuts a migration into segments: what commits together.
//!
//! A migration is one transaction, cut only where a statement cannot run in one. Outside a transaction
//! (`run_in_transaction = false`) each statement commits by itself. `BEGIN` and `COMMIT` in the file cut it
//! where it says.

use sha2::{Digest, Sha256};

use crate::split::{Statement, split_as};
use crate::statement::{Alone, Kind, What, Words, kind};

/// What commits together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Segment<'a> {
    /// The statements before it that change the session: run again before it, since each segment starts from
    /// a clean one.
    pub(crate) settings: Vec<Statement<'a>>,
    /// What runs. Of a segment outside a transaction only the last statement is no setting.
    pub(crate) statements: Vec<Statement<'a>>,
    pub(crate) how: How,
}

/// How a segment runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum How {
    /// In one transaction, opened with this statement.
    Together(String),
    /// Outside a transaction.
    Alone(Alone),
}

/// A statement that no migration can have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal<'a> {
    pub(crate) statement: Statement<'a>,
    pub(crate) why: &'static str,
}

const INSIDE: &str = "it cannot run between BEGIN and COMMIT: move it out";
const OPEN: &str = "its COMMIT is missing";
const CLOSED: &str = "its BEGIN is missing";

/// Cuts a file into segments; `standard` is the session's `standard_conforming_strings`.
pub(crate) fn segments(
    sql: &str,
    in_transaction: bool,
    standard: bool,
) -> Result<Vec<Segment<'_>>, Refusal<'_>> {
    let mut cut = Cut { done: Vec::new(), settings: Vec::new(), from: 0, open: Vec::new(), begin: None };
    for statement in split_as(sql, standard) {
        let refused = |why| Err(Refusal { statement, why });
        match kind(&statement) {
            Kind::Refused(why) => return refused(why),
            Kind::Begin if cut.begin.is_some() => return refused(OPEN),
            Kind::Begin => {
                cut.close(How::Together("BEGIN".to_owned()));
                cut.begin = Some(statement);
            }
            Kind::Commit => match cut.begin.take() {
                Some(begin) => cut.close(How::Together(begin.text.to_owned())),
                None => return refused(CLOSED),
            },
            Kind::Alone(_) if cut.begin.is_some() => return refused(INSIDE),
            Kind::Alone(alone) => {
                if in_transaction {
                    cut.close(How::Together("BEGIN".to_owned()));
                }
                cut.open.push(statement);
                cut.close(How::Alone(alone));
            }
            Kind::Setting => {
                cut.open.push(statement);
                cut.settings.push(statement);
            }
            Kind::Plain => {
                cut.open.push(statement);
                if cut.begin.is_none() && !in_transaction {
                    cut.close(by_itself(&statement));
                }
            }
        }
    }
    if let Some(statement) = cut.begin {
        return Err(Refusal { statement, why: OPEN });
    }
    cut.close(How::Together("BEGIN".to_owned()));
    Ok(cut.done)
}

struct Cut<'a> {
    done: Vec<Segment<'a>>,
    /// All settings of the file so far; those before `from` belong to segments that are closed.
    settings: Vec<Statement<'a>>,
    from: usize,
    open: Vec<Statement<'a>>,
    begin: Option<Statement<'a>>,
}

impl Cut<'_> {
    fn close(&mut self, how: How) {
        if self.open.is_empty() {
            return;
        }
        let settings = self.settings.iter().take(self.from).copied().collect();
        self.from = self.settings.len();
        self.done.push(Segment { settings, statements: std::mem::take(&mut self.open), how });
    }
}

/// Outside a transaction a block may commit by itself, which it may not within one of ours.
fn by_itself(statement: &Statement<'_>) -> How {
    let mut words = Words::of(statement.text);
    if words.take("do") || words.take("call") {
        return How::Alone(Alone { what: What::Repeatable, patient: false });
    }
    How::Together("BEGIN".to_owned())
}

/// A hash of what the first `count` segments run.
pub(crate) fn hash_of(segments: &[Segment<'_>], count: usize) -> String {
    hash(segments.iter().take(count).flat_map(|segment| &segment.statements).map(|statement| statement.text))
}

/// A hash of what a file runs: comments between statements and line ends do not count.
pub(crate) fn checksum(sql: &str) -> String {
    hash(split_as(sql, true).iter().map(|statement| statement.text))
}

fn hash<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    let mut hash = Sha256::new();
    for text in texts {
        for (place, piece) in text.split("\r\n").enumerate() {
            hash.update(if place == 0 { "" } else { "\n" });
            hash.update(piece);
        }
        hash.update([0]);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One line a segment: `*` outside a transaction, the settings that are run again in brackets.
    fn shown(sql: &str, in_transaction: bool) -> String {
        let texts = |statements: &[Statement<'_>]| -> String {
            statements.iter().map(|statement| statement.text).collect::<Vec<_>>().join("; ")
        };
        match segments(sql, in_transaction, true) {
            Err(refusal) => format!("line {}: {}", refusal.statement.line, refusal.why),
            Ok(segments) => segments
                .iter()
                .map(|segment| {
                    let how = match &segment.how {
                        How::Together(begin) => begin.clone(),
                        How::Alone(_) => "*".to_owned(),
                    };
                    format!("[{}] {how}: {}\n", texts(&segment.settings), texts(&segment.statements))
                })
                .collect(),
        }
    }

    const MIXED: &str = "SET search_path = app; CREATE TABLE t (a int); \
        CREATE INDEX CONCURRENTLY i ON t (a); SET work_mem = '1MB'; SELECT 1; SELECT 2";

    #[test]
    fn a_migration_is_one_transaction_cut_only_where_it_must_be() {
        insta::assert_snapshot!(shown("SELECT 1; SELECT 2", true), @"[] BEGIN: SELECT 1; SELECT 2");
        insta::assert_snapshot!(shown(MIXED, true), @r"
        [] BEGIN: SET search_path = app; CREATE TABLE t (a int)
        [SET search_path = app] *: CREATE INDEX CONCURRENTLY i ON t (a)
        [SET search_path = app] BEGIN: SET work_mem = '1MB'; SELECT 1; SELECT 2
        ");
    }

    #[test]
    fn outside_a_transaction_each_statement_commits_by_itself() {
        insta::assert_snapshot!(shown(MIXED, false), @r"
        [] BEGIN: SET search_path = app; CREATE TABLE t (a int)
        [SET search_path = app] *: CREATE INDEX CONCURRENTLY i ON t (a)
        [SET search_path = app] BEGIN: SET work_mem = '1MB'; SELECT 1
        [SET search_path = app; SET work_mem = '1MB'] BEGIN: SELECT 2
        ");
        insta::assert_snapshot!(shown("DO $$ BEGIN COMMIT; END $$; do $$$$; CALL p(); SET a = 1", false), @r"
        [] *: DO $$ BEGIN COMMIT; END $$
        [] *: do $$$$
        [] *: CALL p()
        [] BEGIN: SET a = 1
        ");
    }

    #[test]
    fn the_file_s_own_transactions_are_kept() {
        insta::assert_snapshot!(
            shown("BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT 1; SELECT 2; COMMIT; VACUUM; SELECT 3", false),
            @r"
        [] BEGIN ISOLATION LEVEL SERIALIZABLE: SELECT 1; SELECT 2
        [] *: VACUUM
        [] BEGIN: SELECT 3
        "
        );
        insta::assert_snapshot!(shown("BEGIN;\nVACUUM;\nCOMMIT", true), @"line 2: it cannot run between BEGIN and COMMIT: move it out");
        insta::assert_snapshot!(shown("BEGIN; SELECT 1", true), @"line 1: its COMMIT is missing");
        insta::assert_snapshot!(shown("SELECT 1;\n COMMIT", true), @"line 2: its BEGIN is missing");
    }

    #[test]
    fn the_checksum_is_of_what_runs() {
        assert_eq!(checksum("-- a\nSELECT\r\n 1;"), checksum("SELECT\n 1 -- b"));
        assert_ne!(checksum("SELECT 1"), checksum("SELECT  1"));
    }
}
