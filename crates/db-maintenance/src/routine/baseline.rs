//! The bloat of indexes of which statistics say nothing: by what a row took in better times.
//!
//! After Dataegret's pg_index_watch: the least that a row has ever taken is the baseline. It is noted in the
//! index's comment, by `apply` only, and anew whenever the index was built anew.

use tokio_postgres::Row;

use super::look::{BLOATED_BYTES, BLOATED_PERCENT, task};
use super::note::{BASELINE, noted, write};
use super::{Routine, Task, TaskKind};
use crate::error::{MaintenanceError, Result};
use crate::name::TableName;
use crate::session::Session;

/// A baseline is noted anew where a row takes less than this share of it.
const BETTER: f64 = 0.95;

/// B-trees are for the statistics; an index that is not valid has no size that says anything.
const INDEXES: &str = "SELECT x.oid, n.nspname::text, x.relname::text, o.rolname::text, i.indrelid, \
    obj_description(x.oid, 'pg_class'), pg_relation_size(x.oid)::int8, \
    CASE WHEN x.reltuples > 0 THEN x.reltuples ELSE c.reltuples END::float8 \
    FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid AND x.relkind = 'i' \
    JOIN pg_class c ON c.oid = i.indrelid JOIN pg_am a ON a.oid = x.relam \
    JOIN pg_namespace n ON n.oid = x.relnamespace JOIN pg_roles o ON o.oid = x.relowner \
    WHERE a.amname <> 'btree' AND i.indisvalid AND i.indisready AND x.relpersistence <> 't' \
    AND x.relpages >= 64 ORDER BY x.oid";

struct Sized {
    bytes: i64,
    /// Bytes a row.
    each: f64,
    baseline: Option<f64>,
}

#[expect(clippy::cast_precision_loss, reason = "sizes, compared with shares of each other")]
fn sized(row: &Row) -> Result<Option<Sized>> {
    let (comment, bytes): (Option<String>, i64) = (row.try_get(5)?, row.try_get(6)?);
    let rows: f64 = row.try_get(7)?;
    if rows < 1.0 || bytes < BLOATED_BYTES {
        return Ok(None);
    }
    let baseline = noted(comment.as_deref(), BASELINE).and_then(|text| text.parse().ok());
    Ok(Some(Sized {
        bytes,
        each: bytes as f64 / rows,
        baseline: baseline.filter(|known: &f64| *known > 0.0),
    }))
}

/// Those that take so much more than their baseline that they are worth building anew.
pub(super) async fn bloated(session: &mut Session<'_>) -> Result<Vec<Task>> {
    let mut tasks = Vec::new();
    for row in session.client().query(INDEXES, &[]).await? {
        let Some(Sized { bytes, each, baseline: Some(baseline) }) = sized(&row)? else { continue };
        let percent = (1.0 - baseline / each) * 100.0;
        if percent >= BLOATED_PERCENT {
            let why = format!(
                "{percent:.0} % of its {} MB could be given back: a row takes {each:.0} bytes, and took \
                 {baseline:.0}",
                bytes >> 20
            );
            tasks.push(Task { table: Some(row.try_get(4)?), ..task(&row, TaskKind::Reindex, why)? });
        }
    }
    Ok(tasks)
}

/// Notes what a row takes where nothing was noted, where it takes less than that, and in what was built anew.
pub(super) async fn note(routine: &Routine, session: &mut Session<'_>, built: &[TableName]) -> Result<()> {
    for row in session.client().query(INDEXES, &[]).await? {
        let Some(Sized { each, baseline, .. }) = sized(&row)? else { continue };
        let name = TableName::new(row.try_get::<_, String>(1)?, row.try_get::<_, String>(2)?);
        if baseline.is_some_and(|known| each > known * BETTER) && !built.contains(&name) {
            continue;
        }
        let owner: String = row.try_get(3)?;
        match session.may_act_as(&owner, "a note", &routine.trusted_owners).await {
            Ok(()) => {}
            Err(MaintenanceError::Refused { .. }) => continue,
            Err(error) => return Err(error),
        }
        match write(session, &name, &owner, BASELINE, Some(&format!("{each:.1}"))).await {
            Err(error) if error.is_disconnected() => return Err(error),
            // It is noted next time, which is no worse than before.
            Err(error) => tracing::debug!(index = %name, %error, "the baseline of an index was not noted"),
            Ok(()) => {}
        }
    }
    Ok(())
}
