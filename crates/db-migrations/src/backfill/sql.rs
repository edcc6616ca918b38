//! The statements of a batch.
//!
//! Keys travel as arrays of texts: what they are is the table's business. `$1` is the key behind which a
//! batch begins, `$2` the one with which it ends; both are texts[].

use super::definition::Backfill;
use super::ledger::Tables;
use super::table::Table;
use crate::location::quoted;

/// The statements of one backfill.
#[derive(Debug, Clone)]
pub(crate) struct Sql {
    /// The greatest key.
    pub(crate) end: String,
    /// How many of the next rows there are up to a number, and the key of the last of them.
    pub(crate) page: [String; 2],
    /// Fills all rows between two keys.
    pub(crate) fill: [String; 2],
    /// The same, passing over rows that somebody has locked, and noting those.
    pub(crate) fill_unlocked: [String; 2],
    /// Notes the one row between two keys as one that cannot be written.
    pub(crate) note_failed: [String; 2],
    /// Fills noted rows that are not locked any more.
    pub(crate) fill_noted: String,
    /// Forgets noted rows that need no filling any more.
    pub(crate) clear_noted: String,
    /// How many rows between two keys need filling.
    pub(crate) left: [String; 2],
    /// Fails where the server does not take the statement.
    pub(crate) check: String,
    /// Reads one row by its key.
    pub(crate) probe: String,
}

