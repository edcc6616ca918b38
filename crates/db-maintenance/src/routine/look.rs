//! What the statistics and the catalog say is due.

use std::collections::{HashMap, HashSet};

use tokio_postgres::{Client, Row};

use super::note::{FAILED, REFRESHED, noted};
use super::{Held, Routine, RoutinePlan, Task, TaskKind, baseline};
use crate::compact::{Compact, CompactConfig};
use crate::error::{MaintenanceError, Result};
use crate::name::{TableName, literal};
use crate::session::{Check, Session};

/// Autovacuum is late when a table has so many times what it waits for.
const LATE: f64 = 2.0;

/// So near to a forced vacuum against wraparound, one is due.
const NEAR_WRAPAROUND: f64 = 0.9;

/// At least so much of a table or index must be bloat to be worth making it small.
pub(super) const BLOATED_PERCENT: f64 = 40.0;

/// Smaller ones are not worth it.
pub(super) const BLOATED_BYTES: i64 = 8 << 20;

/// The plan, in the order in which its tasks are done.
pub(super) async fn plan(routine: &Routine, session: &mut Session<'_>) -> Result<RoutinePlan> {
    let mut plan = RoutinePlan::default();
    tables(session, &mut plan).await?;
    invalid_indexes(session, &mut plan).await?;
    bloated(routine, session, &mut plan).await?;
    bloated_tables(routine, session, &mut plan).await?;
    views(session, &mut plan).await?;
    hold_what_failed(routine, session, &mut plan).await?;
    let mut allowed: HashMap<String, Option<String>> = HashMap::new();
    let mut tasks = Vec::new();
    for task in std::mem::take(&mut plan.tasks) {
        if !allowed.contains_key(&task.owner) {
            let why = match session.may_act_as(&task.owner, "upkeep", &routine.trusted_owners).await {
                Ok(()) => None,
                Err(MaintenanceError::Refused { why, .. }) => Some(why),
                Err(error) => return Err(error),
            };
            allowed.insert(task.owner.clone(), why);
        }
        match allowed.get(&task.owner).cloned().flatten() {
            None => tasks.push(task),
            Some(why) => plan.held.push(Held { name: task.name, why }),
        }
    }
    // What keeps the server alive comes first, what only makes it faster last; views keep the order of their
    // dependencies.
    let order = |kind: TaskKind| match kind {
        TaskKind::Freeze => 0,
        TaskKind::Drop => 1,
        // Compaction counts on what VACUUM has found free, and makes indexes grow.
        TaskKind::Vacuum => 2,
        TaskKind::Compact => 3,
        TaskKind::Reindex => 4,
        TaskKind::Analyze => 5,
        TaskKind::Refresh => 6,
    };
    tasks.sort_by_key(|task| order(task.kind));
    plan.tasks = tasks;
    Ok(plan)
}

/// Whether the name still means what was looked at.
pub(super) fn still_is(task: &Task) -> Check {
    let sql = format!(
        "SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_roles o \
         ON o.oid = c.relowner WHERE c.oid = {} AND n.nspname = {} AND c.relname = {} AND o.rolname = {})",
        task.oid,
        literal(&task.name.schema),
        literal(&task.name.name),
        literal(&task.owner)
    );
    Check { sql, otherwise: "the name means another object now, or it has another owner".to_owned() }
}

/// Who else works on this table in a way that two must not; none: nobody does.
pub(super) async fn given_way(client: &Client, table: u32) -> Result<Option<String>> {
    let sql = "SELECT EXISTS (SELECT FROM pg_stat_progress_vacuum WHERE relid = $1), \
        EXISTS (SELECT FROM pg_stat_progress_create_index WHERE relid = $1), \
        EXISTS (SELECT FROM pg_stat_progress_cluster WHERE relid = $1)";
    let row = client.query_one(sql, &[&table]).await?;
    let said =
        ["a vacuum is at work on its table", "somebody builds an index on its table", "it is rewritten"];
    for (number, why) in said.into_iter().enumerate() {
        if row.try_get(number)? {
            return Ok(Some(format!("{why}: the next run looks again")));
        }
    }
    Ok(None)
}

/// A task about the object whose number, schema, name and owner are the row's first columns.
pub(super) fn task(row: &Row, kind: TaskKind, why: String) -> Result<Task> {
    let name = TableName::new(row.try_get::<_, String>(1)?, row.try_get::<_, String>(2)?);
    Ok(Task { kind, name, why, oid: row.try_get(0)?, owner: row.try_get(3)?, table: None, mark: None })
}

