//! Which partitions go: by the catalog's upper bound, and only when nothing needs their rows any more.

use chrono::{DateTime, Utc};

use super::archive::part_of_name;
use super::catalog::{Child, Table};
use super::cover::{Grid, Range, outlived};
use super::key::Key;
use super::plan::{Frame, Held, SetPlan};
use super::policy::{SetPolicy, Summary};
use super::slices::Slice;
use super::step::{Step, Target};
use crate::error::Result;
use crate::name::identifier;
use crate::session::Session;

/// Adds what retention has to do for a set.
#[expect(clippy::too_many_arguments, reason = "all of it is read before, and none of it belongs together")]
pub(crate) async fn look(
    session: &mut Session<'_>,
    frame: &Frame<'_>,
    policy: &SetPolicy,
    table: &Table,
    slices: &[Slice<'_>],
    column: &str,
    grid: &Grid,
    plan: &mut SetPlan,
) -> Result<()> {
    detached(frame, policy, table, grid, plan);
    let Some(retain) = policy.retain else { return Ok(()) };
    let Some(cutoff) = retain.behind(frame.now, grid.zone) else { return Ok(()) };
    let ranges: Vec<Range> = slices.iter().map(|slice| slice.range.clone()).collect();
    let old = outlived(&ranges, cutoff);
    if old.is_empty() {
        return Ok(());
    }
    let covered = covered(session, frame, policy, table, grid).await?;
    for index in old {
        let slice = &slices[index];
        match holds(session, frame, table, slice, covered.as_ref()).await? {
            Some(why) => plan.held.push(Held { partition: slice.child.name.clone(), why }),
            None => {
                let step = detach(session, table, slice.child, column, plan.health.default.is_none()).await?;
                plan.steps.push(step);
            }
        }
    }
    Ok(())
}

/// Why a partition that has outlived its rows stays.
async fn holds(
    session: &mut Session<'_>,
    frame: &Frame<'_>,
    table: &Table,
    slice: &Slice<'_>,
    covered: Option<&Result<DateTime<Utc>, String>>,
) -> Result<Option<String>> {
    let child = slice.child;
    if !frame.clocks_agree {
        return Ok(Some(
            "the server's clock and this host's differ by more than an hour: set the wrong one".to_owned(),
        ));
    }
    if child.owner != table.owner {
        return Ok(Some(format!(
            "it belongs to {}, and the set to {}: ALTER TABLE … OWNER TO",
            child.owner, table.owner
        )));
    }
    match covered {
        Some(Err(why)) => return Ok(Some(why.clone())),
        Some(Ok(until)) if slice.range.to.time() > *until => {
            return Ok(Some(format!("a summary has covered rows up to {} only", until.format("%F %T UTC"))));
        }
        _ => {}
    }
    if table.incoming == 0 { Ok(None) } else { referred_to(session, table, child).await }
}

/// The foreign keys of other tables, and the columns on both sides.
const INCOMING: &str = "SELECT f.conname::text, n.nspname::text, c.relname::text, \
    ARRAY(SELECT a.attname::text FROM unnest(f.conkey) WITH ORDINALITY k(n, o) JOIN pg_attribute a \
      ON a.attrelid = f.conrelid AND a.attnum = k.n ORDER BY k.o), \
    ARRAY(SELECT a.attname::text FROM unnest(f.confkey) WITH ORDINALITY k(n, o) JOIN pg_attribute a \
      ON a.attrelid = f.confrelid AND a.attnum = k.n ORDER BY k.o) \
    FROM pg_constraint f JOIN pg_class c ON c.oid = f.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE f.confrelid = $1 AND f.contype = 'f' AND f.conrelid <> f.confrelid ORDER BY f.oid";

/// Which rows of other tables still refer to the partition: detaching would fail, after it took its locks.
async fn referred_to(session: &mut Session<'_>, table: &Table, child: &Child) -> Result<Option<String>> {
    for row in session.client().query(INCOMING, &[&table.oid]).await? {
        let (key, schema, name): (String, String, String) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let (here, there): (Vec<String>, Vec<String>) = (row.try_get(3)?, row.try_get(4)?);
        let pairs = here.iter().zip(&there);
        let equal: Vec<String> =
            pairs.map(|(one, other)| format!("r.{} = p.{}", identifier(one), identifier(other))).collect();
        let (referring, equal) =
            (format!("{}.{}", identifier(&schema), identifier(&name)), equal.join(" AND "));
        let sql = format!(
            "SELECT FROM {referring} r WHERE EXISTS (SELECT FROM {} p WHERE {equal}) LIMIT 1",
            child.name.quoted()
        );
        let user = session.user.clone();
        match session.look(&user, &sql).await {
            Ok(None) => {}
            Ok(Some(_)) => {
                let why = format!("rows of {schema}.{name} still refer to it ({key}): delete them first");
                return Ok(Some(why));
            }
            Err(error) if error.is_disconnected() => return Err(error),
            Err(error) => {
                let why = format!("whether {schema}.{name} still refers to it cannot be seen: {error}");
                return Ok(Some(why));
            }
        }
    }
    Ok(None)
}

/// Up to where all summaries have covered the rows; none without summaries, an error with the reason where it
/// is not known.
async fn covered(
    session: &mut Session<'_>,
    frame: &Frame<'_>,
    policy: &SetPolicy,
    table: &Table,
    grid: &Grid,
) -> Result<Option<Result<DateTime<Utc>, String>>> {
    let mut least: Option<DateTime<Utc>> = None;
    for summary in &policy.summaries {
        match covered_by(session, frame, policy, table, grid, summary).await {
            Ok(Ok(until)) => least = Some(least.map_or(until, |least| least.min(until))),
            Ok(Err(why)) => return Ok(Some(Err(why))),
            Err(error) if error.is_disconnected() => return Err(error),
            Err(error) => {
                return Ok(Some(Err(format!("what {} has covered is not known: {error}", summary.table))));
            }
        }
    }
    Ok(least.map(Ok))
}

async fn covered_by(
    session: &mut Session<'_>,
    frame: &Frame<'_>,
    policy: &SetPolicy,
    table: &Table,
    grid: &Grid,
    summary: &Summary,
) -> Result<Result<DateTime<Utc>, String>> {
    let sql = "SELECT c.relkind::text, o.rolname::text, o.rolsuper, format_type(a.atttypid, NULL) FROM \
        pg_class c \
        JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_roles o ON o.oid = c.relowner \
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = $3::text AND a.attnum > 0 AND NOT \
        a.attisdropped \
        WHERE n.nspname = $1::text AND c.relname = $2::text";
    let name = &summary.table;
    let row = session.client().query_opt(sql, &[&name.schema, &name.name, &summary.column]).await?;
    let Some(row) = row else {
        return Ok(Err(format!("there is no summary {name} with a column {}", summary.column)));
    };
    let (kind, owner, is_superusers, type_name): (String, String, bool, String) =
        (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
    if !matches!(kind.as_str(), "r" | "p" | "m") {
        return Ok(Err(format!(
            "the summary {name} is a view, and a view is SQL of its owner's: name a table"
        )));
    }
    if owner != table.owner && !is_superusers && !frame.policy.trusted_owners.contains(&owner) {
        return Ok(Err(format!("the summary {name} belongs to {owner}: name that role in trusted_owners")));
    }
    let key = match Key::of(&type_name, policy.epoch).or_else(|_| Key::of(&type_name, None)) {
        Ok(key) => key,
        Err(why) => return Ok(Err(format!("the summary {name}: {why}"))),
    };
    let sql = format!("SELECT max({})::text FROM {}", identifier(&summary.column), name.quoted());
    let row = session.look(&table.owner, &sql).await?;
    let until: Option<String> = row.map(|row| row.try_get(0)).transpose()?.flatten();
    let until = until.and_then(|until| key.time(&until, grid.zone));
    Ok(until.ok_or_else(|| format!("the summary {name} has covered nothing yet")))
}

async fn detach(
    session: &mut Session<'_>,
    table: &Table,
    child: &Child,
    column: &str,
    concurrently: bool,
) -> Result<Step> {
    let sql = format!("SELECT count(*), max({})::text FROM {}", identifier(column), child.name.quoted());
    let (rows, newest) = match session.look(&table.owner, &sql).await {
        Ok(row) => match row {
            Some(row) => (Some(row.try_get(0)?), row.try_get(1)?),
            None => (None, None),
        },
        Err(error) if error.is_disconnected() => return Err(error),
        // Counting takes too long, or a type has no greatest value: the bounds decide, not the rows.
        Err(_) => (None, None),
    };
    let target = Target { child: child.clone(), parent: table.name.clone() };
    let (partition, bounds) = (child.name.clone(), child.text.clone());
    Ok(Step::Detach { partition, bounds, rows, newest, concurrently, target })
}

/// What is to be done with tables that earlier runs detached.
fn detached(frame: &Frame<'_>, policy: &SetPolicy, table: &Table, grid: &Grid, plan: &mut SetPlan) {
    for child in frame.catalog.detached.get(&table.oid).into_iter().flatten() {
        let Some(mark) = &child.mark else { continue };
        let target = Target { child: child.clone(), parent: table.name.clone() };
        let partition = child.name.clone();
        if child.owner != table.owner {
            let why = format!("it carries the mark of this set, and belongs to {}", child.owner);
            plan.held.push(Held { partition, why });
            continue;
        }
        if policy.archive && mark.archived.is_none() {
            if frame.has_archive {
                let name = archive_name(table, child);
                plan.steps.push(Step::Archive { partition, name, target });
            } else {
                let why =
                    "its rows are not archived, and no archive is set: PARTITION_ARCHIVE_DIR".to_owned();
                plan.held.push(Held { partition, why });
            }
            continue;
        }
        let since: Option<DateTime<Utc>> = mark.at.parse().ok();
        let due = match policy.drop_after.count {
            0 => Some(frame.now),
            _ => policy.drop_after.behind(frame.now, grid.zone),
        };
        let is_due = since.zip(due).is_some_and(|(since, due)| since <= due);
        let why = match (is_due, policy.archive && !frame.has_archive) {
            (false, _) => format!("it was detached at {} and is kept for {}", mark.at, policy.drop_after),
            (true, true) => {
                "its archive cannot be read back, as none is set: PARTITION_ARCHIVE_DIR".to_owned()
            }
            (true, false) if !frame.clocks_agree => "the server's clock and this host's differ".to_owned(),
            (true, false) => {
                let archived_rows = mark.archived.as_ref().map(|archived| archived.rows);
                plan.steps.push(Step::Drop { partition, archived_rows, target });
                continue;
            }
        };
        plan.held.push(Held { partition, why });
    }
}

/// What the archive calls the rows of a table: by what it was, so that no mark leads elsewhere.
pub(crate) fn archive_name(table: &Table, child: &Child) -> String {
    let bounds = child.mark.as_ref().map(|mark| mark.bounds.clone()).unwrap_or_default();
    let bounds = bounds.trim_start_matches("FOR VALUES FROM ").replace(" TO ", "_");
    let set = format!("{}-{}", part_of_name(&table.name.schema), part_of_name(&table.name.name));
    let bounds: String = bounds.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let bounds: Vec<&str> = bounds.split('-').filter(|part| !part.is_empty()).collect();
    format!("{set}/{}-{}.copy", bounds.join("-"), child.oid)
}
