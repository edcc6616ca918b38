//! What the catalogue says of the table, and everything that forbids to move its rows.

use tokio_postgres::Client;

use super::{Compact, repack};
use crate::error::{MaintenanceError, Result};
use crate::name::identifier;
use crate::session::{Patience, Session};

/// What compaction would do, and what forbids it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct CompactPlan {
    /// The table's size on disk, without its indexes and TOAST.
    pub bytes: i64,
    /// About what it needs, by the widths that ANALYZE has seen.
    pub live_bytes: i64,
    /// Rows, as the server believes.
    pub rows: i64,
    /// The size of its indexes: they grow while rows move; REINDEX CONCURRENTLY makes them small again.
    pub index_bytes: i64,
    /// Whether the server does it, by REPACK (CONCURRENTLY); else rows move.
    pub repacks: bool,
    /// What forbids it, each with the way out; empty where it may run.
    pub refusals: Vec<String>,
}

/// The table, as moving rows needs it.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) owner: String,
    pub(crate) oid: u32,
    /// The column that is set to itself, quoted.
    pub(crate) column: String,
    pub(crate) page_bytes: i64,
    pub(crate) plan: CompactPlan,
}

impl Target {
    /// Whether so much could be given back that moving rows pays.
    pub(crate) fn is_worth_it(&self) -> bool {
        self.plan.bytes as f64 > self.plan.live_bytes as f64 * NEAR_ENOUGH
            && self.plan.bytes - self.plan.live_bytes >= 8 * self.page_bytes
    }
}

const TABLE: &str = "SELECT c.oid, pg_catalog.pg_get_userbyid(c.relowner)::text, c.relkind::text, \
    c.relpersistence::text, coalesce(a.amname::text, ''), c.relforcerowsecurity, c.reltuples::float8, \
    pg_catalog.pg_relation_size(c.oid)::int8, pg_catalog.pg_indexes_size(c.oid)::int8, \
    pg_catalog.current_setting('block_size')::int8, coalesce((SELECT pg_catalog.split_part(o, '=', 2)::int8 \
    FROM \
    pg_catalog.unnest(c.reloptions) AS o WHERE o LIKE 'fillfactor=%'), 100), \
    (SELECT coalesce(sum((1 - s.null_frac) * s.avg_width), 0)::float8 FROM pg_catalog.pg_stats AS s \
    WHERE s.schemaname = n.nspname AND s.tablename = c.relname AND NOT s.inherited) \
    FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
    LEFT JOIN pg_catalog.pg_am AS a ON a.oid = c.relam WHERE n.nspname = $1::text::name AND c.relname = \
    $2::text::name";

/// A column that the server lets be set to itself, and that no key holds where there is such a one.
const COLUMN: &str = "SELECT a.attname::text FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = $1 AND \
    a.attnum > 0 \
    AND NOT a.attisdropped AND a.attgenerated = '' AND a.attidentity <> 'a' ORDER BY EXISTS (SELECT FROM \
    pg_catalog.pg_constraint AS k WHERE k.conrelid = a.attrelid AND a.attnum = ANY (k.conkey) OR \
    k.confrelid = a.attrelid AND a.attnum = ANY (k.confkey)), a.attlen < 0, a.attnum LIMIT 1";

/// Who would see an update that changes nothing: a text for each, none where nobody would.
const WITNESSES: &str = "SELECT 'the trigger ' || quote_ident(tgname) || ' would fire for each row that \
    moves' \
    FROM pg_catalog.pg_trigger WHERE tgrelid = $1 AND NOT tgisinternal AND tgenabled <> 'D' AND tgtype::int \
    & 16 <> 0 \
    UNION ALL SELECT 'the rule ' || quote_ident(rulename) || ' would rewrite each update' \
    FROM pg_catalog.pg_rewrite WHERE ev_class = $1 AND ev_type = '2' AND ev_enabled <> 'D' \
    UNION ALL SELECT 'the publication ' || quote_ident(p.pubname) || ' would send each row that moves' \
    FROM pg_catalog.pg_publication AS p WHERE p.pubupdate AND EXISTS (SELECT FROM \
    pg_catalog.pg_get_publication_tables(p.pubname::text) AS t WHERE t.relid = $1 OR t.relid IN \
    (SELECT pg_catalog.pg_partition_ancestors($1))) \
    UNION ALL SELECT 'the replication slot ' || quote_ident(slot_name) || ' decodes each row that moves' \
    FROM pg_catalog.pg_replication_slots WHERE slot_type = 'logical' AND database = current_database() \
    AND plugin <> 'pgoutput'";

/// Whose transactions keep dead rows from being given back, and for how many seconds.
const SNAPSHOTS: &str = "SELECT 'session ' || pid || ' has had a transaction open for ' || \
    extract(epoch FROM clock_timestamp() - xact_start)::int8 || ' s: end it' FROM \
    pg_catalog.pg_stat_activity \
    WHERE backend_xmin IS NOT NULL AND datname = current_database() AND pid <> pg_backend_pid() AND \
    xact_start < clock_timestamp() - make_interval(secs => $1) \
    UNION ALL SELECT 'the prepared transaction ' || quote_literal(gid) || ' is open: end it' \
    FROM pg_catalog.pg_prepared_xacts WHERE database = current_database() \
    AND prepared < clock_timestamp() - make_interval(secs => $1)";

