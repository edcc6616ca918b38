//! The table that a file of a set fills, as the server sees it once `prepare.sql` has run.

use tokio_postgres::Transaction;

use crate::error::{Error, Place, Refusal, Result};
use crate::ledger::quoted;
use crate::source::SeedFile;

/// A table, found along the session's `search_path` once: what is done with it afterwards is done with this
/// one.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) oid: u32,
    /// With its schema, quoted.
    pub(crate) name: String,
}

impl Table {
    pub(crate) async fn find(set: &str, transaction: &Transaction<'_>, file: &SeedFile) -> Result<Self> {
        let query =
            "SELECT c.oid, pg_catalog.format('%I.%I', n.nspname, c.relname) FROM pg_catalog.pg_class AS c
            JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
            WHERE c.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass($1::pg_catalog.text)";
        let found = transaction.query_opt(query, &[&quoted(&file.table)]).await;
        match found.map_err(Error::database("reading the catalog"))? {
            Some(row) => Ok(Table { oid: row.get(0), name: row.get(1) }),
            None => {
                let refusal =
                    Refusal::MissingTable { place: Place::file(&file.file), table: file.table.clone() };
                Err(Error::Refused { name: set.to_owned(), refusal })
            }
        }
    }

    /// The rows that this transaction has put into the table and the tables that inherit from it.
    pub(crate) async fn added(&self, transaction: &Transaction<'_>) -> Result<u64> {
        let query = format!(
            "SELECT pg_catalog.count(*) FROM {} WHERE xmin OPERATOR(pg_catalog.=) \
             pg_catalog.pg_current_xact_id()::pg_catalog.xid",
            self.name
        );
        let row = transaction.query_one(&query, &[]).await.map_err(Error::database("counting the rows"))?;
        Ok(u64::try_from(row.get::<_, i64>(0)).unwrap_or_default())
    }
}
