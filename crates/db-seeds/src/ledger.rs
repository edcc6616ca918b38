//! The table `db_seeds`: which sets are in this database, and in which version.

use tokio_postgres::{GenericClient, Transaction};

use crate::error::{Error, Refusal, Result};
use crate::plan::Plan;

/// All seeding of one database goes through this lock, so that two runs at once load a set once.
const LOCK: i64 = 0x6462_5f73_6565_6473; // "db_seeds"

/// What the ledger says about a set.
pub(crate) enum Standing {
    New,
    Same { applied_at: String },
    Other(Refusal),
}

pub(crate) async fn lock(transaction: &Transaction<'_>) -> Result<()> {
    let doing = "waiting for other seeding of this database";
    transaction
        .execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK])
        .await
        .map_err(Error::database(doing))?;
    let create = "CREATE TABLE IF NOT EXISTS db_seeds (
        name text NOT NULL CONSTRAINT db_seeds_pkey PRIMARY KEY,
        checksum text NOT NULL,
        seed bigint NOT NULL,
        scale double precision NOT NULL,
        rows bigint NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
    )";
    match exists(transaction).await? {
        true => Ok(()),
        false => {
            transaction.batch_execute(create).await.map_err(Error::database("creating the ledger db_seeds"))
        }
    }
}

/// Compares the ledger with a plan. Reads only.
pub(crate) async fn standing(client: &impl GenericClient, plan: &Plan) -> Result<Standing> {
    if !exists(client).await? {
        return Ok(Standing::New);
    }
    let query = "SELECT checksum, seed, scale, applied_at::text FROM db_seeds WHERE name = $1";
    let row = client
        .query_opt(query, &[&plan.name])
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

pub(crate) async fn record(transaction: &Transaction<'_>, plan: &Plan, rows: u64) -> Result<()> {
    let insert = "INSERT INTO db_seeds (name, checksum, seed, scale, rows) VALUES ($1, $2, $3, $4, $5)";
    let rows = i64::try_from(rows).unwrap_or(i64::MAX);
    let seed = plan.seed.cast_signed();
    transaction
        .execute(insert, &[&plan.name, &plan.checksum, &seed, &plan.scale, &rows])
        .await
        .map_err(Error::database("writing the ledger db_seeds"))?;
    Ok(())
}

async fn exists(client: &impl GenericClient) -> Result<bool> {
    let doing = "looking for the ledger db_seeds";
    let row = client.query_one("SELECT to_regclass('db_seeds') IS NOT NULL", &[]).await;
    Ok(row.map_err(Error::database(doing))?.get(0))
}