const TABLES: &str = "WITH t AS (SELECT c.oid, n.nspname::text, c.relname::text, o.rolname::text, \
      s.n_dead_tup, s.n_mod_since_analyze, greatest(c.reltuples, 0)::float8 AS rows, \
      age(c.relfrozenxid)::float8 AS age, s.n_live_tup, \
      coalesce(s.last_analyze, s.last_autoanalyze) IS NULL AS never_analyzed, \
      (SELECT jsonb_object_agg(option_name, option_value) FROM pg_options_to_table(c.reloptions)) AS own \
    FROM pg_stat_user_tables s JOIN pg_class c ON c.oid = s.relid AND c.relkind IN ('r', 'm') AND \
    c.relpersistence <> 't' \
    JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_roles o ON o.oid = c.relowner) \
  SELECT t.oid, t.nspname, t.relname, t.rolname, t.n_dead_tup, t.n_mod_since_analyze, t.age, \
  t.never_analyzed, t.n_live_tup, \
    coalesce((own->>'autovacuum_vacuum_threshold')::float8, \
    current_setting('autovacuum_vacuum_threshold')::float8) \
      + rows * coalesce((own->>'autovacuum_vacuum_scale_factor')::float8, \
        current_setting('autovacuum_vacuum_scale_factor')::float8), \
    coalesce((own->>'autovacuum_analyze_threshold')::float8, \
    current_setting('autovacuum_analyze_threshold')::float8) \
      + rows * coalesce((own->>'autovacuum_analyze_scale_factor')::float8, \
        current_setting('autovacuum_analyze_scale_factor')::float8), \
    least((own->>'autovacuum_freeze_max_age')::float8, \
    current_setting('autovacuum_freeze_max_age')::float8), \
    EXISTS (SELECT FROM pg_stat_progress_vacuum p WHERE p.relid = t.oid) FROM t ORDER BY t.age DESC";

#[expect(clippy::cast_precision_loss, reason = "counts of rows, compared with thresholds")]
async fn tables(session: &mut Session<'_>, plan: &mut RoutinePlan) -> Result<()> {
    for row in session.client().query(TABLES, &[]).await? {
        let (dead, changed): (i64, i64) = (row.try_get(4)?, row.try_get(5)?);
        let (age, never, live): (f64, bool, i64) = (row.try_get(6)?, row.try_get(7)?, row.try_get(8)?);
        let (vacuum_at, analyze_at, freeze_at): (f64, f64, f64) =
            (row.try_get(9)?, row.try_get(10)?, row.try_get(11)?);
        let due = if age > NEAR_WRAPAROUND * freeze_at {
            let why = format!(
                "its oldest transaction id is {age:.0} old, and a vacuum is forced at {freeze_at:.0}"
            );
            task(&row, TaskKind::Freeze, why)?
        } else if dead as f64 > LATE * vacuum_at {
            let why = format!("{dead} dead rows, and autovacuum should have come at {vacuum_at:.0}");
            task(&row, TaskKind::Vacuum, why)?
        } else if changed as f64 > LATE * analyze_at {
            let why = format!(
                "{changed} rows changed since it was analyzed, and autovacuum should have come at \
                 {analyze_at:.0}"
            );
            task(&row, TaskKind::Analyze, why)?
        } else if never && live as f64 > analyze_at {
            task(&row, TaskKind::Analyze, format!("it has {live} rows and was never analyzed"))?
        } else {
            continue;
        };
        if row.try_get(12)? {
            plan.held.push(Held { name: due.name, why: "a vacuum is at work on it".to_owned() });
        } else {
            plan.tasks.push(due);
        }
    }
    Ok(())
}

const INDEXES: &str = "SELECT x.oid, n.nspname::text, x.relname::text, o.rolname::text, x.relkind::text, \
    c.oid, c.relname::text FROM pg_index i JOIN pg_class x ON x.oid = \
    i.indexrelid \
    JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = x.relnamespace \
    JOIN pg_roles o ON o.oid = x.relowner WHERE NOT (i.indisvalid AND i.indisready) AND x.relpersistence \
    <> 't' \
    AND n.nspname NOT LIKE 'pg\\_toast%' ORDER BY x.oid";

/// Tables on which somebody builds an index now; none of them where this role may not see which.
async fn builds(client: &Client) -> Result<(HashSet<u32>, bool)> {
    let sql = "SELECT relid FROM pg_stat_progress_create_index WHERE datname = current_database()";
    let rows = client.query(sql, &[]).await?;
    let seen: Vec<Option<u32>> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    let is_hidden = seen.iter().any(Option::is_none);
    Ok((seen.into_iter().flatten().collect(), is_hidden))
}

