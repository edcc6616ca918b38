//! What the catalogue says of the table: its key, its columns, and what forbids to fill it in batches.

use diesel::sql_types::{Array, BigInt, Bool, Nullable, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::definition::Backfill;
use super::error::BackfillError;
use crate::location::quoted;

/// The table, and the key by which its rows are visited.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    /// With its schema, quoted.
    pub(crate) name: String,
    /// The key's columns in order, quoted.
    pub(crate) key: Vec<String>,
    /// Their types.
    pub(crate) types: Vec<String>,
    /// How many rows the server believes there are; none where it was never counted.
    pub(crate) rows: Option<i64>,
    /// Its size with its partitions, in bytes.
    pub(crate) bytes: i64,
    /// The triggers that each row of a batch fires.
    pub(crate) triggers: Vec<String>,
}

#[derive(QueryableByName)]
struct Found {
    #[diesel(sql_type = BigInt)]
    oid: i64,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Bool)]
    secured: bool,
    #[diesel(sql_type = Bool)]
    ruled: bool,
    #[diesel(sql_type = BigInt)]
    rows: i64,
    #[diesel(sql_type = BigInt)]
    bytes: i64,
    #[diesel(sql_type = Array<Text>)]
    triggers: Vec<String>,
}

const FOUND: &str = "SELECT c.oid::bigint AS oid, format('%I.%I', nspname, relname) AS name, relkind::text \
    AS kind, \
    row_security_active(c.oid) AS secured, \
    EXISTS (SELECT FROM pg_catalog.pg_rewrite WHERE ev_class = c.oid AND ev_type = '2') AS ruled, \
    CASE WHEN relkind = 'p' THEN (SELECT CASE WHEN bool_or(p.reltuples < 0) THEN -1 ELSE sum(p.reltuples) \
    END \
    FROM pg_catalog.pg_partition_tree(c.oid) AS tree JOIN pg_catalog.pg_class AS p ON p.oid = tree.relid \
    WHERE tree.isleaf) ELSE reltuples END::bigint AS rows, \
    coalesce((SELECT sum(pg_catalog.pg_table_size(tree.relid)) FROM pg_catalog.pg_partition_tree(c.oid) AS \
    tree), \
    pg_catalog.pg_table_size(c.oid))::bigint AS bytes, \
    ARRAY(SELECT tgname::text FROM pg_catalog.pg_trigger WHERE tgrelid = c.oid AND NOT tgisinternal \
    AND tgenabled <> 'D' AND tgtype::int & 16 <> 0 ORDER BY 1) AS triggers \
    FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = relnamespace \
    WHERE c.oid = to_regclass($1)";

#[derive(QueryableByName)]
struct KeyColumn {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    kind: String,
}

/// The primary key, else the narrowest unique index over columns that are never NULL.
const KEY: &str = "SELECT a.attname::text AS name, format_type(a.atttypid, a.atttypmod) AS kind \
    FROM (SELECT i.indexrelid, i.indrelid, i.indkey, i.indnkeyatts FROM pg_catalog.pg_index AS i \
    JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid JOIN pg_catalog.pg_am AS am ON am.oid = c.relam \
    WHERE i.indrelid = $1::oid AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL \
    AND i.indexprs IS NULL AND am.amname = 'btree' AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute AS n \
    WHERE n.attrelid = i.indrelid AND n.attnum = ANY (i.indkey) AND NOT n.attnotnull) \
    ORDER BY i.indisprimary DESC, i.indnkeyatts, i.indexrelid LIMIT 1) AS one, \
    generate_series(0, one.indnkeyatts - 1) AS place, pg_catalog.pg_attribute AS a \
    WHERE a.attrelid = one.indrelid AND a.attnum = one.indkey[place] ORDER BY place";

#[derive(QueryableByName)]
struct Column {
    #[diesel(sql_type = Nullable<Text>)]
    generated: Option<String>,
}

impl Table {
    /// Finds the backfill's table, or says why it cannot be filled.
    pub(crate) async fn find(
        conn: &mut AsyncPgConnection,
        backfill: &Backfill,
    ) -> Result<Table, BackfillError> {
        let found: Vec<Found> = sql_query(FOUND).bind::<Text, _>(&backfill.table).get_results(conn).await?;
        let Some(found) = found.into_iter().next() else {
            return Err(BackfillError::NoTable { table: backfill.table.clone() });
        };
        let refused = |reason: &str| {
            Err(BackfillError::Refused { table: found.name.clone(), reason: reason.to_owned() })
        };
        match found.kind.as_str() {
            "r" | "p" => {}
            "v" => return refused("it is a view; name the table below it"),
            "f" => return refused("it is a foreign table; fill it on its own server"),
            _ => return refused("it is no table"),
        }
        if found.secured {
            return refused(
                "row security hides rows from this role, which would stay unfilled; take a role with \
                    BYPASSRLS",
            );
        }
        if found.ruled {
            return refused("a rule rewrites its updates; drop the rule, or make it a trigger");
        }
        let key: Vec<KeyColumn> = sql_query(KEY).bind::<BigInt, _>(found.oid).get_results(conn).await?;
        if key.is_empty() {
            return refused(
                "it has no primary key, and no unique index over columns that are NOT NULL: batches go by \
                    key; \
                 add one with CREATE UNIQUE INDEX CONCURRENTLY",
            );
        }
        for fill in &backfill.fills {
            refuse_column(conn, &found, &key, &fill.column).await?;
        }
        if backfill.fills.is_empty() {
            return Err(BackfillError::NothingToFill);
        }
        Ok(Table {
            name: found.name,
            key: key.iter().map(|column| quoted(&column.name)).collect(),
            types: key.into_iter().map(|column| column.kind).collect(),
            rows: (found.rows >= 0).then_some(found.rows),
            bytes: found.bytes,
            triggers: found.triggers,
        })
    }
}

async fn refuse_column(
    conn: &mut AsyncPgConnection,
    table: &Found,
    key: &[KeyColumn],
    column: &str,
) -> Result<(), BackfillError> {
    let found: Vec<Column> = sql_query(
        "SELECT CASE WHEN attgenerated <> '' THEN 'generated' WHEN attidentity = 'a' THEN 'identity' END AS \
            generated \
         FROM pg_catalog.pg_attribute WHERE attrelid = $1::oid AND attname = $2 AND attnum > 0 AND NOT \
         attisdropped",
    )
    .bind::<BigInt, _>(table.oid)
    .bind::<Text, _>(column)
    .get_results(conn)
    .await?;
    let found = found.into_iter().next();
    let reason = match found.as_ref().map(|column| column.generated.as_deref()) {
        None => "does not exist",
        Some(Some(_)) => "is made by the server: it cannot be written",
        Some(None) if key.iter().any(|one| one.name == column) => {
            "is part of the key by which rows are visited: a row that moves would be visited twice, or never"
        }
        Some(None) => return Ok(()),
    };
    Err(BackfillError::Column { table: table.name.clone(), column: column.to_owned(), reason })
}
