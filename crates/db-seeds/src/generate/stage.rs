//! Hands rows to the server so that a row that it refuses costs no other: by way of a temporary table.
//!
//! Most tables take all rows by COPY. Where one row is refused, the rows go into a table without constraints,
//! and from there by INSERT … SELECT: rows that a check or a unique index would refuse are left out, and
//! where that is not enough, each row goes by itself, in a loop on the server.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Cursor;
use std::pin::pin;

use futures_util::SinkExt;
use tokio_postgres::Transaction;

use super::catalog::Table;
use super::rows::Cells;
use super::token::{self, Token};
use crate::error::{Error, Result};
use crate::ledger::quoted;
use crate::value::escape;

/// After so many refusals of single rows the rest of a batch is left out.
const MOST_REFUSALS: u32 = 200;

/// The column that numbers the rows of a staged batch.
const NUMBER: &str = "db_seeds_row_number";

/// What became of a batch.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) rows: u64,
    /// What the server said of the last row that it refused: the message and the constraint, no values.
    pub(crate) refused: Option<String>,
}

/// The statement between a savepoint and its end. A refusal by the server is an outcome, a lost server an
/// error.
pub(crate) async fn attempt<T>(
    transaction: &Transaction<'_>,
    work: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<std::result::Result<T, String>> {
    let run = async |sql: &str| {
        transaction.batch_execute(sql).await.map_err(Error::database("setting a savepoint"))
    };
    run("SAVEPOINT db_seeds_attempt").await?;
    match work.await {
        Ok(done) => {
            run("RELEASE SAVEPOINT db_seeds_attempt").await?;
            Ok(Ok(done))
        }
        Err(error) => {
            let Some(refusal) = error.as_db_error() else {
                return Err(Error::database("filling a table")(error));
            };
            let constraint = refusal.constraint().map(|name| format!(" (constraint {name})"));
            // A message of a trigger may be anything; the server's own hold no values but that of a key.
            let said = format!("{}{}", refusal.message(), constraint.unwrap_or_default());
            run("ROLLBACK TO SAVEPOINT db_seeds_attempt; RELEASE SAVEPOINT db_seeds_attempt").await?;
            Ok(Err(said))
        }
    }
}

/// The rows as COPY's text format, with a number before each where one is wanted.
fn copied(rows: &[Cells], columns: &[usize], numbered: bool) -> String {
    let mut text = String::with_capacity(rows.len() * 64);
    for (number, row) in rows.iter().enumerate() {
        if numbered {
            _ = write!(text, "{number}\t");
        }
        for (place, column) in columns.iter().enumerate() {
            if place > 0 {
                text.push('\t');
            }
            match &row[*column] {
                Some(value) => escape(value, &mut text),
                None => text.push_str("\\N"),
            }
        }
        text.push('\n');
    }
    text
}

async fn copy(transaction: &Transaction<'_>, into: &str, text: String) -> Result<u64, tokio_postgres::Error> {
    let sink = transaction.copy_in(&format!("COPY {into} FROM STDIN WITH (FORMAT TEXT)")).await?;
    let mut sink = pin!(sink);
    sink.send(Cursor::new(text.into_bytes())).await?;
    sink.finish().await
}

fn names(table: &Table, columns: &[usize]) -> String {
    let names: Vec<String> = columns.iter().map(|column| quoted(&table.columns[*column].name)).collect();
    names.join(", ")
}

/// Copies rows straight into the table, all or none.
pub(crate) async fn copy_all(
    transaction: &Transaction<'_>,
    table: &Table,
    columns: &[usize],
    rows: &[Cells],
) -> Result<std::result::Result<u64, String>> {
    let into = match columns.is_empty() {
        true => return insert_defaults(transaction, table, rows.len()).await,
        false => format!("{} ({})", table.sql(), names(table, columns)),
    };
    attempt(transaction, copy(transaction, &into, copied(rows, columns, false))).await
}

async fn insert_defaults(
    transaction: &Transaction<'_>,
    table: &Table,
    rows: usize,
) -> Result<std::result::Result<u64, String>> {
    let insert = format!("INSERT INTO {} DEFAULT VALUES", table.sql());
    for _ in 0..rows {
        if let Err(refused) = attempt(transaction, transaction.execute(&insert, &[])).await? {
            return Ok(Err(refused));
        }
    }
    Ok(Ok(rows as u64))
}

/// A temporary table with the rows of a batch.
pub(crate) struct Stage<'a> {
    table: &'a Table,
    columns: Vec<usize>,
    name: String,
    rows: usize,
}