async fn invalid_indexes(session: &mut Session<'_>, plan: &mut RoutinePlan) -> Result<()> {
    let rows = session.client().query(INDEXES, &[]).await?;
    if rows.is_empty() {
        return Ok(());
    }
    let (built, is_hidden) = builds(session.client()).await?;
    for row in rows {
        let (name, kind): (String, String) = (row.try_get(2)?, row.try_get(4)?);
        let (table, table_name): (u32, String) = (row.try_get(5)?, row.try_get(6)?);
        let holds = match () {
            () if kind == "I" => Some("it waits for the indexes of its partitions".to_owned()),
            () if built.contains(&table) => Some("somebody builds an index on its table".to_owned()),
            () if is_hidden => Some(
                "somebody builds an index that this role may not see: GRANT pg_read_all_stats to it"
                    .to_owned(),
            ),
            () => None,
        };
        let leftover = name.contains("_ccnew") || name.contains("_ccold");
        let mut due = match leftover {
            true => {
                task(&row, TaskKind::Drop, "a REINDEX CONCURRENTLY that was interrupted left it".to_owned())?
            }
            false => {
                let why = format!("it is INVALID: writes to {table_name} pay for it, and no query uses it");
                task(&row, TaskKind::Reindex, why)?
            }
        };
        due.table = Some(table);
        match holds {
            Some(why) => plan.held.push(Held { name: due.name, why }),
            None => plan.tasks.push(due),
        }
    }
    Ok(())
}

async fn bloated(routine: &Routine, session: &mut Session<'_>, plan: &mut RoutinePlan) -> Result<()> {
    let sql = "SELECT x.oid, n.nspname::text, x.relname::text, o.rolname::text, i.indrelid FROM pg_class x \
        JOIN pg_namespace n ON n.oid = x.relnamespace JOIN pg_roles o ON o.oid = x.relowner \
        JOIN pg_index i ON i.indexrelid = x.oid AND i.indisvalid \
        WHERE n.nspname = $1::text AND x.relname = $2::text AND x.relkind = 'i'";
    let mut due = Vec::new();
    for index in &routine.bloated {
        if index.bloat_percent < BLOATED_PERCENT || index.bytes < BLOATED_BYTES {
            continue;
        }
        let name = &index.index;
        if let Some(row) = session.client().query_opt(sql, &[&name.schema, &name.name]).await? {
            let (percent, mb) = (index.bloat_percent, index.bytes >> 20);
            let why = format!("{percent:.0} % of its {mb} MB could be given back");
            due.push(Task { table: Some(row.try_get(4)?), ..task(&row, TaskKind::Reindex, why)? });
        }
    }
    due.extend(baseline::bloated(session).await?);
    if due.is_empty() {
        return Ok(());
    }
    let standbys = !routine.cancel_standby_readers && has_standbys(session.client()).await?;
    for task in due {
        let why = match task.table {
            _ if standbys => Some(
                "there are standbys, where their readers of the old index are cancelled after \
                 max_standby_streaming_delay: allow it with --cancel-standby-readers"
                    .to_owned(),
            ),
            Some(table) => given_way(session.client(), table).await?,
            None => None,
        };
        match why {
            Some(why) => plan.held.push(Held { name: task.name, why }),
            None => plan.tasks.push(task),
        }
    }
    Ok(())
}

async fn bloated_tables(routine: &Routine, session: &mut Session<'_>, plan: &mut RoutinePlan) -> Result<()> {
    for bloated in &routine.bloated_tables {
        if bloated.bloat_percent < BLOATED_PERCENT || bloated.bytes < BLOATED_BYTES {
            continue;
        }
        let config =
            CompactConfig { trusted_owners: routine.trusted_owners.clone(), ..routine.compact.clone() };
        let name = bloated.table.clone();
        let target = match Compact::new(name.clone(), config).look(session).await {
            // It went since its statistics were read.
            Err(MaintenanceError::Refused { .. }) => continue,
            target => target?,
        };
        if !target.is_worth_it() {
            continue;
        }
        let (percent, mb) = (bloated.bloat_percent, bloated.bytes >> 20);
        let why = format!("{percent:.0} % of its {mb} MB could be given back");
        let (oid, owner) = (target.oid, target.owner);
        match target.plan.refusals.is_empty() {
            true => plan.tasks.push(Task {
                kind: TaskKind::Compact,
                name,
                why,
                oid,
                owner,
                table: Some(oid),
                mark: None,
            }),
            false => {
                plan.held.push(Held { name, why: format!("{why}, but {}", target.plan.refusals.join("; ")) });
            }
        }
    }
    Ok(())
}

