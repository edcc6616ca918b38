//! The table `db_seeds`: which sets are in this database, and in which version.
//!
//! It is found in the catalogue by its name and columns, in whatever schema it is: `search_path`, which
//! roles, databases and migrations change, decides nothing. So each name in its statements has its schema.

use tokio_postgres::{Client, GenericClient, Transaction};

use crate::error::{Error, Refusal, Result};
use crate::plan::Plan;

/// All seeding of one database goes through this lock, so that two runs at once load a set once.
const LOCK: i64 = 0x6462_5f73_6565_6473; // "db_seeds"

/// Where a new ledger is made unless a setting names another schema.
const DEFAULT_SCHEMA: &str = "public";

/// Every table of that name, whether its columns are the ledger's, and whether this role may read it.
const CANDIDATES: &str = "SELECT n.nspname::pg_catalog.text,
    c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p}'::pg_catalog.\"char\"[]) AND
    (SELECT pg_catalog.count(*) OPERATOR(pg_catalog.=) 6 FROM pg_catalog.pg_attribute AS a
        WHERE a.attrelid OPERATOR(pg_catalog.=) c.oid AND NOT a.attisdropped
        AND a.attname OPERATOR(pg_catalog.=) ANY ('{name,checksum,seed,scale,rows,applied_at}'::pg_catalog.name[])),
    pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege(c.oid, 'SELECT')
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
    WHERE c.relname OPERATOR(pg_catalog.=) 'db_seeds' AND c.relpersistence OPERATOR(pg_catalog.<>) 't'
    ORDER BY n.nspname";

/// The table, and whether it is there already.
pub(crate) struct Ledger {
    schema: String,
    table: String,
    exists: bool,
}

/// What the ledger says about a set.
pub(crate) enum Standing {
    New,
    Same { applied_at: String },
    Other(Refusal),
}

pub(crate) async fn lock(transaction: &Transaction<'_>) -> Result<()> {
    let doing = "waiting for other seeding of this database";
    let lock = "SELECT pg_catalog.pg_advisory_xact_lock($1)";
    transaction.execute(lock, &[&LOCK]).await.map_err(Error::database(doing))?;
    Ok(())
}

impl Ledger {
    /// Finds the table, or where it would be made. `wanted` is the schema that a setting names.
    pub(crate) async fn find(client: &impl GenericClient, wanted: Option<&str>) -> Result<Self> {
        let doing = "looking for the ledger db_seeds";
        let rows = client.query(CANDIDATES, &[]).await.map_err(Error::database(doing))?;
        let candidates: Vec<(String, bool, bool)> =
            rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
        let ledgers = || candidates.iter().filter(|(_, is_ledger, _)| *is_ledger).map(|(schema, ..)| schema);
        let schema = match (wanted, ledgers().count()) {
            (Some(wanted), _) => wanted.to_owned(),
            (None, 0) => DEFAULT_SCHEMA.to_owned(),
            (None, 1) => ledgers().next().cloned().unwrap_or_default(),
            (None, _) => return Err(Error::SeveralLedgers { schemas: ledgers().cloned().collect() }),
        };
        let table = format!("{}.db_seeds", quoted(&schema));
        match candidates.iter().find(|(one, ..)| *one == schema) {
            Some((_, false, _)) => Err(Error::NoLedger { table }),
            Some((_, true, false)) => Err(Error::LedgerDenied { table }),
            found => Ok(Ledger { schema, table, exists: found.is_some() }),
        }
    }

    /// Makes the table where it is missing. Only under the lock.
    pub(crate) async fn create(&self, transaction: &Transaction<'_>) -> Result<()> {
        if self.exists {
            return Ok(());
        }
        let create = format!(
            "CREATE TABLE {} (
                name pg_catalog.text NOT NULL CONSTRAINT db_seeds_pkey PRIMARY KEY,
                checksum pg_catalog.text NOT NULL,
                seed bigint NOT NULL,
                scale double precision NOT NULL,
                rows bigint NOT NULL,
                applied_at timestamp with time zone NOT NULL DEFAULT pg_catalog.clock_timestamp()
            )",
            self.table
        );
        transaction.batch_execute(&create).await.map_err(|source| match source.as_db_error() {
            Some(error) => {
                let (schema, message) = (self.schema.clone(), error.message().to_owned());
                Error::LedgerNotMade { schema, message, source }
            }
            None => Error::database("creating the ledger db_seeds")(source),
        })
    }

    /// Compares the ledger with a plan. Reads only.
    pub(crate) async fn standing(&self, client: &impl GenericClient, plan: &Plan) -> Result<Standing> {
        if !self.exists {
            return Ok(Standing::New);
        }
        let query = format!(
            "SELECT checksum, seed, scale, applied_at::pg_catalog.text FROM {} \
             WHERE name OPERATOR(pg_catalog.=) $1",
            self.table
        );
        let row = client
            .query_opt(&query, &[&plan.name])
            .await
            .map_err(Error::database("reading the ledger db_seeds"))?;
        let Some(row) = row else { return Ok(Standing::New) };
        let (checksum, seed, scale): (String, i64, f64) = (row.get(0), row.get(1), row.get(2));
        let (seed, applied_at) = (seed.cast_unsigned(), row.get(3));
        let mut differs = Vec::new();
        if checksum != plan.checksum {
            differs.push("content".to_owned());
        }
        if seed != plan.seed {
            differs.push(format!("seed {seed} -> {}", plan.seed));
        }
        if scale != plan.scale {
            differs.push(format!("scale {scale} -> {}", plan.scale));
        }
        Ok(match differs.is_empty() {
            true => Standing::Same { applied_at },
            false => Standing::Other(Refusal::Changed { differs, applied_at }),
        })
    }

    pub(crate) async fn record(&self, transaction: &Transaction<'_>, plan: &Plan, rows: u64) -> Result<()> {
        let insert = format!(
            "INSERT INTO {} (name, checksum, seed, scale, rows) VALUES ($1, $2, $3, $4, $5)",
            self.table
        );
        let rows = i64::try_from(rows).unwrap_or(i64::MAX);
        let seed = plan.seed.cast_signed();
        transaction
            .execute(&insert, &[&plan.name, &plan.checksum, &seed, &plan.scale, &rows])
            .await
            .map_err(Error::database("writing the ledger db_seeds"))?;
        Ok(())
    }
}

impl Plan {
    /// The ledger that the plan means, and what it says of the set.
    pub(crate) async fn standing(&self, client: &Client) -> Result<Standing> {
        Ledger::find(client, self.ledger_schema.as_deref()).await?.standing(client, self).await
    }
}

/// A name in double quotes: right whatever is in it.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
