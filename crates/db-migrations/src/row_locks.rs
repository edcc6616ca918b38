//! Tells which statements wait for rows only: nobody queues behind them, so they need not give up after
//! `lock_timeout`.
//!
//! INSERT, UPDATE, DELETE and MERGE lock their tables in ROW EXCLUSIVE mode, for which no reader or writer
//! waits. A short `lock_timeout` would meet the locks of rows, too, and an UPDATE of many rows would begin
//! anew again and again. That ends where a statement before it in the transaction may hold a stronger lock.
//! Source: the PostgreSQL manual, "Explicit Locking".

use std::time::Duration;

use crate::segments::Segment;
use crate::statement::{Kind, Words, kind};

/// The `lock_timeout` of a transaction's statements, one after the other.
pub(crate) struct LockTimeouts {
    short: Duration,
    long: Duration,
    now: Duration,
    /// Whether only rows are locked so far. No where the file sets `lock_timeout` itself.
    rows_only: bool,
}

impl LockTimeouts {
    /// For a transaction that begins with `short`; rows are waited for up to `long`.
    pub(crate) fn of(segment: &Segment<'_>, short: Duration, long: Duration) -> Self {
        let sets = |text: &str| Words::of(text).mentions("lock_timeout") || text.contains("'lock_timeout'");
        let all = segment.settings.iter().chain(&segment.statements);
        let own = all.filter(|one| kind(one) != Kind::Plain || is_local(one.text)).any(|one| sets(one.text));
        LockTimeouts { short, long, now: short, rows_only: !own && long > short }
    }

    /// What is set before the next statement, where it is another one than before.
    pub(crate) fn before(&mut self, statement: &str) -> Option<String> {
        if !self.rows_only && self.now == self.short {
            return None;
        }
        let wanted = match what(statement) {
            What::Setting => return None,
            What::Rows if self.rows_only => self.long,
            _ => {
                self.rows_only = false;
                self.short
            }
        };
        let changed = wanted != self.now;
        self.now = wanted;
        changed.then(|| format!("SET LOCAL lock_timeout = {}", wanted.as_millis().clamp(1, i32::MAX as u128)))
    }
}

/// Whether all statements of a transaction wait for rows only.
pub(crate) fn rows_only(segment: &Segment<'_>) -> bool {
    segment.statements.iter().any(|one| what(one.text) == What::Rows)
        && segment.statements.iter().all(|one| what(one.text) != What::Other)
}

#[derive(PartialEq, Eq)]
enum What {
    Setting,
    Rows,
    Other,
}

fn what(statement: &str) -> What {
    let words = Words::of(statement);
    let first = words.peek(0).unwrap_or_default().to_ascii_lowercase();
    match first.as_str() {
        "insert" | "update" | "delete" | "merge" | "with" => What::Rows,
        "set" | "reset" => What::Setting,
        _ => What::Other,
    }
}

fn is_local(statement: &str) -> bool {
    Words::of(statement).take_all(&["set", "local"])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segments::segments;

    #[track_caller]
    fn check(sql: &str, expected: &[Option<u64>]) {
        let segments = segments(sql, true, true).unwrap();
        let segment = segments.first().unwrap();
        let mut timeouts = LockTimeouts::of(segment, Duration::from_millis(100), Duration::from_secs(600));
        let set: Vec<Option<String>> =
            segment.statements.iter().map(|one| timeouts.before(one.text)).collect();
        let wanted: Vec<Option<String>> =
            expected.iter().map(|ms| ms.map(|ms| format!("SET LOCAL lock_timeout = {ms}"))).collect();
        assert_eq!(set, wanted, "{sql}");
    }

    #[test]
    fn rows_are_waited_for_until_a_table_is_locked() {
        check("UPDATE t SET a = 1; DELETE FROM u WHERE b", &[Some(600_000), None]);
        check(
            "UPDATE t SET a = 1; ALTER TABLE t ADD b int; UPDATE t SET b = 1",
            &[Some(600_000), Some(100), None],
        );
        check("ALTER TABLE t ADD b int; UPDATE t SET b = 1", &[None, None]);
        check("SET work_mem = '1GB'; UPDATE t SET a = 1", &[None, Some(600_000)]);
        check("SET LOCAL lock_timeout = '5s'; UPDATE t SET a = 1", &[None, None]);
        check("SELECT set_config('lock_timeout', '5s', false); UPDATE t SET a = 1", &[None, None]);
    }
}