/// Whether a server replays what this one does.
async fn has_standbys(client: &Client) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT FROM pg_stat_replication r WHERE r.state IS DISTINCT FROM 'backup' \
        AND NOT EXISTS (SELECT FROM pg_replication_slots s WHERE s.active_pid = r.pid AND \
        s.slot_type = 'logical'))";
    Ok(client.query_one(sql, &[]).await?.try_get(0)?)
}

/// What failed before for a reason that lasts is said again, and not tried again.
async fn hold_what_failed(
    routine: &Routine,
    session: &mut Session<'_>,
    plan: &mut RoutinePlan,
) -> Result<()> {
    if routine.retry_failed || plan.tasks.is_empty() {
        return Ok(());
    }
    let oids: Vec<u32> = plan.tasks.iter().map(|task| task.oid).collect();
    let sql = "SELECT objoid, description FROM pg_description WHERE classoid = 'pg_class'::regclass \
        AND objsubid = 0 AND objoid = ANY ($1)";
    let rows = session.client().query(sql, &[&oids]).await?;
    let comments: HashMap<u32, String> =
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect::<Result<_>>()?;
    for task in std::mem::take(&mut plan.tasks) {
        let failed = noted(comments.get(&task.oid).map(String::as_str), FAILED);
        // What keeps the server alive is tried again whatever it said.
        match failed.filter(|said| said.starts_with(&format!("{}: ", task.kind))) {
            Some(said) if task.kind != TaskKind::Freeze => {
                let why = format!("it failed before and will again ({said}): mend it, then --retry-failed");
                plan.held.push(Held { name: task.name, why });
            }
            _ => plan.tasks.push(task),
        }
    }
    Ok(())
}

/// Views with how much was written to what they are made of, in the order of their dependencies.
const VIEWS: &str = "WITH RECURSIVE uses AS ( \
      SELECT DISTINCT r.ev_class AS view, d.refobjid AS used FROM pg_rewrite r JOIN pg_depend d \
        ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND d.refclassid = 'pg_class'::regclass \
        AND d.refobjid <> r.ev_class), \
    deep AS (SELECT view, used, 1 AS depth FROM uses UNION \
      SELECT deep.view, uses.used, deep.depth + 1 FROM deep JOIN uses ON uses.view = deep.used WHERE \
      depth < 50) \
  SELECT v.oid, n.nspname::text, v.relname::text, o.rolname::text, v.relispopulated, \
    EXISTS (SELECT FROM pg_index i WHERE i.indrelid = v.oid AND i.indisunique AND i.indisvalid AND \
    i.indpred IS NULL \
      AND i.indexprs IS NULL), obj_description(v.oid, 'pg_class'), \
    coalesce((SELECT sum(s.n_tup_ins + s.n_tup_upd + s.n_tup_del) FROM pg_stat_user_tables s JOIN pg_class b \
      ON b.oid = s.relid AND b.relkind = 'r' WHERE s.relid IN (SELECT used FROM deep WHERE deep.view = v.oid \
      UNION SELECT p.relid FROM deep CROSS JOIN LATERAL pg_partition_tree(deep.used) p WHERE deep.view = \
      v.oid)), 0)::int8, \
    coalesce((SELECT max(depth) FROM deep WHERE deep.view = v.oid), 0)::int4 \
  FROM pg_class v JOIN pg_namespace n ON n.oid = v.relnamespace JOIN pg_roles o ON o.oid = v.relowner \
  WHERE v.relkind = 'm' ORDER BY 9, 1";

async fn views(session: &mut Session<'_>, plan: &mut RoutinePlan) -> Result<()> {
    for row in session.client().query(VIEWS, &[]).await? {
        let (is_populated, has_key): (bool, bool) = (row.try_get(4)?, row.try_get(5)?);
        let (comment, writes): (Option<String>, i64) = (row.try_get(6)?, row.try_get(7)?);
        let known = noted(comment.as_deref(), REFRESHED).and_then(|known| known.parse::<i64>().ok());
        let why = match known {
            Some(known) if known == writes => continue,
            Some(known) => format!(
                "{} rows were written to what it is made of since it was refreshed",
                writes.abs_diff(known)
            ),
            None => "nobody knows when it was refreshed".to_owned(),
        };
        let mut due = task(&row, TaskKind::Refresh, why)?;
        let holds = match (is_populated, has_key) {
            (false, _) => Some("it was never filled: REFRESH MATERIALIZED VIEW it once, which locks it"),
            (_, false) => {
                Some("it has no unique index on plain columns, so it cannot be refreshed concurrently")
            }
            _ => None,
        };
        match holds {
            Some(why) => plan.held.push(Held { name: due.name, why: why.to_owned() }),
            None => {
                due.mark = Some(writes.to_string());
                plan.tasks.push(due);
            }
        }
    }
    Ok(())
}
