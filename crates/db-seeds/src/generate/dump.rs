//! Writes the rows of a database as a set of seeds that [`Seeds`](crate::Seeds) loads.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::pin::pin;

use futures_util::TryStreamExt as _;
use tokio_postgres::{Client, IsolationLevel, Transaction};

use super::catalog::{Catalog, Table};
use super::order::Order;
use super::path::{own_path, restore_path};
use crate::error::{Error, Result};
use crate::ledger::quoted;
use crate::source::is_plain;

/// What [`dump`] wrote.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dumped {
    /// The files, in the order in which they are loaded.
    pub files: Vec<PathBuf>,
    /// The rows in them.
    pub rows: u64,
    /// Tables with rows that no file holds, each with the reason.
    pub left_out: Vec<String>,
}

/// Writes every row of these schemas (all where there are none) into a directory, which must be empty or not
/// there yet: `seed.toml`, and a CSV file for each table, referred-to tables first.
///
/// All files show one moment. Generated columns are left out, because the server computes them.
///
/// # Errors
/// [`Error::Unreadable`] where the directory cannot be written or holds files, and [`Error::Database`].
///
/// ```no_run
/// # async fn dump(client: &mut tokio_postgres::Client) -> db_seeds::Result<()> {
/// let dumped = db_seeds::dump(client, "seeds/example".as_ref(), &[]).await?;
/// println!("{} rows in {} files", dumped.rows, dumped.files.len());
/// # Ok(())
/// # }
/// ```
pub async fn dump(client: &mut Client, dir: &Path, schemas: &[String]) -> Result<Dumped> {
    fs::create_dir_all(dir).map_err(|source| Error::unreadable(dir, source))?;
    let builder = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true);
    let transaction = builder.start().await.map_err(Error::database("opening a transaction"))?;
    let path = own_path(&transaction).await?;
    let catalog = Catalog::read(&transaction).await?;
    restore_path(&transaction, &path).await?;
    let mut writer = Writer::new(&transaction, &catalog, dir)?;
    for at in Order::of(&catalog).groups.iter().flatten() {
        if schemas.is_empty() || schemas.contains(&catalog.tables[*at].schema) {
            writer.write_table(*at).await?;
        }
    }
    writer.finish("rows of a database").await
}

/// Writes the files of a set, one for each table, in the order in which they are loaded.
pub(crate) struct Writer<'a> {
    transaction: &'a Transaction<'a>,
    catalog: &'a Catalog,
    dir: &'a Path,
    dumped: Dumped,
    tables: Vec<usize>,
}

impl<'a> Writer<'a> {
    /// The directory must be empty.
    pub(crate) fn new(transaction: &'a Transaction<'a>, catalog: &'a Catalog, dir: &'a Path) -> Result<Self> {
        let unwritable = |source| Error::unreadable(dir, source);
        if fs::read_dir(dir).map_err(unwritable)?.next().is_some() {
            let source = std::io::Error::new(std::io::ErrorKind::AlreadyExists, "it is not empty");
            return Err(unwritable(source));
        }
        Ok(Writer { transaction, catalog, dir, dumped: Dumped::default(), tables: Vec::new() })
    }

    /// The file of a table; `None` where a set cannot name it.
    async fn file(&self, at: usize) -> Result<Option<PathBuf>> {
        let table = &self.catalog.tables[at];
        let found = "SELECT pg_catalog.to_regclass($1::pg_catalog.text)::pg_catalog.oid";
        let found = self.transaction.query_one(found, &[&quoted(&table.name)]).await;
        let found: Option<u32> = found.map_err(Error::database("reading the catalog"))?.get(0);
        let loads = is_plain(&table.name) && found == Some(table.oid) && !table.columns.is_empty();
        let width = self.catalog.tables.len().to_string().len().max(2);
        let name = format!("{:0width$}_{}.csv", self.tables.len() + 1, table.name);
        Ok(loads.then(|| self.dir.join(name)))
    }

    /// Writes all rows of a table.
    async fn write_table(&mut self, at: usize) -> Result<()> {
        let file = self.file(at).await?;
        let rows = write(self.transaction, &self.catalog.tables[at], file.as_ref()).await?;
        self.note(at, file, rows);
        Ok(())
    }

    /// Writes rows that are in memory.
    pub(crate) async fn write_rows(&mut self, at: usize, rows: &[Vec<Option<String>>]) -> Result<()> {
        let file = self.file(at).await?;
        if let (Some(file), false) = (&file, rows.is_empty()) {
            let columns = self.catalog.tables[at].columns.iter().map(|column| in_csv(Some(&column.name)));
            let mut text = columns.collect::<Vec<_>>().join(",");
            for row in rows {
                text.push('\n');
                let cells = row.iter().map(|cell| in_csv(cell.as_deref()));
                text.push_str(&cells.collect::<Vec<_>>().join(","));
            }
            text.push('\n');
            fs::write(file, text).map_err(|source| Error::unreadable(file, source))?;
        }
        self.note(at, file, rows.len() as u64);
        Ok(())
    }

    fn note(&mut self, at: usize, file: Option<PathBuf>, rows: u64) {
        let table = &self.catalog.tables[at];
        match file {
            _ if rows == 0 => {}
            Some(file) => {
                self.dumped.files.push(file);
                self.dumped.rows += rows;
                self.tables.push(at);
            }
            None => self.dumped.left_out.push(format!(
                "{}.{}: a set's files are for tables on the search_path with names of small letters",
                table.schema, table.name
            )),
        }
    }

