//! Fills the tables of a plan, in their order, in one transaction.

use std::collections::HashMap;

use tokio_postgres::Transaction;

use super::catalog::{Catalog, Reference, Table};
use super::column_type::ColumnType;
use super::filled::Filled;
use super::order::Order;
use super::parents::Parents;
use super::path::set_path;
use super::rows::{Cells, Rows};
use super::stage::{self, Stage};

use crate::apply::Progress;
use crate::error::{Error, Result};
use crate::ledger::quoted;
use crate::plan::Plan;
use crate::sequences;

/// So many rows are made and sent at once; nothing else of a table is in memory but its keys.
pub(super) const BATCH: u64 = 5_000;

/// The most keys of a table that rows of others refer to.
const MOST_KEYS: u64 = 20_000;

/// The most rows whose references are filled in at the end.
const MOST_LATE: u64 = 2_000;

/// A table is given up after so many rows in a row for which no values were found.
const MOST_MISSES: u64 = 50;

/// So many rows more than are wanted may be refused.
const MOST_REFUSED: u64 = 8_000;

/// And after so many in all, or as many as rows are wanted.
const MOST_MISSES_IN_ALL: u64 = 200;

/// A filling that is under way.
pub(crate) struct Fill<'a, P> {
    pub(super) transaction: &'a Transaction<'a>,
    pub(super) catalog: &'a Catalog,
    plan: &'a Plan,
    anchor: i64,
    /// The session's own `search_path`, which triggers and defaults are used to.
    path: String,
    pub(super) progress: P,
    pub(super) stages: usize,
}