/// A table that comes so near to its live size is done.
const NEAR_ENOUGH: f64 = 1.05;

/// Of each page, so much is its header.
const PAGE_HEADER: i64 = 24;

/// So much is a row's header.
const ROW_HEADER: f64 = 24.0;

/// So much is its place in the page.
const ROW_POINTER: f64 = 4.0;

/// A row takes up whole multiples of this.
const ALIGNMENT: f64 = 8.0;

/// So much of it is lost on the average row, where rows have different widths.
const LOST: f64 = 3.5;

/// What a row takes up whose values take up `width` bytes on average.
fn row_bytes(width: f64) -> f64 {
    let row = width + ROW_HEADER;
    ((row / ALIGNMENT).ceil() * ALIGNMENT).max(row + LOST) + ROW_POINTER
}

impl Compact {
    /// What [`Compact::run`] would do, and what forbids it. Reads only. Sizes are as good as the last
    /// ANALYZE.
    ///
    /// # Errors
    /// [`MaintenanceError::Refused`] where there is no such table, and what the server says.
    pub async fn plan(&self, client: &mut Client) -> Result<CompactPlan> {
        let mut session = Session::pin(client, Patience::default()).await?;
        Ok(self.look(&mut session).await?.plan)
    }

    /// Looks at the table, and for everything that forbids to move its rows.
    pub(crate) async fn look(&self, session: &mut Session<'_>) -> Result<Target> {
        let what = format!("compacting {}", self.table);
        let repacks = self.config.repack && session.version >= repack::SINCE;
        let client = session.client();
        let row = client.query_opt(TABLE, &[&self.table.schema, &self.table.name]).await?;
        let Some(row) = row else { return Err(MaintenanceError::refused(what, "there is no such table")) };
        let (oid, owner): (u32, String) = (row.try_get(0)?, row.try_get(1)?);
        let (kind, persistence, method): (String, String, String) =
            (row.try_get(2)?, row.try_get(3)?, row.try_get(4)?);
        let mut refusals = Vec::new();
        match kind.as_str() {
            "r" => {}
            "m" if !repacks => {
                refusals.push("it is a materialized view: REFRESH makes it anew".to_owned());
            }
            "p" => refusals.push("it is partitioned and holds nothing: compact its partitions".to_owned()),
            _ => refusals.push("it is no table".to_owned()),
        }
        if persistence == "t" {
            refusals.push("it is temporary: only its own session may write it".to_owned());
        }
        if kind == "r" && method != "heap" {
            refusals.push(format!("its access method {method} is not heap: rows have no place there"));
        }
        if row.try_get(5)? && !repacks {
            refusals.push("row security is forced on its owner too: NO FORCE ROW LEVEL SECURITY".to_owned());
        }
        let (tuples, bytes, index_bytes): (f64, i64, i64) =
            (row.try_get(6)?, row.try_get(7)?, row.try_get(8)?);
        let (page_bytes, fillfactor, width): (i64, i64, f64) =
            (row.try_get(9)?, row.try_get(10)?, row.try_get(11)?);
        if repacks {
            repack::refusals(client, oid, &persistence, &mut refusals).await?;
        } else {
            for witness in client.query(WITNESSES, &[&oid]).await? {
                refusals.push(format!("{}: drop or disable it first", witness.try_get::<_, String>(0)?));
            }
        }
        let oldest = match repacks {
            true => self.config.oldest_snapshot.min(repack::OLDEST_SNAPSHOT),
            false => self.config.oldest_snapshot,
        };
        for holder in client.query(SNAPSHOTS, &[&oldest.as_secs_f64()]).await? {
            refusals.push(holder.try_get(0)?);
        }
        let standbys = client
            .query_one(
                "SELECT count(*) FROM pg_catalog.pg_stat_replication WHERE state IS DISTINCT FROM 'backup' \
                        AND NOT EXISTS (SELECT FROM pg_catalog.pg_replication_slots AS s \
                        WHERE s.active_pid = pg_stat_replication.pid AND s.slot_type = 'logical')",
                &[],
            )
            .await?;
        if standbys.try_get::<_, i64>(0)? > 0 && !self.config.cancel_standby_readers {
            refusals.push(
                "there are standbys, where its last step cancels readers of the table after \
                 max_standby_streaming_delay: allow it with --cancel-standby-readers"
                    .to_owned(),
            );
        }
        let column = client.query_opt(COLUMN, &[&oid]).await?;
        let column = match column {
            Some(row) => identifier(row.try_get(0)?),
            None if repacks => String::new(),
            None => {
                refusals.push("it has no column that may be set to itself".to_owned());
                String::new()
            }
        };
        if let Err(MaintenanceError::Refused { why, .. }) =
            session.may_act_as(&owner, &what, &self.config.trusted_owners).await
        {
            refusals.push(why);
        }
        let room = ((page_bytes - PAGE_HEADER) * fillfactor.clamp(10, 100) / 100).max(1);
        let pages = (tuples.max(0.0) * row_bytes(width) / room as f64).ceil() as i64;
        let plan = CompactPlan {
            bytes,
            live_bytes: (pages * page_bytes).min(bytes),
            rows: tuples.max(0.0) as i64,
            index_bytes,
            repacks,
            refusals,
        };
        Ok(Target { name: self.table.quoted(), owner, oid, column, page_bytes, plan })
    }
}
