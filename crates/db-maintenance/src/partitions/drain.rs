//! What is in a default partition that should not be, and how it is moved out.
//!
//! Rows are moved and their partition is attached in one transaction, so each is visible exactly once at any
//! moment. Readers go on meanwhile; the exclusive lock on the default partition is taken last, for what came
//! in between.

use chrono::{DateTime, Utc};

use super::catalog::{Child, Table};
use super::cover::{Edge, Grid, Point, Range};
use super::siblings::Carried;
use super::step::{New, Step, within};
use crate::error::{MaintenanceError, Result};
use crate::name::{TableName, identifier, literal};
use crate::session::Session;

/// Counting ends here.
const COUNTED: i64 = 100_000;

/// Moving more in one transaction would hold back vacuum and writers of these rows for long.
const MOVED: i64 = 100_000;

/// More than this is scanned too long while the default partition is locked.
const SCANNED: i64 = 256 << 20;

/// So many intervals from now a value is plausible.
const PLAUSIBLE: i32 = 120;

/// How many rows a table has, up to 100,000.
pub(crate) async fn rows_in(session: &mut Session<'_>, owner: &str, table: &Child) -> Result<i64> {
    let sql = format!("SELECT count(*) FROM (SELECT FROM {} LIMIT {COUNTED}) r", table.name.quoted());
    let row = session.look(owner, &sql).await?;
    row.map_or(Ok(0), |row| Ok(row.try_get(0)?))
}

/// A default partition that holds rows.
pub(crate) struct Asked<'a> {
    pub(crate) table: &'a Table,
    pub(crate) default: &'a Child,
    pub(crate) column: &'a str,
    pub(crate) grid: &'a Grid,
    pub(crate) ranges: &'a [Range],
    pub(crate) drains: bool,
}

/// What was found.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) drains: Vec<(Point, Point, i64)>,
    pub(crate) notes: Vec<String>,
}

/// Looks what the default partition holds, and takes out of `new` what cannot be attached beside it.
pub(crate) async fn look(
    session: &mut Session<'_>,
    asked: &Asked<'_>,
    new: &mut Vec<(Point, Point)>,
    now: DateTime<Utc>,
) -> Result<Found> {
    let mut found = Found::default();
    let (column, default) = (identifier(asked.column), asked.default.name.quoted());
    let grid = asked.grid;
    let mut kept = Vec::new();
    for (from, to) in new.drain(..) {
        let rows = count(session, asked, &from, &to).await?;
        match (rows, asked.drains) {
            (0, _) => kept.push((from, to)),
            (_, true) => found.drains.push((from, to, rows)),
            (_, false) => found.notes.push(format!(
                "{rows} rows of {} to {} are in the default partition, so their partition cannot be made: \
                 drain = true moves them",
                from.text, to.text
            )),
        }
    }
    *new = kept;
    if asked.drains {
        // Rows of the past, and of a future beyond the horizon, one interval after another.
        let (mut low, mut high) = (now, now);
        for _ in 0..PLAUSIBLE {
            low = grid.every.floor(low - chrono::TimeDelta::seconds(1), grid.zone).unwrap_or(low);
            high = grid.every.next(high, grid.zone).unwrap_or(high);
        }
        let mut cursor = low;
        while cursor < high && found.drains.len() < grid.most_new {
            let least = format!(
                "SELECT min({column})::text FROM ONLY {default} WHERE {column} >= {} AND {column} < {}",
                literal(&grid.key.text(cursor, grid.zone)),
                literal(&grid.key.text(high, grid.zone))
            );
            let row = session.look(&asked.table.owner, &least).await?;
            let Some(least) = row.and_then(|row| row.try_get::<_, Option<String>>(0).ok().flatten()) else {
                break;
            };
            let Some(at) = grid.key.time(&least, grid.zone) else { break };
            let (Some(from), Some(to)) = (grid.every.floor(at, grid.zone), grid.every.next(at, grid.zone))
            else {
                break;
            };
            cursor = to;
            let (from, to) = clipped(asked.ranges, grid, from, to, at);
            if found.drains.iter().all(|(known, ..)| *known != from) && from < to {
                let rows = count(session, asked, &from, &to).await?;
                found.drains.push((from, to, rows));
            }
        }
        for (at, which) in [(low, "before"), (high, "after")] {
            let compares = if which == "before" { "<" } else { ">=" };
            let text = grid.key.text(at, grid.zone);
            let sql = format!(
                "SELECT count(*) FROM (SELECT FROM ONLY {default} WHERE {column} {compares} {} LIMIT \
                 {COUNTED}) r",
                literal(&text)
            );
            let rows: i64 =
                session.look(&asked.table.owner, &sql).await?.map_or(Ok(0), |row| row.try_get(0))?;
            if rows > 0 {
                found.notes.push(format!(
                    "{rows} rows of the default partition are {which} {text}: no partition is made for \
                     values so far from now"
                ));
            }
        }
    }
    if found.drains.is_empty() {
        return Ok(found);
    }
    if let Some(why) = refusal(session, asked).await? {
        let rows: i64 = found.drains.iter().map(|(.., rows)| rows).sum();
        found.notes.push(format!("{rows} rows of the default partition are not moved: {why}"));
        found.drains.clear();
    }
    let (moved, too_many): (Vec<_>, Vec<_>) = found.drains.into_iter().partition(|(.., rows)| *rows <= MOVED);
    found.drains = moved;
    for (from, to, _) in too_many {
        found.notes.push(format!(
            "more than {MOVED} rows of {} to {} are in the default partition: moving them would take too \
             long a transaction; \
             detach it in a window and insert its rows into the set",
            from.text, to.text
        ));
    }
    Ok(found)
}

