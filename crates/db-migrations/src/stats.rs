//! How large the tables of a database are: what a check needs to say what a lock would mean there.

use diesel::sql_types::{BigInt, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use serde::{Deserialize, Serialize};

use crate::error::MigrationError;

/// The sizes of a database's tables, as the server last counted them: no data, and no names but those of
/// tables.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Stats {
    /// The server's version, as it says it.
    pub server_version: String,
    /// Every table, partitioned table and materialized view.
    pub tables: Vec<TableStats>,
}

/// The size of one table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, QueryableByName)]
pub struct TableStats {
    /// Its name with its schema, quoted where it must be.
    #[diesel(sql_type = Text)]
    pub table: String,
    /// Rows, as ANALYZE or VACUUM estimated them; of a partitioned table, those of its partitions.
    #[diesel(sql_type = BigInt)]
    pub rows: i64,
    /// Bytes of the table and its TOAST.
    #[diesel(sql_type = BigInt)]
    pub bytes: i64,
    /// Bytes of its indexes.
    #[diesel(sql_type = BigInt)]
    pub index_bytes: i64,
}

const TABLES: &str = "SELECT format('%I.%I', nspname, whole.relname) AS \"table\", \
    sum(CASE WHEN leaf.reltuples >= 0 THEN leaf.reltuples ELSE coalesce(n_live_tup, 0) END)::bigint AS rows, \
    sum(pg_table_size(leaf.oid))::bigint AS bytes, sum(pg_indexes_size(leaf.oid))::bigint AS index_bytes \
    FROM (SELECT oid, relname, relnamespace, coalesce((SELECT array_agg(relid::oid) FROM pg_partition_tree(pg_class.oid) \
    WHERE isleaf AND relkind = 'p'), ARRAY[oid]) AS leaves FROM pg_class WHERE relkind IN ('r', 'p', 'm')) AS whole \
    JOIN pg_namespace ON pg_namespace.oid = relnamespace JOIN LATERAL (SELECT pg_class.oid, reltuples FROM pg_class \
    WHERE pg_class.oid = ANY (leaves)) AS leaf ON true LEFT JOIN pg_stat_all_tables ON relid = leaf.oid \
    WHERE nspname <> 'information_schema' AND nspname !~ '^pg_' AND NOT starts_with(whole.relname, '__db_migrations') \
    AND whole.relname <> '__diesel_schema_migrations' GROUP BY 1 ORDER BY 1";

#[derive(QueryableByName)]
struct Version {
    #[diesel(sql_type = Text)]
    version: String,
}

impl Stats {
    /// Reads the sizes. Takes no lock that anyone waits for and reads no row of any table.
    ///
    /// # Errors
    /// [`MigrationError::Database`].
    pub async fn read(conn: &mut AsyncPgConnection) -> Result<Self, MigrationError> {
        let version: Version =
            sql_query("SELECT current_setting('server_version') AS version").get_result(conn).await?;
        Ok(Stats { server_version: version.version, tables: sql_query(TABLES).get_results(conn).await? })
    }
}
