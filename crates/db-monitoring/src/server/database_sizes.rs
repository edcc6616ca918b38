//! How large databases are on disk: asked again only where something was written, because the server looks
//! at each file.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::server::record::record;
use crate::server::{DatabaseSize, ServerSession, Skipped};

/// A size is asked again after so long, whatever was counted: VACUUM gives space back and counts no rows.
const ASKED_AGAIN: Duration = Duration::from_secs(60 * 60);

record! {
    /// What moves when something is written to a database.
    pub(crate) struct Written: "pg_database", "@ AS s" {
        oid: i64;
        datname: String;
        may_ask: bool, as "has_database_privilege(s.oid, 'CONNECT') OR \
            pg_has_role('pg_read_all_stats', 'USAGE')", from [];
        /// Rows inserted, updated and deleted, those of its catalog included.
        rows: Option<i64>, as "pg_stat_get_db_tuples_inserted(s.oid) + \
            pg_stat_get_db_tuples_updated(s.oid) + pg_stat_get_db_tuples_deleted(s.oid)",
            from ["can:pg_stat_get_db_tuples_inserted"];
        /// Whether a transaction writes to it now: its rows are counted when it ends.
        under_way: bool, as "s.oid IN (SELECT a.datid FROM pg_stat_activity a \
            WHERE a.backend_xid IS NOT NULL AND a.datid IS NOT NULL)", from [];
        /// A standby counts no rows.
        in_recovery: bool, as "pg_is_in_recovery()", from [];
    }
}

record! {
    struct Size: "", "" {
        oid: i64;
        bytes: Option<i64>;
    }
}

/// What a database's size was, and what had been written to it then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    bytes: Option<i64>,
    rows: i64,
    asked: Instant,
}

impl Known {
    /// Whether it is still so.
    fn holds(&self, written: &Written, now: Instant) -> bool {
        written.rows == Some(self.rows)
            && !written.under_way
            && !written.in_recovery
            && now.saturating_duration_since(self.asked) < ASKED_AGAIN
    }
}

/// The sizes of a server's databases, as far as they are known.
#[derive(Debug, Clone, Default)]
pub(crate) struct KnownSizes(HashMap<i64, Known>);

impl KnownSizes {
    /// All sizes, by name; asks for those that may have changed.
    pub(crate) async fn read(&mut self, session: &ServerSession) -> Result<Vec<DatabaseSize>, Skipped> {
        let databases: Vec<Written> = session.read("ORDER BY s.datname").await?;
        let now = Instant::now();
        let holds = |it: &Written| self.0.get(&it.oid).is_some_and(|known| known.holds(it, now));
        let asked: Vec<String> =
            databases.iter().filter(|it| it.may_ask && !holds(it)).map(|it| it.oid.to_string()).collect();
        let mut fresh: HashMap<i64, Option<i64>> = HashMap::new();
        if !asked.is_empty() {
            session.catalog().needs_function("pg_database_size")?;
            let text = format!(
                "SELECT s.oid::int8, pg_database_size(s.oid) FROM pg_database s WHERE s.oid IN ({})",
                asked.join(", ")
            );
            fresh =
                session.rows_once::<Size>(&text).await?.into_iter().map(|it| (it.oid, it.bytes)).collect();
        }
        let mut sizes = Vec::with_capacity(databases.len());
        let mut kept = HashMap::with_capacity(databases.len());
        for it in databases {
            let known = match fresh.get(&it.oid) {
                Some(bytes) => it.rows.map(|rows| Known { bytes: *bytes, rows, asked: now }),
                None => self.0.get(&it.oid).copied().filter(|_| it.may_ask),
            };
            let bytes = fresh.get(&it.oid).copied().flatten().or(known.and_then(|known| known.bytes));
            kept.extend(known.map(|known| (it.oid, known)));
            sizes.push(DatabaseSize { datname: it.datname, bytes });
        }
        self.0 = kept;
        Ok(sizes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_holds_until_something_was_written() {
        let now = Instant::now();
        let known = Known { bytes: Some(8_192), rows: 7, asked: now };
        let quiet = Written { rows: Some(7), ..Written::default() };
        let holds = |written: &Written, after: Duration| known.holds(written, now + after);
        assert!(holds(&quiet, Duration::from_secs(300)));
        assert!(!holds(&quiet, ASKED_AGAIN), "VACUUM may have given space back");
        let of = |change: fn(&mut Written)| {
            let mut written = quiet.clone();
            change(&mut written);
            holds(&written, Duration::from_secs(300))
        };
        assert!(!of(|it| it.rows = Some(8)), "a row was written");
        assert!(!of(|it| it.rows = Some(0)), "the counters began again");
        assert!(!of(|it| it.rows = None), "nothing is counted");
        assert!(!of(|it| it.under_way = true), "somebody writes, and his rows are not counted yet");
        assert!(!of(|it| it.in_recovery = true), "a standby counts no rows");
    }
}