impl<'a, P: FnMut(Progress<'_>)> Fill<'a, P> {
    pub(crate) fn new(
        transaction: &'a Transaction<'a>,
        catalog: &'a Catalog,
        plan: &'a Plan,
        anchor: i64,
        path: String,
        progress: P,
    ) -> Self {
        Fill { transaction, catalog, plan, anchor, path, progress, stages: 0 }
    }

    /// Fills all tables.
    pub(crate) async fn all(&mut self, order: &Order) -> Result<Vec<Filled>> {
        let mut filled = Vec::new();
        for group in &order.groups {
            if group.iter().all(|at| !self.is_planned(*at)) {
                continue;
            }
            match group.as_slice() {
                [at] => filled.push(self.table(*at, order).await?),
                group => filled.extend(self.circle(group, order).await?),
            }
        }
        for (at, reference) in &order.late {
            if self.is_planned(*at) {
                self.fill_in(*at, *reference).await?;
            }
        }
        for one in &filled {
            if one.rows > 0
                && let Some(table) = self.named(&one.table)
            {
                self.finish(table).await?;
            }
        }
        set_path(self.transaction, &self.path).await?;
        Ok(filled)
    }

    fn named(&self, name: &str) -> Option<&'a Table> {
        self.catalog.tables.iter().find(|table| format!("{}.{}", table.schema, table.name) == name)
    }

    fn is_planned(&self, at: usize) -> bool {
        let table = &self.catalog.tables[at];
        let name = format!("{}.{}", table.schema, table.name);
        self.plan.tables.iter().any(|one| one.table == name)
    }

    pub(super) fn wanted(&self, table: &Table) -> u64 {
        let name = format!("{}.{}", table.schema, table.name);
        self.plan.tables.iter().find(|one| one.table == name).map_or(0, |one| one.rows)
    }

    /// Runs what may call the schema's own functions, with the path that they are used to.
    pub(super) async fn with_path<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        set_path(self.transaction, &self.path).await?;
        let done = work.await?;
        set_path(self.transaction, "pg_catalog, pg_temp").await?;
        Ok(done)
    }

    pub(super) async fn rows(&self, at: usize, order: &Order, circle: &[usize]) -> Result<Rows> {
        let table = &self.catalog.tables[at];
        let mut parents = Vec::new();
        for (place, reference) in table.references.iter().enumerate() {
            parents.push(if order.late.contains(&(at, place)) {
                None
            } else if reference.table == at || circle.contains(&reference.table) {
                Some(Parents::default())
            } else {
                Some(Parents::new(self.keys(reference).await?))
            });
        }
        let mut first = Vec::new();
        for (at, column) in table.columns.iter().enumerate() {
            // Only what must differ is counted on from what is there.
            let differs =
                table.spread.contains(&at) || table.uniques.iter().any(|one| one.columns.contains(&at));
            first.push(match column.holds {
                ColumnType::Integer { .. } if differs => self.first_free(table, &column.name).await?,
                _ => 0,
            });
        }
        Ok(Rows::new((table, at), (self.plan.seed, self.anchor), parents, first))
    }

    /// The keys that a reference may take, each with the values of the columns that are implied.
    async fn keys(&self, reference: &Reference) -> Result<Vec<Vec<String>>> {
        let columns = reference.of.iter().map(|name| format!("{}::text", quoted(name)));
        let implied =
            reference.implied.iter().map(|(_, name)| format!("coalesce({}::text, '')", quoted(name)));
        let columns: Vec<String> = columns.chain(implied).collect();
        let given: Vec<String> =
            reference.of.iter().map(|name| format!("{} IS NOT NULL", quoted(name))).collect();
        let places: Vec<String> = (1..=columns.len()).map(|place| place.to_string()).collect();
        let query = format!(
            "SELECT {} FROM {} WHERE {} ORDER BY {} LIMIT {MOST_KEYS}",
            columns.join(", "),
            self.catalog.tables[reference.table].sql(),
            given.join(" AND "),
            places.join(", "),
        );
        let rows = self.transaction.query(&query, &[]).await.map_err(Error::database("reading keys"))?;
        Ok(rows.iter().map(|row| (0..columns.len()).map(|place| row.get(place)).collect()).collect())
    }

    /// The number behind the greatest that a column has.
    async fn first_free(&self, table: &Table, column: &str) -> Result<i64> {
        let query = format!(
            "SELECT least(coalesce(max({0})::numeric, 0) + 1, 9223372036854775807)::int8 FROM {1}",
            quoted(column),
            table.sql()
        );
        let row = self.transaction.query_one(&query, &[]).await.map_err(Error::database("reading keys"))?;
        Ok(row.get(0))
    }

    async fn table(&mut self, at: usize, order: &Order) -> Result<Filled> {
        let table = &self.catalog.tables[at];
        let wanted = self.wanted(table);
        let name = format!("{}.{}", table.schema, table.name);
        let mut filled = Filled { table: name.clone(), wanted, rows: 0, short: None };
        if wanted == 0 {
            return Ok(filled);
        }
        let mut rows = self.rows(at, order, &[]).await?;
        if let Some(reason) = rows.impossible() {
            filled.short = Some(reason);
            return Ok(filled);
        }
        if table.partitioned && table.leaves.is_empty() && !self.has_partition(table).await? {
            filled.short = Some("it is partitioned and has no partition".to_owned());
            return Ok(filled);
        }
        let mut target = wanted;
        if let Some((room, columns)) = rows.room().filter(|(room, _)| *room < wanted) {
            target = room;
            filled.short = Some(format!("({}) has {room} different values", columns.join(", ")));
        }
        let (mut next, mut staged, mut barren, mut missed) = (0, false, 0, 0);
        let most_missed = target.max(MOST_MISSES_IN_ALL);
        let mut refused = None;
        let most = target.saturating_mul(4).saturating_add(MOST_REFUSED);
        let mut times = 3;
        while filled.rows < target && next < most && barren < 4 {
            let (mut batch, mut misses): (Vec<Cells>, u64) = (Vec::new(), 0);
            let room = target - filled.rows;
            // Where the server refuses some, a few more are offered.
            let offered = if staged { room.saturating_mul(times).max(60) } else { room }.min(BATCH);
            while (batch.len() as u64) < offered
                && next < most
                && misses < MOST_MISSES
                && missed < most_missed
            {
                match rows.make(next) {
                    Some(cells) => (batch.push(cells), misses = 0).1,
                    None => (misses, missed) = (misses + 1, missed + 1),
                }
                next += 1;
            }
            if batch.is_empty() {
                break;
            }
            let columns = rows.columns();
            let mut loaded = 0;
            if !staged {
                let copied = stage::copy_all(self.transaction, table, &columns, &batch);
                match self.with_path(copied).await? {
                    Ok(rows) => loaded = rows,
                    Err(said) => (staged, refused) = (true, Some(said)),
                }
            }
            if staged {
                self.stages += 1;
                match Stage::new(self.transaction, table, &columns, &batch, self.stages).await? {
                    Ok(stage) => {
                        let computed = batch.first().map(|cells| rows.computed(cells)).unwrap_or_default();
                        self.with_path(stage.compute(self.transaction, &computed)).await?;
                        let outcome = self.with_path(stage.move_rows(self.transaction, room)).await?;
                        loaded = outcome.rows;
                        refused = outcome.refused.or(refused);
                    }
                    Err(said) => refused = Some(said),
                }
            }
            // Where few are taken, many are offered.
            if staged && loaded * 10 < batch.len() as u64 {
                times = (times * 4).min(200);
            }
            barren = if loaded == 0 { barren + 1 } else { 0 };
            filled.rows += loaded;
            (self.progress)(Progress { table: &name, rows_done: filled.rows, rows_total: wanted });
        }
        if filled.rows < target {
            let because = match refused {
                Some(said) => format!("the server refused others: {said}"),
                None => rows.why_short(),
            };
            filled.short = Some(because);
        }
        Ok(filled)
    }

    async fn has_partition(&self, table: &Table) -> Result<bool> {
        let query = "SELECT count(*) FROM pg_partition_tree($1::oid::regclass) WHERE isleaf AND level > 0";
        let row = self.transaction.query_one(query, &[&table.oid]).await;
        Ok(row.map_err(Error::database("reading the catalog"))?.get::<_, i64>(0) > 0)
    }

    /// Fills in a reference that stayed NULL because its table was filled first. Where the server refuses,
    /// NULL stays, which is allowed.
    async fn fill_in(&mut self, at: usize, reference: usize) -> Result<()> {
        let table = &self.catalog.tables[at];
        let reference = &table.references[reference];
        let pairs: Vec<(String, String, bool)> = reference
            .columns
            .iter()
            .zip(&reference.of)
            .map(|(column, of)| {
                let column = &table.columns[*column];
                (quoted(&column.name), quoted(of), column.not_null)
            })
            .collect();
        let open: Vec<_> = pairs.iter().filter(|(_, _, given)| !given).collect();
        let sets: Vec<String> =
            open.iter().map(|(column, ..)| format!("{column} = found.{column}")).collect();
        // Rows that were there before are somebody else's. A savepoint's rows have a number of its own, which
        // is greater than the transaction's.
        let ours = "t.xmin::text::int8 >= (pg_current_xact_id()::text::int8 & 4294967295)".to_owned();
        let nulls = open.iter().map(|(column, ..)| format!("t.{column} IS NULL"));
        let nulls: Vec<String> = nulls.chain([ours]).collect();
        let values: Vec<String> = open.iter().map(|(column, of, _)| format!("p.{of} AS {column}")).collect();
        let given: Vec<String> = pairs
            .iter()
            .filter(|(_, _, given)| *given)
            .map(|(column, of, _)| format!("p.{of} = t.{column}"))
            .chain(pairs.iter().map(|(_, of, _)| format!("p.{of} IS NOT NULL")))
            .collect();
        let key: Vec<String> = pairs.iter().map(|(_, of, _)| format!("p.{of}::text")).collect();
        let unique = table.uniques.iter().any(|unique| unique.columns == reference.columns);
        // Each row takes another key where the columns are unique; else a scattered one.
        let choice = match unique {
            true => "ORDER BY 1 OFFSET n - 1 LIMIT 1".to_owned(),
            false => format!("ORDER BY hashtextextended(concat_ws(',', {}), n) LIMIT 1", key.join(", ")),
        };
        let update = format!(
            "UPDATE {table} AS t SET {sets} FROM (SELECT t.tableoid AS part, t.ctid AS place, chosen.* FROM \
             (SELECT t.*, t.tableoid, t.ctid, row_number() OVER (ORDER BY t.tableoid, t.ctid) AS n FROM \
             {table} AS t WHERE {nulls} LIMIT {MOST_LATE}) AS t CROSS JOIN LATERAL (SELECT {values} FROM \
             {other} AS p WHERE {given} {choice}) AS chosen WHERE n % 10 <> 0) AS found WHERE t.tableoid = \
             found.part AND t.ctid = found.place",
            table = table.sql(),
            sets = sets.join(", "),
            nulls = nulls.join(" AND "),
            values = values.join(", "),
            other = self.catalog.tables[reference.table].sql(),
            given = given.join(" AND "),
        );
        let updated = stage::attempt(self.transaction, self.transaction.execute(&update, &[]));
        _ = self.with_path(updated).await?;
        Ok(())
    }

    /// Moves sequences past what was loaded, and brings the statistics up to date.
    async fn finish(&self, table: &Table) -> Result<()> {
        let columns: HashMap<&str, ()> = table.columns.iter().map(|one| (one.name.as_str(), ())).collect();
        let columns: Vec<&str> = columns.into_keys().collect();
        let target = crate::table::Table { oid: table.oid, name: table.sql() };
        let moved = sequences::move_past(self.transaction, &target, &columns);
        // A sequence of another role's may not be moved; the rows are there all the same.
        _ = stage::attempt(self.transaction, moved).await?;
        let analyze = format!("ANALYZE {}", table.sql());
        _ = stage::attempt(self.transaction, self.transaction.batch_execute(&analyze)).await?;
        Ok(())
    }
}
