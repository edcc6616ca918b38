//! Diesel's own table of applied migrations, so that a service can go back to diesel's CLI.

use diesel::sql_types::Text;
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

use crate::error::MigrationError;
use crate::source::Version;

/// As diesel creates it, so that both may.
const CREATE: &str = "CREATE TABLE IF NOT EXISTS __diesel_schema_migrations (\
    version VARCHAR(50) PRIMARY KEY NOT NULL, run_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP)";

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    version: String,
}

/// Creates the table where it is missing. Only under the lock: `IF NOT EXISTS` does not protect against a race.
pub(crate) async fn create(conn: &mut AsyncPgConnection) -> Result<(), MigrationError> {
    Ok(conn.batch_execute(CREATE).await?)
}

/// The applied versions in order; none where the table does not exist.
pub(crate) async fn applied(conn: &mut AsyncPgConnection) -> Result<Vec<Version>, MigrationError> {
    #[derive(QueryableByName)]
    struct Exists {
        #[diesel(sql_type = diesel::sql_types::Bool)]
        found: bool,
    }
    let exists: Exists = sql_query("SELECT to_regclass('__diesel_schema_migrations') IS NOT NULL AS found")
        .get_result(conn)
        .await?;
    if !exists.found {
        return Ok(Vec::new());
    }
    let rows: Vec<Row> = sql_query("SELECT version FROM __diesel_schema_migrations ORDER BY version")
        .get_results(conn)
        .await?;
    Ok(rows.into_iter().map(|row| Version::from_stored(row.version)).collect())
}

pub(crate) async fn record(
    conn: &mut AsyncPgConnection,
    version: &Version,
) -> Result<(), diesel::result::Error> {
    sql_query("INSERT INTO __diesel_schema_migrations (version) VALUES ($1)")
        .bind::<Text, _>(version.as_str())
        .execute(conn)
        .await?;
    Ok(())
}

pub(crate) async fn forget(
    conn: &mut AsyncPgConnection,
    version: &Version,
) -> Result<(), diesel::result::Error> {
    sql_query("DELETE FROM __diesel_schema_migrations WHERE version = $1")
        .bind::<Text, _>(version.as_str())
        .execute(conn)
        .await?;
    Ok(())
}