/// The interval, cut where partitions are.
fn clipped(
    ranges: &[Range],
    grid: &Grid,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    at: DateTime<Utc>,
) -> (Point, Point) {
    let point = |at: DateTime<Utc>| Point { at, text: grid.key.text(at, grid.zone) };
    let (mut from, mut to) = (point(from), point(to));
    for range in ranges {
        match (&range.from, &range.to) {
            (_, Edge::At(end)) if end.at <= at && *end > from => from = end.clone(),
            (Edge::At(begin), _) if begin.at > at && *begin < to => to = begin.clone(),
            _ => {}
        }
    }
    (from, to)
}

async fn count(session: &mut Session<'_>, asked: &Asked<'_>, from: &Point, to: &Point) -> Result<i64> {
    let sql = format!(
        "SELECT count(*) FROM (SELECT FROM ONLY {} WHERE {} LIMIT {}) r",
        asked.default.name.quoted(),
        within(asked.column, &from.text, &to.text),
        MOVED + 1
    );
    let row = session.look(&asked.table.owner, &sql).await?;
    row.map_or(Ok(0), |row| Ok(row.try_get(0)?))
}

/// Why rows are not moved here.
async fn refusal(session: &mut Session<'_>, asked: &Asked<'_>) -> Result<Option<String>> {
    let (table, default) = (asked.table, asked.default);
    if default.owner != table.owner {
        return Ok(Some(format!(
            "{} belongs to {}, and the set to {}",
            default.name, default.owner, table.owner
        )));
    }
    if default.is_partitioned {
        return Ok(Some("the default partition is partitioned itself".to_owned()));
    }
    if table.incoming > 0 {
        return Ok(Some(
            "foreign keys of other tables refer to the set, and would see a row that is gone".to_owned(),
        ));
    }
    if default.bytes > SCANNED {
        return Ok(Some(format!(
            "the default partition has {} MB, which attaching would scan under an exclusive lock",
            default.bytes >> 20
        )));
    }
    // Bit 8 of tgtype is DELETE.
    let sql = "SELECT tgname::text FROM pg_trigger WHERE tgrelid = $1 AND NOT tgisinternal AND tgenabled \
        <> 'D' \
        AND tgtype::int & 8 > 0 LIMIT 1";
    let trigger = session.client().query_opt(sql, &[&default.oid]).await?;
    let trigger: Option<String> = trigger.map(|row| row.try_get(0)).transpose()?;
    Ok(trigger.map(|trigger| {
        format!(
            "the trigger {} would run for each: disable it on the default partition meanwhile",
            identifier(&trigger)
        )
    }))
}

/// The step that moves them.
pub(crate) async fn step(
    session: &mut Session<'_>,
    asked: &Asked<'_>,
    name: &TableName,
    (from, to): (&Point, &Point),
    bounds: &str,
    rows: i64,
    carried: &Carried,
) -> Result<Step> {
    let new = New { parent: asked.table, name, bounds, carried, divided: None };
    let columns = columns(session, asked.default.oid).await?;
    let default = asked.default.name.quoted();
    let moves = format!(
        "WITH moved AS (DELETE FROM ONLY {default} WHERE {} RETURNING {columns}) \
         INSERT INTO {} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM moved",
        within(asked.column, &from.text, &to.text),
        name.quoted()
    );
    let locks = format!("LOCK TABLE ONLY {default} IN ACCESS EXCLUSIVE MODE");
    let statements =
        [vec![new.locks()], new.makes(), vec![moves.clone(), locks, moves, new.attach()]].concat();
    let (partition, bounds) = (name.clone(), bounds.to_owned());
    Ok(Step::Drain { partition, bounds, rows, statements, parent: asked.table.oid })
}

/// The columns that can be written, in double quotes.
pub(crate) async fn columns(session: &mut Session<'_>, table: u32) -> Result<String> {
    let sql = "SELECT attname::text FROM pg_attribute WHERE attrelid = $1 AND attnum > 0 AND NOT \
        attisdropped \
        AND attgenerated = '' ORDER BY attnum";
    let rows = session.client().query(sql, &[&table]).await?;
    let names: Vec<String> =
        rows.iter().map(|row| Ok(identifier(row.try_get(0)?))).collect::<Result<_, MaintenanceError>>()?;
    Ok(names.join(", "))
}