impl<'a> Stage<'a> {
    /// Puts the rows there. `number` tells the stages of one transaction apart.
    pub(crate) async fn new(
        transaction: &Transaction<'_>,
        table: &'a Table,
        columns: &[usize],
        rows: &[Cells],
        number: usize,
    ) -> Result<std::result::Result<Self, String>> {
        let name = format!("pg_temp.db_seeds_stage_{number}");
        let mut create = format!(
            "DROP TABLE IF EXISTS {name}; CREATE TEMP TABLE {} (\"{NUMBER}\" bigint",
            name.trim_start_matches("pg_temp.")
        );
        for column in columns {
            let column = &table.columns[*column];
            let (oid, modifier) = column.base;
            let of = "SELECT pg_catalog.format_type($1, $2)";
            let of = transaction.query_one(of, &[&oid, &modifier]).await;
            let of: String = of.map_err(Error::database("naming a type"))?.get(0);
            _ = write!(create, ", {} {of}", quoted(&column.name));
        }
        create.push_str(") ON COMMIT DROP");
        transaction.batch_execute(&create).await.map_err(Error::database("making a temporary table"))?;
        let into = format!("{name} (\"{NUMBER}\", {})", names(table, columns));
        let copied = attempt(transaction, copy(transaction, &into, copied(rows, columns, true))).await?;
        Ok(copied.map(|_| Stage { table, columns: columns.to_vec(), name, rows: rows.len() }))
    }

    /// Has the server compute columns. Where it refuses, they stay as they are.
    pub(crate) async fn compute(
        &self,
        transaction: &Transaction<'_>,
        computed: &[(String, String)],
    ) -> Result<()> {
        for (column, sql) in computed {
            let update = format!("UPDATE {} SET {} = ({sql})", self.name, quoted(column));
            _ = attempt(transaction, transaction.execute(&update, &[])).await?;
        }
        Ok(())
    }

    /// The statement that moves the rows of a range into the table, those that the checks allow.
    fn insert(&self, from: usize, to: usize, most: u64) -> String {
        let mut allowed = String::new();
        for check in self.table.filter.iter().filter(|check| self.can_judge(check)) {
            _ = write!(allowed, " AND ({check}) IS NOT FALSE");
        }
        self.moving(from, to, &allowed, most)
    }

    fn moving(&self, from: usize, to: usize, only: &str, most: u64) -> String {
        let names = names(self.table, &self.columns);
        let most = if most == u64::MAX { String::new() } else { format!(" LIMIT {most}") };
        format!(
            "INSERT INTO {} ({names}) OVERRIDING SYSTEM VALUE SELECT {names} FROM {} WHERE \"{NUMBER}\" >= \
             {from} AND \"{NUMBER}\" < {to}{only} ORDER BY \"{NUMBER}\"{most}{}",
            self.table.sql(),
            self.name,
            if self.table.deferrable { "" } else { " ON CONFLICT DO NOTHING" }
        )
    }

    /// The statement that moves the rows of a range into the table, but for some.
    pub(crate) fn insert_all_but(&self, from: usize, to: usize, left_out: &BTreeSet<i64>) -> String {
        let numbers: Vec<String> = left_out.iter().map(ToString::to_string).collect();
        let but = match numbers.is_empty() {
            true => String::new(),
            false => format!(" AND \"{NUMBER}\" NOT IN ({})", numbers.join(", ")),
        };
        self.moving(from, to, &but, u64::MAX)
    }

    /// The numbers of the rows for which a check is false, as the server computes it.
    pub(crate) async fn refused(&self, transaction: &Transaction<'_>) -> Result<Vec<i64>> {
        let mut refused = Vec::new();
        for check in self.table.filter.iter().filter(|check| self.can_judge(check)) {
            let query = format!("SELECT \"{NUMBER}\" FROM {} WHERE ({check}) IS FALSE", self.name);
            if let Ok(rows) = attempt(transaction, transaction.query(&query, &[])).await? {
                refused.extend(rows.iter().map(|row| row.get::<_, i64>(0)));
            }
        }
        for at in self.columns.iter().filter(|at| self.table.columns[**at].not_null) {
            let column = quoted(&self.table.columns[*at].name);
            let query = format!("SELECT \"{NUMBER}\" FROM {} WHERE {column} IS NULL", self.name);
            let rows = transaction.query(&query, &[]).await.map_err(Error::database("looking for NULLs"))?;
            refused.extend(rows.iter().map(|row| row.get::<_, i64>(0)));
        }
        Ok(refused)
    }