impl Sql {
    pub(crate) fn of(backfill: &Backfill, table: &Table, tables: &Tables) -> Sql {
        let name = &table.name;
        let keys: Vec<String> = table.key.iter().map(|column| format!("t.{column}")).collect();
        let order = keys.join(", ");
        let down: Vec<String> = table.key.iter().map(|column| format!("{column} DESC")).collect();
        let bound = |parameter: usize| {
            let parts: Vec<String> = table
                .types
                .iter()
                .enumerate()
                .map(|(place, kind)| format!("((${parameter}::text[])[{}])::{kind}", place + 1))
                .collect();
            parts.join(", ")
        };
        let text = |from: &str| {
            let texts: Vec<String> =
                table.key.iter().map(|column| format!("{from}.{column}::text")).collect();
            format!("ARRAY[{}]", texts.join(", "))
        };
        // The first batch has nothing behind which it would begin.
        let within = [
            format!("($1::text[] IS NULL) AND ({order}) <= ({})", bound(2)),
            format!("({order}) > ({}) AND ({order}) <= ({})", bound(1), bound(2)),
        ];
        let both = |make: &dyn Fn(&str) -> String| [make(&within[0]), make(&within[1])];
        let filter = filter(backfill);
        let sets: Vec<String> = backfill
            .fills
            .iter()
            .map(|fill| format!("{} = ({})", quoted(&fill.column), fill.expression))
            .collect();
        let sets = sets.join(", ");
        let empties: Vec<String> =
            backfill.fills.iter().map(|fill| format!("t.{} IS NULL", quoted(&fill.column))).collect();
        let empties = empties.join(" OR ");
        let numbered: Vec<String> = (1..=table.key.len()).map(|place| format!("\"__key_{place}\"")).collect();
        let numbers = numbered.join(", ");
        let keyed = |alias: &str| -> String {
            let columns: Vec<String> =
                keys.iter().zip(&numbered).map(|(column, number)| format!("{column} AS {number}")).collect();
            let columns = columns.join(", ");
            if alias.is_empty() { columns } else { format!("{columns}, {alias}") }
        };
        let of_number = |from: &str| {
            let texts: Vec<String> = numbered.iter().map(|number| format!("{from}.{number}::text")).collect();
            format!("ARRAY[{}]", texts.join(", "))
        };
        let same: Vec<String> = keys
            .iter()
            .zip(&numbered)
            .map(|(column, number)| format!("{column} = __free.{number}"))
            .collect();
        let same = same.join(" AND ");
        let noted_is_t: Vec<String> = keys
            .iter()
            .zip(&table.types)
            .enumerate()
            .map(|(place, (column, kind))| format!("{column} = (__s.__noted[{}])::{kind}", place + 1))
            .collect();
        let noted_is_t = noted_is_t.join(" AND ");
        let skipped = &tables.skipped;
        let noted =
            format!("(SELECT key AS __noted FROM {skipped} WHERE backfill = $1 AND reason = 'locked')");
        let changed = |from: &str, within: &str| {
            format!(
                "__changed AS (UPDATE {name} AS t SET {sets} {from} WHERE {within} RETURNING ({empties}) AS \
                    empty) \
                 SELECT (SELECT count(*) FROM __changed) AS changed, \
                 (SELECT count(*) FROM __changed WHERE empty) AS stayed"
            )
        };
        Sql {
            end: format!(
                "SELECT {} AS key, 0::bigint AS seen FROM {name} AS t ORDER BY {} LIMIT 1",
                text("t"),
                down.join(", ")
            ),
            page: both(&|within| {
                format!(
                    "SELECT {} AS key, count(*) OVER () AS seen FROM (SELECT {order} FROM {name} AS t WHERE \
                        {within} \
                     ORDER BY {order} LIMIT $3) AS page ORDER BY {} LIMIT 1",
                    text("page"),
                    down.join(", ")
                )
            }),
            fill: both(&|within| {
                let changed = changed("", &format!("{within} AND ({filter})"));
                format!("WITH {changed}, 0::bigint AS passed")
            }),
            fill_unlocked: both(&|within| {
                format!(
                    "WITH __wanted AS MATERIALIZED (SELECT {columns} FROM {name} AS t WHERE {within} AND \
                        ({filter})), \
                     __free AS MATERIALIZED (SELECT {columns} FROM {name} AS t WHERE {within} AND ({filter}) \
                     FOR NO KEY UPDATE SKIP LOCKED), \
                     __locked AS (SELECT {numbers} FROM __wanted EXCEPT SELECT {numbers} FROM __free), \
                     __noted AS (INSERT INTO {skipped} (backfill, key, reason) SELECT $3, {}, 'locked' \
                     FROM __locked ON CONFLICT DO NOTHING RETURNING 1), {}, (SELECT count(*) FROM __noted) \
                     AS passed",
                    of_number("__locked"),
                    changed("FROM __free", &same),
                    columns = keyed(""),
                )
            }),
            note_failed: both(&|within| {
                format!(
                    "INSERT INTO {skipped} (backfill, key, reason) SELECT $3, {}, $4 FROM {name} AS t WHERE \
                        {within} \
                     AND ({filter}) ON CONFLICT (backfill, key) DO UPDATE SET reason = EXCLUDED.reason",
                    text("t")
                )
            }),
            fill_noted: format!(
                "WITH __free AS MATERIALIZED (SELECT {} FROM {noted} AS __s JOIN {name} AS t ON {noted_is_t} \
                 WHERE ({filter}) LIMIT 500 FOR NO KEY UPDATE OF t SKIP LOCKED), \
                 __done AS (DELETE FROM {skipped} AS s USING __free WHERE s.backfill = $1 AND s.key = \
                 __free.__noted), \
                 {}, 0::bigint AS passed",
                keyed("__s.__noted"),
                changed("FROM __free", &same),
            ),
            clear_noted: format!(
                "WITH __all AS MATERIALIZED (SELECT key AS __noted FROM {skipped} WHERE backfill = $1) \
                 DELETE FROM {skipped} AS s USING __all AS __s WHERE s.backfill = $1 AND s.key = __s.__noted \
                 AND NOT EXISTS (SELECT FROM {name} AS t WHERE {noted_is_t} AND ({filter}))"
            ),
            left: both(&|within| {
                format!(
                    "SELECT count(*) AS changed, 0::bigint AS stayed, 0::bigint AS passed FROM {name} AS t \
                     WHERE {within} AND ({filter})"
                )
            }),
            check: format!("EXPLAIN UPDATE {name} AS t SET {sets} WHERE ({filter})"),
            probe: format!("SELECT 1 FROM {name} AS t WHERE ({order}) = "),
        }
    }

    /// The read of the row with this key.
    pub(crate) fn probe_of(&self, table: &Table, key: &[String]) -> String {
        let parts: Vec<String> = key
            .iter()
            .zip(&table.types)
            .map(|(value, kind)| format!("'{}'::text::{kind}", value.replace('\'', "''")))
            .collect();
        format!("{}({})", self.probe, parts.join(", "))
    }
}

/// Which rows need filling.
fn filter(backfill: &Backfill) -> String {
    backfill.condition.clone().unwrap_or_else(|| {
        let empty: Vec<String> =
            backfill.fills.iter().map(|fill| format!("t.{} IS NULL", quoted(&fill.column))).collect();
        empty.join(" OR ")
    })
}
