//! Loads a planned seed set by COPY, all of it or nothing.

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::{Duration, Instant};

use futures_util::SinkExt;
use tokio_postgres::{Client, CopyInSink, IsolationLevel, Transaction};

use crate::csv_file::{self, CsvReader};
use crate::error::{Error, Place, Result};
use crate::ledger::{self, Ledger, Standing};
use crate::model::Model;
use crate::plan::{Plan, Status};
use crate::sequences;
use crate::source::{Content, SeedFile, Seeds};
use crate::table::Table;

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
    /// Foreign keys, checks and triggers are in force throughout. What the server counted must be what the
    /// files have ([`Error::Miscounted`]); sequences are moved past the loaded values, and the statistics are
    /// brought up to date (ANALYZE) in the same transaction. Two calls at once load the set once: the second
    /// waits, then finds it there.
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
        if plan.environment.is_none() {
            return Err(Error::Nowhere { name: self.name.clone() });
        }
        if let Status::Refused(refusal) = &plan.status {
            return Err(Error::Refused { name: self.name.clone(), refusal: refusal.clone() });
        }
        // A snapshot that is older than the lock would not see what was loaded meanwhile.
        let builder = client.build_transaction().isolation_level(IsolationLevel::ReadCommitted);
        let transaction = builder.start().await.map_err(Error::database("opening a transaction"))?;
        ledger::lock(&transaction).await?;
        let ledger = Ledger::find(&transaction, plan.ledger_schema.as_deref()).await?;
        ledger.create(&transaction).await?;
        // Someone may have loaded it since the plan was made.
        match ledger.standing(&transaction, plan).await? {
            Standing::New => {}
            Standing::Same { .. } => {
                return Ok(Applied { rows: 0, already: true, took: begun.elapsed() });
            }
            Standing::Other(refusal) => return Err(Error::Refused { name: self.name.clone(), refusal }),
        }
        run_script(&transaction, self.prepare.as_ref(), "preparing").await?;
        let model = Model::new(&self.generated, plan.seed, plan.scale)?;
        let (mut rows, mut tables) = (0, Vec::new());
        for file in &self.files {
            let table = Table::find(&self.name, &transaction, file).await?;
            let (sent, counted) = match &file.content {
                Content::Csv(csv) => {
                    self.copy_csv(&transaction, file, &table, csv.rows, &mut progress).await?
                }
                Content::Generated(spec) => {
                    self.copy_generated(&transaction, file, &table, (&model, *spec), &mut progress).await?
                }
            };
            rows += self.check_count(&transaction, plan, file, &table, (sent, counted)).await?;
            tables.push((file, table));
        }
        run_script(&transaction, self.finish.as_ref(), "finishing").await?;
        for (file, table) in &tables {
            let analyze = format!("ANALYZE {}", table.name);
            transaction
                .batch_execute(&analyze)
                .await
                .map_err(|error| rejected(&file.file, error, "analyzing"))?;
        }
        self.move_sequences(&transaction, &tables).await?;
        ledger.record(&transaction, plan, rows).await?;
        transaction.commit().await.map_err(Error::database("committing"))?;
        Ok(Applied { rows, already: false, took: begun.elapsed() })
    }

    /// The plan's rows, the rows that were sent and the rows that the server took must be the same number.
    async fn check_count(
        &self,
        transaction: &Transaction<'_>,
        plan: &Plan,
        file: &SeedFile,
        table: &Table,
        (sent, counted): (u64, u64),
    ) -> Result<u64> {
        let planned = plan.tables.iter().find(|one| one.table == file.table).map_or(sent, |one| one.rows);
        // A trigger may have put the rows into other tables of the same family, where the server does not
        // count them.
        let counted = if counted == sent { counted } else { table.added(transaction).await? };
        if planned == sent && sent == counted {
            return Ok(counted);
        }
        let (place, table) = (Place::file(&file.file), file.table.clone());
        Err(Error::Miscounted { place, table, planned, sent, counted })
    }

    /// Our own statements mean the server's functions; what is deferred to COMMIT finds the path as it was.
    async fn move_sequences(
        &self,
        transaction: &Transaction<'_>,
        tables: &[(&SeedFile, Table)],
    ) -> Result<()> {
        let path = transaction.query_one("SELECT pg_catalog.current_setting('search_path')", &[]).await;
        let path: String = path.map_err(Error::database("reading search_path"))?.get(0);
        let set_path = async |path: &str| {
            let set = "SELECT pg_catalog.set_config('search_path', $1, true)";
            let set = transaction.execute(set, &[&path]).await;
            set.map_err(Error::database("setting search_path")).map(|_| ())
        };
        set_path("pg_catalog, pg_temp").await?;
        for (file, table) in tables {
            let moved = sequences::move_past(transaction, table, &self.columns(file)).await;
            moved.map_err(|error| rejected(&file.file, error, "moving sequences past the loaded rows"))?;
        }
        set_path(&path).await
    }

    /// Returns how many rows were sent, and how many the server took.
    async fn copy_csv(
        &self,
        transaction: &Transaction<'_>,
        file: &SeedFile,
        table: &Table,
        rows_total: u64,
        progress: &mut impl FnMut(Progress<'_>),
    ) -> Result<(u64, u64)> {
        let mut reader = CsvReader::open(&file.file)?;
        // The columns were read when the set was opened.
        reader.header()?;
        let sink = self.copy_in(transaction, file, table).await?;
        let mut sink = pin!(sink);
        let (mut piece, mut sent) = (String::with_capacity(PIECE_BYTES + 1024), 0);
        loop {
            let record = reader.record()?;
            let end = record.is_none();
            if let Some(record) = record {
                record.copy_into(&mut piece);
                sent += 1;
            }
            if piece.len() >= PIECE_BYTES || (end && !piece.is_empty()) {
                let full = std::mem::replace(&mut piece, String::with_capacity(PIECE_BYTES + 1024));
                let full = Cursor::new(full.into_bytes());
                sink.send(full).await.map_err(|error| rejected(&file.file, error, "copying"))?;
                progress(Progress { table: &file.table, rows_done: sent, rows_total });
            }
            if end {
                let counted = sink.finish().await.map_err(|error| rejected(&file.file, error, "copying"))?;
                return Ok((sent, counted));
            }
        }
    }

    async fn copy_generated(
        &self,
        transaction: &Transaction<'_>,
        file: &SeedFile,
        table: &Table,
        (model, spec): (&Model<'_>, usize),
        progress: &mut impl FnMut(Progress<'_>),
    ) -> Result<(u64, u64)> {
        let rows_total = model.rows(spec);
        let sink = self.copy_in(transaction, file, table).await?;
        let mut sink = pin!(sink);
        let mut piece = String::with_capacity(PIECE_BYTES + 1024);
        for row in 0..rows_total {
            model.copy_row(spec, row, &mut piece);
            if piece.len() >= PIECE_BYTES || row + 1 == rows_total {
                let full = std::mem::replace(&mut piece, String::with_capacity(PIECE_BYTES + 1024));
                let full = Cursor::new(full.into_bytes());
                sink.send(full).await.map_err(|error| rejected(&file.file, error, "copying"))?;
                progress(Progress { table: &file.table, rows_done: row + 1, rows_total });
            }
        }
        let counted = sink.finish().await.map_err(|error| rejected(&file.file, error, "copying"))?;
        Ok((rows_total, counted))
    }

    async fn copy_in(
        &self,
        transaction: &Transaction<'_>,
        file: &SeedFile,
        table: &Table,
    ) -> Result<CopyInSink<Cursor<Vec<u8>>>> {
        let columns: Vec<String> = self.columns(file).into_iter().map(ledger::quoted).collect();
        let copy = format!("COPY {} ({}) FROM STDIN WITH (FORMAT TEXT)", table.name, columns.join(", "));
        transaction.copy_in(&copy).await.map_err(|error| rejected(&file.file, error, "copying"))
    }
}

/// Runs a script of the set, which must leave the transaction as it is.
async fn run_script(
    transaction: &Transaction<'_>,
    script: Option<&(PathBuf, String)>,
    doing: &'static str,
) -> Result<()> {
    let Some((file, sql)) = script else { return Ok(()) };
    let before = transaction_id(transaction).await?;
    transaction.batch_execute(sql).await.map_err(|error| rejected(file, error, doing))?;
    match transaction_id(transaction).await? == before {
        true => Ok(()),
        false => Err(Error::TransactionEnded { file: file.clone() }),
    }
}

async fn transaction_id(transaction: &Transaction<'_>) -> Result<String> {
    let row = transaction.query_one("SELECT pg_catalog.pg_current_xact_id()::pg_catalog.text", &[]).await;
    Ok(row.map_err(Error::database("checking the transaction"))?.get(0))
}

/// Gives the server's complaint the place in the set's files that it is about.
fn rejected(file: &Path, source: tokio_postgres::Error, doing: &'static str) -> Error {
    let Some(error) = source.as_db_error() else { return Error::Database { doing, source } };
    let (line, column) = error.where_().map_or((None, None), place_in_copy);
    // The server counts rows. A generated row has no line in its spec, and one of a CSV file may have
    // several.
    let csv = file.extension().is_some_and(|extension| extension == "csv");
    let line = line.filter(|_| csv).and_then(|row| csv_file::line_of_row(file, row));
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