    /// Whether the rows have all columns that a check names: one that takes its default comes later.
    fn can_judge(&self, check: &str) -> bool {
        let left_out =
            |name: &String| self.table.column(name).is_some_and(|column| !self.columns.contains(&column));
        !token::tokens(check).into_iter().flatten().any(|token| match token {
            Token::Word(name) | Token::Name(name) => left_out(&name),
            _ => false,
        })
    }

    /// Moves at most so many rows into the table, and leaves out those that the server refuses.
    pub(crate) async fn move_rows(&self, transaction: &Transaction<'_>, most: u64) -> Result<Outcome> {
        let insert = self.insert(0, self.rows, most);
        if let Ok(rows) = attempt(transaction, transaction.execute(&insert, &[])).await? {
            return Ok(Outcome { rows, refused: None });
        }
        match attempt(transaction, self.move_each(transaction, most)).await? {
            Ok(outcome) => Ok(outcome),
            // A server may be without plpgsql.
            Err(_) => self.move_halves(transaction, most).await,
        }
    }

    /// Moves row by row, on the server: each has a subtransaction of its own, and none a way over the
    /// network.
    async fn move_each(
        &self,
        transaction: &Transaction<'_>,
        most: u64,
    ) -> std::result::Result<Outcome, tokio_postgres::Error> {
        let insert = self.insert(0, self.rows, most).replacen(
            &format!("\"{NUMBER}\" >= 0 AND \"{NUMBER}\" < {}", self.rows),
            &format!("\"{NUMBER}\" = db_seeds_at"),
            1,
        );
        // Names that no column has.
        let block = format!(
            "DO LANGUAGE plpgsql $db_seeds$ DECLARE db_seeds_all bigint := 0; db_seeds_one bigint; \
             db_seeds_said text := ''; db_seeds_which text; BEGIN FOR db_seeds_at IN 0..{last} LOOP BEGIN \
             {insert}; GET DIAGNOSTICS db_seeds_one = ROW_COUNT; db_seeds_all := db_seeds_all + db_seeds_one; \
             EXIT WHEN db_seeds_all >= {most}; EXCEPTION WHEN OTHERS THEN GET STACKED DIAGNOSTICS \
             db_seeds_which = CONSTRAINT_NAME; db_seeds_said := SQLERRM || CASE WHEN db_seeds_which <> '' THEN \
             ' (constraint ' || db_seeds_which || ')' ELSE '' END; END; END LOOP; PERFORM \
             pg_catalog.set_config('db_seeds.loaded', db_seeds_all::text, true), \
             pg_catalog.set_config('db_seeds.said', db_seeds_said, true); END $db_seeds$",
            last = self.rows.saturating_sub(1),
        );
        transaction.batch_execute(&block).await?;
        let told = "SELECT pg_catalog.current_setting('db_seeds.loaded')::int8, \
                    pg_catalog.current_setting('db_seeds.said')";
        let row = transaction.query_one(told, &[]).await?;
        let said: String = row.get(1);
        let rows = u64::try_from(row.get::<_, i64>(0)).unwrap_or_default();
        Ok(Outcome { rows, refused: (!said.is_empty()).then_some(said) })
    }

    /// Moves half by half where a row is refused, down to that row.
    async fn move_halves(&self, transaction: &Transaction<'_>, most: u64) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        let (mut open, mut refusals) = (vec![(0, self.rows)], 0);
        while let Some((from, to)) = open.pop() {
            let room = most.saturating_sub(outcome.rows);
            if room == 0 {
                break;
            }
            let insert = self.insert(from, to, room);
            match attempt(transaction, transaction.execute(&insert, &[])).await? {
                Ok(rows) => outcome.rows += rows,
                Err(refused) => {
                    outcome.refused = Some(refused);
                    if to - from > 1 {
                        let middle = from + (to - from) / 2;
                        open.push((middle, to));
                        open.push((from, middle));
                    } else {
                        refusals += 1;
                        if refusals > MOST_REFUSALS {
                            break;
                        }
                    }
                }
            }
        }
        Ok(outcome)
    }
}
