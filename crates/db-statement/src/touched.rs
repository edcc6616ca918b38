//! Which tables a statement reads and writes, as far as its text says.

use std::collections::BTreeSet;

use crate::table::Table;
use crate::walk::{Access, Visitor, walk};

/// How many different tables of one text are told; if it names more, the answer is not complete.
pub const MOST_TABLES: usize = 1000;

/// The tables that the statements of one SQL text read and write.
///
/// It takes one pass, without recursion. Names of CTEs are no tables; `EXPLAIN`, `PREPARE` and `DECLARE`
/// count as what they explain, prepare and declare.
///
/// ```
/// let touched = db_statement::touched(
///     "WITH gone AS (DELETE FROM carts USING users u WHERE u.id = user_id RETURNING *)
///      INSERT INTO archive.carts SELECT * FROM gone",
/// );
/// assert_eq!(touched.reads.iter().map(ToString::to_string).collect::<Vec<_>>(), ["users"]);
/// assert_eq!(touched.writes.iter().map(ToString::to_string).collect::<Vec<_>>(), ["carts", "archive.carts"]);
/// assert!(touched.complete);
/// ```
pub fn touched(text: &str) -> Touched {
    let mut found = Found { reads: BTreeSet::new(), writes: BTreeSet::new(), complete: true };
    walk(text, &mut found);
    Touched {
        reads: found.reads.into_iter().collect(),
        writes: found.writes.into_iter().collect(),
        complete: found.complete,
    }
}

/// Which tables a text reads and writes, sorted, each once.
///
/// The text does not show everything. Views and partitions stand under their own names, not those of the
/// tables below them. What triggers, foreign keys with `ON DELETE CASCADE`, rules, row-level security,
/// generated columns, and the functions behind operators, types and aggregates of the user's own do is not in
/// it either, and `complete` does not tell of them: who relies on this for a cache has to know these of the
/// schema.
///
/// ```
/// use db_statement::touched;
///
/// let call = touched("SELECT refresh_totals(id) FROM shops");
/// assert_eq!(call.reads[0].name, "shops");
/// assert!(!call.complete);            // refresh_totals may read and write anything
/// assert!(touched("SELECT lower(name) FROM shops").complete);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Touched {
    /// Tables whose rows are read. One that is only written is not among them, although the server looks for
    /// its rows.
    pub reads: Vec<Table>,
    /// Tables whose rows are written: inserted, updated, deleted, merged, copied in, truncated; made or
    /// dropped.
    pub writes: Vec<Table>,
    /// Whether the text shows that there is more to know: false where it calls a function that is not in
    /// PostgreSQL's catalogue, for `DO`, `CALL`, `EXECUTE`, `FETCH`, `CASCADE`, and all commands but queries,
    /// changes of rows, `COPY`, `CREATE TABLE`, `DROP TABLE` and those that only steer the session; and where
    /// a limit of this crate was met.
    pub complete: bool,
}

struct Found {
    reads: BTreeSet<Table>,
    writes: BTreeSet<Table>,
    complete: bool,
}

impl Visitor for Found {
    fn operation(&mut self, _: &str) {}

    fn table(&mut self, table: Table, access: Access) {
        if self.reads.len() + self.writes.len() >= MOST_TABLES {
            // One more may be a new one.
            self.complete &= self.reads.contains(&table) && access == Access::Read
                || self.writes.contains(&table) && access == Access::Write;
            return;
        }
        match access {
            Access::Read => self.reads.insert(table),
            Access::Write => self.writes.insert(table),
        };
    }

    fn unknown(&mut self) {
        self.complete = false;
    }
}
