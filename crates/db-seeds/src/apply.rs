//! Loads a planned seed set by COPY, all of it or nothing.

use std::fs;
use std::io::{Cursor, Read};
use std::path::Path;
use std::pin::pin;
use std::time::{Duration, Instant};

use futures_util::SinkExt;
use tokio_postgres::{Client, CopyInSink, Transaction};

use crate::error::{Error, Place, Result};
use crate::ledger::{self, Standing};
use crate::model::Model;
use crate::plan::{Plan, Status};
use crate::source::{Content, SeedFile, Seeds};

/// How far loading has come: reported after each piece of 64 KiB, and so at the end of each table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress<'a> {
    /// The table being loaded.
    pub table: &'a str,
    /// Its rows sent so far.
    pub rows_done: u64,
    /// Its rows in all.
    pub rows_total: u64,
}

/// What [`Seeds::apply`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Applied {
    /// The rows loaded; 0 where the set was there already.
    pub rows: u64,
    /// Whether exactly this set was there already, so that nothing was done.
    pub already: bool,
    /// How long it took, ANALYZE and COMMIT included.
    pub took: Duration,
}

/// Rows are sent in pieces of about this size; nothing else of a table is in memory.
const PIECE_BYTES: usize = 64 * 1024;

impl Seeds {
    /// Loads the set: one transaction, so that a crash or a dropped future leaves nothing behind.
    ///
    /// Foreign keys, checks and triggers are in force throughout. The statistics are brought up to date (ANALYZE) in
    /// the same transaction. Two calls at once load the set once: the second waits, then finds it there.
    pub async fn apply(
        &self,
        client: &mut Client,
        plan: &Plan,
        mut progress: impl FnMut(Progress<'_>),
    ) -> Result<Applied> {
        let begun = Instant::now();
        if plan.name != self.name || plan.checksum != self.checksum {
            return Err(Error::StalePlan { name: plan.name.clone() });
        }
        if let Status::Refused(refusal) = &plan.status {
            return Err(Error::Refused { name: self.name.clone(), refusal: refusal.clone() });
        }
        let transaction = client.transaction().await.map_err(Error::database("opening a transaction"))?;
        ledger::lock(&transaction).await?;
        // Someone may have loaded it since the plan was made.
        match ledger::standing(&transaction, plan).await? {
            Standing::New => {}
            Standing::Same { .. } => {
                return Ok(Applied { rows: 0, already: true, took: begun.elapsed() });
            }
            Standing::Other(refusal) => return Err(Error::Refused { name: self.name.clone(), refusal }),
        }
        self.prepare(&transaction).await?;
        let model = Model::new(&self.generated, plan.seed, plan.scale)?;
        let mut rows = 0;
        for file in &self.files {
            rows += match &file.content {
                Content::Csv(csv) => self.copy_csv(&transaction, file, csv.rows, &mut progress).await?,
                Content::Generated(table) => {
                    self.copy_generated(&transaction, file, &model, *table, &mut progress).await?
                }
            };
        }
        for file in &self.files {
            let analyze = format!("ANALYZE {}", quoted(&file.table));
            transaction
                .batch_execute(&analyze)
                .await
                .map_err(|error| rejected(&file.file, error, "analyzing"))?;
        }
        ledger::record(&transaction, plan, rows).await?;
        transaction.commit().await.map_err(Error::database("committing"))?;
        Ok(Applied { rows, already: false, took: begun.elapsed() })
    }

    async fn prepare(&self, transaction: &Transaction<'_>) -> Result<()> {
        let Some((file, sql)) = &self.prepare else { return Ok(()) };
        let before = transaction_id(transaction).await?;
        transaction.batch_execute(sql).await.map_err(|error| rejected(file, error, "preparing"))?;
        match transaction_id(transaction).await? == before {
            true => Ok(()),
            false => Err(Error::TransactionEnded { file: file.clone() }),
        }
    }

    async fn copy_csv(
        &self,
        transaction: &Transaction<'_>,
        file: &SeedFile,
        rows_total: u64,
        progress: &mut impl FnMut(Progress<'_>),
    ) -> Result<u64> {
        let unreadable = |source| Error::unreadable(&file.file, source);
        let mut open = fs::File::open(&file.file).map_err(unreadable)?;
        let length = open.metadata().map_err(unreadable)?.len().max(1);
        let sink = self.copy_in(transaction, file, "CSV, HEADER true").await?;
        let mut sink = pin!(sink);
        let mut sent = 0_u64;
        loop {
            let mut piece = vec![0; PIECE_BYTES];
            let read = open.read(&mut piece).map_err(unreadable)?;
            if read == 0 {
                break;
            }
            piece.truncate(read);
            sink.send(Cursor::new(piece)).await.map_err(|error| rejected(&file.file, error, "copying"))?;
            sent += read as u64;
            let rows_done = u128::from(rows_total) * u128::from(sent) / u128::from(length);
            progress(Progress {
                table: &file.table,
                rows_done: (rows_done as u64).min(rows_total),
                rows_total,
            });
        }
        sink.finish().await.map_err(|error| rejected(&file.file, error, "copying"))
    }

    async fn copy_generated(
        &self,
        transaction: &Transaction<'_>,
        file: &SeedFile,
        model: &Model<'_>,
        table: usize,
        progress: &mut impl FnMut(Progress<'_>),
    ) -> Result<u64> {
        let rows_total = model.rows(table);
        let sink = self.copy_in(transaction, file, "TEXT").await?;
        let mut sink = pin!(sink);
        let mut piece = String::with_capacity(PIECE_BYTES + 1024);
        for row in 0..rows_total {
            model.copy_row(table, row, &mut piece);
            if piece.len() >= PIECE_BYTES || row + 1 == rows_total {
                let full = std::mem::replace(&mut piece, String::with_capacity(PIECE_BYTES + 1024));
                let full = Cursor::new(full.into_bytes());
                sink.send(full).await.map_err(|error| rejected(&file.file, error, "copying"))?;
                progress(Progress { table: &file.table, rows_done: row + 1, rows_total });
            }
        }
        sink.finish().await.map_err(|error| rejected(&file.file, error, "copying"))
    }

    async fn copy_in(
        &self,
        transaction: &Transaction<'_>,
        file: &SeedFile,
        format: &str,
    ) -> Result<CopyInSink<Cursor<Vec<u8>>>> {
        let columns: Vec<String> = self.columns(file).into_iter().map(quoted).collect();
        let copy = format!(
            "COPY {} ({}) FROM STDIN WITH (FORMAT {format})",
            quoted(&file.table),
            columns.join(", ")
        );
        transaction.copy_in(&copy).await.map_err(|error| rejected(&file.file, error, "copying"))
    }
}

async fn transaction_id(transaction: &Transaction<'_>) -> Result<String> {
    let row = transaction.query_one("SELECT pg_current_xact_id()::text", &[]).await;
    Ok(row.map_err(Error::database("checking the transaction"))?.get(0))
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Gives the server's complaint the place in the set's files that it is about.
fn rejected(file: &Path, source: tokio_postgres::Error, doing: &'static str) -> Error {
    let Some(error) = source.as_db_error() else { return Error::Database { doing, source } };
    let (line, column) = error.where_().map_or((None, None), place_in_copy);
    // A generated row has a number in the stream, and no line in its spec.
    let line = line.filter(|_| file.extension().is_some_and(|extension| extension == "csv"));
    let place = Place { line, column: column.or(error.column().map(str::to_owned)), ..Place::file(file) };
    let (message, constraint) = (error.message().to_owned(), error.constraint().map(str::to_owned));
    Error::Rejected { place, message, constraint, source }
}

/// Reads line and column out of `COPY users, line 3, column id: "x"`.
fn place_in_copy(context: &str) -> (Option<u64>, Option<String>) {
    let after = |text: &str, marker: &str, end: &[char]| {
        let (_, rest) = text.split_once(marker)?;
        rest.split(end).next().map(str::to_owned)
    };
    let Some(copy) = context.lines().find(|line| line.starts_with("COPY ")) else { return (None, None) };
    let line = after(copy, ", line ", &[',', ':']).and_then(|line| line.trim().parse().ok());
    (line, after(copy, ", column ", &[',', ':']))
}

#[cfg(test)]
mod tests {
    use super::place_in_copy;

    #[test]
    fn the_servers_context_gives_line_and_column() {
        let some = |line, column: &str| (Some(line), Some(column.to_owned()));
        assert_eq!(place_in_copy("COPY users, line 3, column id: \"x\""), some(3, "id"));
        assert_eq!(place_in_copy("COPY users, line 12: \"a,b\""), (Some(12), None));
        assert_eq!(place_in_copy("SQL function \"f\" statement 1\nCOPY a, line 1, column b"), some(1, "b"));
        assert_eq!(place_in_copy("PL/pgSQL function x"), (None, None));
    }
}
