//! Where a connection stands in the log: what is read on it next is at least as new.

use db_core::{Lsn, Result};
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{BigInt, Bool, Nullable, Text};
use diesel::{QueryResult, Queryable};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use crate::load::ReadAt;
use crate::position::{History, Position};

impl ReadAt {
    /// Where a connection stands in the log. Ask before the snapshot of the load: on a standby that holds
    /// what was replayed by now.
    ///
    /// ```no_run
    /// # use db_cache::ReadAt;
    /// # async fn ask(conn: &mut diesel_async::AsyncPgConnection) -> db_core::Result<ReadAt> {
    /// ReadAt::of(conn).await
    /// # }
    /// ```
    ///
    /// # Errors
    /// The server's.
    ///
    /// # Cancel safety
    /// Dropping the future abandons the statement.
    pub async fn of(conn: &mut AsyncPgConnection) -> Result<ReadAt> {
        let place: Place = ReadPlace.get_result(conn).await?;
        Ok(place.read_at())
    }
}

/// A standby's timeline is the one that it streams, which takes the role `pg_read_all_stats` to see, or the
/// control file's.
const PLACE: &str = "SELECT r AS in_recovery, (SELECT system_identifier FROM pg_control_system()) AS system, \
    CASE WHEN r THEN greatest((SELECT received_tli FROM pg_stat_wal_receiver), \
        (SELECT timeline_id FROM pg_control_checkpoint()))::int8 \
      ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int8 END AS timeline, \
    CASE WHEN r THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END::text AS position \
    FROM pg_is_in_recovery() AS r";

/// Its text is always the same, so that each connection prepares it once: every load asks for it, in a round
/// trip of its own.
#[derive(Debug, Clone, Copy, QueryId)]
struct ReadPlace;

impl QueryFragment<Pg> for ReadPlace {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(PLACE);
        Ok(())
    }
}

impl Query for ReadPlace {
    type SqlType = (Bool, Nullable<BigInt>, Nullable<BigInt>, Nullable<Text>);
}

#[derive(Queryable)]
struct Place {
    in_recovery: bool,
    system: Option<i64>,
    timeline: Option<i64>,
    position: Option<String>,
}

impl Place {
    fn read_at(self) -> ReadAt {
        let position = self.position();
        match (self.in_recovery, position) {
            (false, position) => ReadAt::Primary(position),
            (true, Some(position)) => ReadAt::Standby(position),
            (true, None) => ReadAt::Elsewhere,
        }
    }

    fn position(&self) -> Option<Position> {
        let timeline = u32::try_from(self.timeline?).ok()?;
        let lsn: Lsn = self.position.as_deref()?.parse().ok()?;
        Some(Position::new(History { system: self.system?.cast_unsigned(), timeline }, lsn.0))
    }
}
