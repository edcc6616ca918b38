//! Reads the tables of a database as `schema.rs` would show them.

use diesel::sql_types::{Array, Bool, Integer, Nullable, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::{Column, Reference, Schema, Table};
use crate::error::MigrationError;

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Nullable<Text>)]
    schema: Option<String>,
    #[diesel(sql_type = Text)]
    table_name: String,
    #[diesel(sql_type = Array<Text>)]
    key: Vec<String>,
    #[diesel(sql_type = Nullable<Text>)]
    key_name: Option<String>,
    #[diesel(sql_type = Bool)]
    is_view: bool,
    #[diesel(sql_type = Nullable<Text>)]
    column_name: Option<String>,
    #[diesel(sql_type = Text)]
    sql_type: String,
    #[diesel(sql_type = Nullable<Integer>)]
    max_length: Option<i32>,
    #[diesel(sql_type = Bool)]
    nullable: bool,
    #[diesel(sql_type = Nullable<Text>)]
    default: Option<String>,
}

/// Partitions, what belongs to extensions and the runner's own tables are no tables of the application.
const COLUMNS: &str = "SELECT nullif(nspname, current_schema())::text AS schema, relname::text AS table_name, \
    coalesce((SELECT array_agg(keyed.attname::text ORDER BY place) FROM pg_index, unnest(indkey) WITH ORDINALITY AS key (number, place) \
    JOIN pg_attribute AS keyed ON keyed.attnum = number WHERE indrelid = pg_class.oid AND indisprimary \
    AND keyed.attrelid = pg_class.oid), '{}') AS key, \
    (SELECT conname::text FROM pg_constraint WHERE conrelid = pg_class.oid AND contype = 'p') AS key_name, \
    relkind IN ('v', 'm') AS is_view, attname::text AS column_name, \
    coalesce(CASE WHEN typcategory = 'A' THEN (SELECT element.typname || '[]' FROM pg_type AS element \
    WHERE element.oid = pg_type.typelem) ELSE pg_type.typname::text END, '') AS sql_type, \
    CASE WHEN pg_type.typname IN ('varchar', 'bpchar') AND atttypmod > 4 THEN atttypmod - 4 END AS max_length, \
    coalesce(NOT attnotnull, true) AS nullable, CASE WHEN attidentity = '' AND attgenerated = '' \
    THEN pg_get_expr(adbin, adrelid) END AS \"default\" \
    FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace \
    LEFT JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped \
    LEFT JOIN pg_type ON pg_type.oid = atttypid \
    LEFT JOIN pg_attrdef ON adrelid = pg_class.oid AND adnum = attnum \
    WHERE relkind IN ('r', 'p', 'f', 'v', 'm') AND NOT relispartition \
    AND (nspname = current_schema() OR nspname = ANY ($1)) AND relname !~ '^__(diesel_schema|db)_migrations' \
    AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = pg_class.oid AND deptype = 'e') \
    ORDER BY nspname, relname, attnum";

/// Foreign keys of one column to another table's primary key, as far as `joinable!` has them: not to the table itself, and
/// not where there are several between the two.
const REFERENCES: &str = "SELECT nullif(n.nspname, current_schema())::text AS schema, c.relname::text AS table_name, \
    a.attname::text AS column_name, other.relname::text AS other, con.conname::text AS name \
    FROM pg_constraint con JOIN pg_class c ON c.oid = con.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
    JOIN pg_class other ON other.oid = con.confrelid \
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = con.conkey[1] \
    JOIN pg_index i ON i.indrelid = other.oid AND i.indisprimary AND i.indnkeyatts = 1 AND i.indkey[0] = con.confkey[1] \
    WHERE con.contype = 'f' AND con.conparentid = 0 AND array_length(con.conkey, 1) = 1 AND other.oid <> c.oid \
    AND (n.nspname = current_schema() OR n.nspname = ANY ($1)) AND NOT c.relispartition AND NOT EXISTS (SELECT FROM \
    pg_constraint again WHERE again.contype = 'f' AND again.oid <> con.oid AND again.conrelid = con.conrelid \
    AND again.confrelid = con.confrelid) ORDER BY 1, 2, 3";

#[derive(QueryableByName)]
struct ReferenceRow {
    #[diesel(sql_type = Nullable<Text>)]
    schema: Option<String>,
    #[diesel(sql_type = Text)]
    table_name: String,
    #[diesel(sql_type = Text)]
    column_name: String,
    #[diesel(sql_type = Text)]
    other: String,
    #[diesel(sql_type = Text)]
    name: String,
}

#[derive(QueryableByName)]
struct TypeRow {
    #[diesel(sql_type = Text)]
    name: String,
}

impl Schema {
    /// Reads the tables of the schema that is searched first, and those of the schemas that are named.
    ///
    /// # Errors
    /// [`MigrationError::Database`].
    pub async fn read(conn: &mut AsyncPgConnection, schemas: &[&str]) -> Result<Schema, MigrationError> {
        let rows: Vec<Row> = sql_query(COLUMNS).bind::<Array<Text>, _>(schemas).get_results(conn).await?;
        let mut schema = Schema::default();
        for row in rows {
            let last = schema.tables.last().map(|table| (table.schema.as_deref(), table.name.as_str()));
            if last != Some((row.schema.as_deref(), &row.table_name)) {
                schema.tables.push(Table {
                    schema: row.schema,
                    name: row.table_name,
                    primary_key: row.key,
                    primary_key_name: row.key_name,
                    is_view: row.is_view,
                    ..Table::default()
                });
            }
            if let (Some(name), Some(table)) = (row.column_name, schema.tables.last_mut()) {
                table.columns.push(Column {
                    name,
                    sql_type: row.sql_type,
                    max_length: row.max_length.and_then(|length| u32::try_from(length).ok()),
                    nullable: row.nullable,
                    default: row.default,
                });
            }
        }
        let rows: Vec<ReferenceRow> =
            sql_query(REFERENCES).bind::<Array<Text>, _>(schemas).get_results(conn).await?;
        for row in rows {
            let is_it = |table: &&mut Table| table.schema == row.schema && table.name == row.table_name;
            if let Some(table) = schema.tables.iter_mut().find(is_it) {
                let (column, constraint) = (row.column_name, Some(row.name));
                table.references.push(Reference { column, table: row.other, constraint });
            }
        }
        let types = sql_query("SELECT DISTINCT typname::text AS name FROM pg_type WHERE typcategory <> 'A'");
        let types: Vec<TypeRow> = types.get_results(conn).await?;
        schema.own_types = types.into_iter().map(|row| row.name).collect();
        Ok(schema)
    }
}
