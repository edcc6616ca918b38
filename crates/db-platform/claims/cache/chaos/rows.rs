//! The statements on the rows, each of which counts how often it was written.

use db_platform::Result;
use diesel::sql_types::BigInt;
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

/// Rows, each with its version.
pub(super) type Versions = Vec<(i64, i64)>;

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = BigInt)]
    version: i64,
}

/// Two rows, in one snapshot.
pub(super) async fn of_pair(conn: &mut AsyncPgConnection, (first, second): (i64, i64)) -> Result<Versions> {
    let rows = sql_query("SELECT id, version FROM rows WHERE id IN ($1, $2)");
    let rows = rows.bind::<BigInt, _>(first).bind::<BigInt, _>(second);
    Ok(versions(rows.get_results(conn).await?))
}

pub(super) async fn all(conn: &mut AsyncPgConnection) -> Result<Versions> {
    Ok(versions(sql_query("SELECT id, version FROM rows").get_results(conn).await?))
}

/// Writes a row, and answers with its new version.
pub(super) async fn next_version(conn: &mut AsyncPgConnection, row: i64) -> Result<i64> {
    let sql = sql_query("UPDATE rows SET version = version + 1 WHERE id = $1 RETURNING id, version");
    Ok(sql.bind::<BigInt, _>(row).get_result::<Row>(conn).await?.version)
}

fn versions(rows: Vec<Row>) -> Versions {
    rows.into_iter().map(|row| (row.id, row.version)).collect()
}