    /// Writes `seed.toml`, and what lets tables that refer to each other in a circle load.
    pub(crate) async fn finish(self, description: &str) -> Result<Dumped> {
        let unwritable = |source| Error::unreadable(self.dir, source);
        let now = "SELECT pg_catalog.to_char(pg_catalog.now() AT TIME ZONE 'UTC', 'YYYY-MM-DD')";
        let day = self.transaction.query_one(now, &[]).await;
        let day: String = day.map_err(Error::database("asking for the time"))?.get(0);
        let toml = format!("description = \"{description}\"\nseed = 0\nanchor = \"{day}T00:00:00Z\"\n");
        fs::write(self.dir.join("seed.toml"), toml).map_err(unwritable)?;
        let oids: Vec<u32> = self.tables.iter().map(|at| self.catalog.tables[*at].oid).collect();
        let rows =
            self.transaction.query(LATER, &[&oids]).await.map_err(Error::database("reading the catalog"))?;
        // A reference to a table whose file comes later is checked at the end.
        let place = |oid: u32| oids.iter().position(|one| *one == oid);
        let later = rows.iter().filter(|row| place(row.get(0)) < place(row.get(1)));
        let later: Vec<(String, bool)> = later.map(|row| (row.get(2), row.get(3))).collect();
        if later.is_empty() {
            return Ok(self.dumped);
        }
        let all = |what: &dyn Fn(bool) -> &'static str| {
            let each =
                later.iter().map(|(constraint, deferrable)| format!("{constraint} {};\n", what(*deferrable)));
            each.collect::<String>()
        };
        let begin = all(&|_| "DEFERRABLE INITIALLY DEFERRED");
        let end =
            all(&|deferrable| if deferrable { "DEFERRABLE INITIALLY IMMEDIATE" } else { "NOT DEFERRABLE" });
        fs::write(self.dir.join("prepare.sql"), begin).map_err(unwritable)?;
        fs::write(self.dir.join("finish.sql"), format!("SET CONSTRAINTS ALL IMMEDIATE;\n{end}"))
            .map_err(unwritable)?;
        Ok(self.dumped)
    }
}

/// The foreign keys between tables of a set: who refers to whom, and the start of the statement that alters
/// one.
const LATER: &str = "SELECT k.conrelid, k.confrelid, pg_catalog.format('ALTER TABLE %s ALTER CONSTRAINT %I',
        k.conrelid::pg_catalog.regclass, k.conname), k.condeferrable
    FROM pg_catalog.pg_constraint AS k
    WHERE k.contype OPERATOR(pg_catalog.=) 'f' AND NOT k.condeferred
        AND k.conparentid OPERATOR(pg_catalog.=) 0::pg_catalog.oid
        AND k.conrelid OPERATOR(pg_catalog.=) ANY ($1::pg_catalog.oid[])
        AND k.confrelid OPERATOR(pg_catalog.=) ANY ($1::pg_catalog.oid[])
    ORDER BY k.conrelid, k.conname";

/// A field of CSV: NULL is empty, everything else stands in quotes.
fn in_csv(cell: Option<&str>) -> String {
    cell.map_or_else(String::new, |text| format!("\"{}\"", text.replace('"', "\"\"")))
}

/// Writes the rows of a table in the order of its first key, and counts them. A file without rows is not
/// kept.
async fn write(transaction: &Transaction<'_>, table: &Table, file: Option<&PathBuf>) -> Result<u64> {
    let Some(file) = file else {
        let count = format!("SELECT pg_catalog.count(*) FROM {}", table.sql());
        let row = transaction.query_one(&count, &[]).await.map_err(Error::database("counting rows"))?;
        return Ok(u64::try_from(row.get::<_, i64>(0)).unwrap_or_default());
    };
    let columns: Vec<String> = table.columns.iter().map(|column| quoted(&column.name)).collect();
    let order = table.uniques.first().map(|unique| {
        let places: Vec<String> = unique.columns.iter().map(|column| (column + 1).to_string()).collect();
        format!(" ORDER BY {}", places.join(", "))
    });
    let copy = format!(
        "COPY (SELECT {} FROM {}{}) TO STDOUT WITH (FORMAT csv, HEADER)",
        columns.join(", "),
        table.sql(),
        order.unwrap_or_default()
    );
    let unwritable = |source| Error::unreadable(file, source);
    let mut out = std::io::BufWriter::new(fs::File::create(file).map_err(unwritable)?);
    let stream = transaction.copy_out(&copy).await.map_err(Error::database("copying a table out"))?;
    let mut stream = pin!(stream);
    let mut rows: u64 = 0;
    // Each message of the protocol is one row; the first is the header.
    while let Some(piece) = stream.try_next().await.map_err(Error::database("copying a table out"))? {
        out.write_all(&piece).map_err(unwritable)?;
        rows += 1;
    }
    out.flush().map_err(unwritable)?;
    let rows = rows.saturating_sub(1);
    if rows == 0 {
        fs::remove_file(file).map_err(unwritable)?;
    }
    Ok(rows)
}
