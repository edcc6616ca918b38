//! What new partitions are called, and how they are divided again.

use chrono::{DateTime, Utc};

use super::catalog::{Table, taken};
use super::cover::{Grid, Point};
use super::key::Key;
use super::policy::{Scheme, SetPolicy};
use super::step::{hash, list, range};
use crate::error::{MaintenanceError, Result};
use crate::name::{TableName, bounded, identifier};
use crate::session::Session;

/// What follows the set's name in a partition's.
pub(crate) fn tail(from: &Point, grid: &Grid) -> String {
    let local = from.at.with_timezone(&grid.zone);
    let is_midnight = local.time() == chrono::NaiveTime::MIN;
    local.format(if is_midnight { "_p%Y%m%d" } else { "_p%Y%m%d_%H%M%S" }).to_string()
}

/// Names that are free in the set's schema. A name means nothing: if somebody has taken it, another one does.
pub(crate) async fn names(
    session: &mut Session<'_>,
    table: &Table,
    tails: &[String],
) -> Result<Vec<TableName>> {
    const TRIES: usize = 20;
    let candidates = |tail: &str| {
        let numbered = (2..=TRIES).map(|number| bounded(&table.name.name, &format!("{tail}_{number}")));
        let all: Vec<String> = [bounded(&table.name.name, tail)].into_iter().chain(numbered).collect();
        all
    };
    let all: Vec<String> = tails.iter().flat_map(|tail| candidates(tail)).collect();
    let mut used = taken(session.client(), &table.name.schema, &all).await?;
    let mut names = Vec::new();
    for tail in tails {
        let free = candidates(tail).into_iter().find(|name| !used.contains(name));
        let name = free.ok_or_else(|| {
            let why = format!("{TRIES} names that begin with {} are taken", bounded(&table.name.name, tail));
            MaintenanceError::refused("upkeep", why)
        })?;
        used.push(name.clone());
        names.push(TableName::new(&table.name.schema, name));
    }
    Ok(names)
}

pub(crate) type Divided = (String, Vec<(TableName, String)>);

/// How a new partition is divided again: `PARTITION BY …`, and its parts with their bounds.
pub(crate) async fn divided(
    session: &mut Session<'_>,
    sub: &SetPolicy,
    policy: &SetPolicy,
    table: &Table,
    name: &TableName,
    now: DateTime<Utc>,
) -> Result<Divided> {
    let column = policy.sub.as_ref().map(|sub| sub.column.clone()).unwrap_or_default();
    let sql = "SELECT format_type(atttypid, NULL) FROM pg_attribute WHERE attrelid = $1 AND attname = \
        $2::text \
        AND attnum > 0 AND NOT attisdropped";
    let row = session.client().query_opt(sql, &[&table.oid, &column]).await?;
    let no_column =
        || MaintenanceError::refused("upkeep", format!("there is no column {column} to divide by"));
    let type_name: String = row.ok_or_else(no_column)?.try_get(0)?;
    let part = |tail: &str| TableName::new(&name.schema, bounded(&name.name, tail));
    let (method, parts) = match sub.scheme()? {
        Scheme::Hash(modulus) => {
            let parts = (0..modulus).map(|rest| (part(&format!("_h{rest}")), hash(modulus, rest)));
            ("HASH", parts.collect())
        }
        Scheme::List(values) => {
            let parts = values.iter().enumerate();
            ("LIST", parts.map(|(number, values)| (part(&format!("_l{number}")), list(values))).collect())
        }
        Scheme::Range { every, ahead } => {
            let key =
                Key::of(&type_name, sub.epoch).map_err(|why| MaintenanceError::refused("upkeep", why))?;
            let most_new = usize::try_from(sub.most_new).unwrap_or(usize::MAX);
            let grid = Grid { every, ahead, zone: sub.zone, key, most_new };
            let new = grid.missing(&[], now).new.into_iter();
            (
                "RANGE",
                new.map(|(from, to)| (part(&tail(&from, &grid)), range(&from.text, &to.text))).collect(),
            )
        }
    };
    Ok((format!("PARTITION BY {method} ({})", identifier(&column)), parts))
}
