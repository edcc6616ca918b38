//! Reads the tables of a database as `schema.rs` would show them.

use diesel::sql_types::{Array, Bool, Integer, Nullable, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::{Column, ForeignKey, OwnType, Schema, Table, TableKind, joins};
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
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Nullable<Text>)]
    table_comment: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    column_name: Option<String>,
    #[diesel(sql_type = Text)]
    sql_type: String,
    #[diesel(sql_type = Nullable<Text>)]
    type_schema: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    declared: Option<String>,
    #[diesel(sql_type = Nullable<Integer>)]
    max_length: Option<i32>,
    #[diesel(sql_type = Bool)]
    nullable: bool,
    #[diesel(sql_type = Bool)]
    filled: bool,
    #[diesel(sql_type = Nullable<Text>)]
    default: Option<String>,
    #[diesel(sql_type = Bool)]
    is_identity: bool,
    #[diesel(sql_type = Nullable<Text>)]
    comment: Option<String>,
}

/// Domains are followed down to the type that the server sends; the innermost length counts.
const COLUMNS: &str = r#"WITH RECURSIVE step (domain, base, typmod, filled) AS (
    SELECT oid, typbasetype, typtypmod, typnotnull FROM pg_catalog.pg_type WHERE typtype = 'd'
    UNION ALL SELECT step.domain, t.typbasetype, greatest(step.typmod, t.typtypmod), step.filled OR t.typnotnull
    FROM step JOIN pg_catalog.pg_type t ON t.oid = step.base AND t.typtype = 'd'),
domain AS (SELECT step.* FROM step JOIN pg_catalog.pg_type t ON t.oid = step.base AND t.typtype <> 'd')
SELECT nullif(n.nspname, pg_catalog.current_schema())::text AS schema, c.relname::text AS table_name,
    ARRAY(SELECT keyed.attname::text FROM pg_catalog.pg_index i, unnest(i.indkey::smallint[]) WITH ORDINALITY AS key (number, place)
        JOIN pg_catalog.pg_attribute keyed ON keyed.attnum = number
        WHERE i.indrelid = c.oid AND i.indisprimary AND keyed.attrelid = c.oid AND place <= i.indnkeyatts ORDER BY place) AS key,
    (SELECT conname::text FROM pg_catalog.pg_constraint WHERE conrelid = c.oid AND contype = 'p') AS key_name,
    CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass
            AND d.objid = c.oid AND d.deptype = 'e') OR c.relname = ANY ($2) THEN 'kept'
        WHEN c.relkind IN ('v', 'm', 'f') THEN 'view' WHEN c.relispartition THEN 'partition' ELSE 'table' END AS kind,
    pg_catalog.obj_description(c.oid, 'pg_class') AS table_comment, a.attname::text AS column_name,
    coalesce(coalesce(element.typname, t.typname) || CASE WHEN element.oid IS NULL THEN '' ELSE '[]' END, '') AS sql_type,
    nullif(tn.nspname, pg_catalog.current_schema())::text AS type_schema,
    pg_catalog.format_type(a.atttypid, a.atttypmod) AS declared,
    CASE WHEN t.oid IN (1042, 1043) AND mod.typmod >= 4 THEN mod.typmod - 4
        WHEN t.oid IN (1560, 1562) AND mod.typmod >= 0 THEN mod.typmod END AS max_length,
    coalesce(NOT a.attnotnull AND domain.filled IS NOT true, true) AS nullable, coalesce(domain.filled, false) AS filled,
    CASE WHEN a.attidentity = '' AND a.attgenerated = '' THEN pg_catalog.pg_get_expr(ad.adbin, ad.adrelid) END AS "default",
    coalesce(a.attidentity <> '', false) AS is_identity,
    pg_catalog.col_description(c.oid, a.attnum) AS comment
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN domain ON domain.domain = a.atttypid
LEFT JOIN pg_catalog.pg_type t ON t.oid = coalesce(domain.base, a.atttypid)
LEFT JOIN pg_catalog.pg_type element ON element.oid = t.typelem AND element.typarray = t.oid
LEFT JOIN pg_catalog.pg_namespace tn ON tn.oid = coalesce(element.typnamespace, t.typnamespace)
LEFT JOIN pg_catalog.pg_attrdef ad ON ad.adrelid = c.oid AND ad.adnum = a.attnum,
LATERAL (SELECT CASE WHEN domain.domain IS NULL THEN a.atttypmod ELSE domain.typmod END) AS mod (typmod)
WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm') AND (n.nspname = pg_catalog.current_schema() OR n.nspname = ANY ($1))
ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C", a.attnum"#;

const FOREIGN_KEYS: &str = "SELECT nullif(n.nspname, pg_catalog.current_schema())::text AS schema, c.relname::text AS table_name, \
    con.conname::text AS name, nullif(other_n.nspname, pg_catalog.current_schema())::text AS other_schema, \
    other.relname::text AS other, pg_catalog.pg_get_constraintdef(con.oid) AS definition, \
    con.conparentid <> 0 AS inherited, ARRAY(SELECT attname::text FROM unnest(con.conkey) WITH ORDINALITY AS key (number, place) JOIN pg_catalog.pg_attribute \
        ON attrelid = con.conrelid AND attnum = number ORDER BY place) AS columns, \
    ARRAY(SELECT attname::text FROM unnest(con.confkey) WITH ORDINALITY AS key (number, place) JOIN pg_catalog.pg_attribute \
        ON attrelid = con.confrelid AND attnum = number ORDER BY place) AS other_columns \
    FROM pg_catalog.pg_constraint con JOIN pg_catalog.pg_class c ON c.oid = con.conrelid \
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace JOIN pg_catalog.pg_class other ON other.oid = con.confrelid \
    JOIN pg_catalog.pg_namespace other_n ON other_n.oid = other.relnamespace \
    WHERE con.contype = 'f' AND (n.nspname = pg_catalog.current_schema() OR n.nspname = ANY ($1)) \
    ORDER BY n.nspname COLLATE \"C\", c.relname COLLATE \"C\", other.relname COLLATE \"C\", con.conname COLLATE \"C\"";

const TYPES: &str = "SELECT nullif(n.nspname, pg_catalog.current_schema())::text AS schema, t.typname::text AS name \
    FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace \
    WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_type element WHERE element.typarray = t.oid)";

/// Tables that our own tools keep; those whose name begins with two underscores are left out besides.
const OURS: [&str; 1] = ["db_seeds"];

#[derive(QueryableByName)]
struct ForeignKeyRow {
    #[diesel(sql_type = Nullable<Text>)]
    schema: Option<String>,
    #[diesel(sql_type = Text)]
    table_name: String,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Nullable<Text>)]
    other_schema: Option<String>,
    #[diesel(sql_type = Text)]
    other: String,
    #[diesel(sql_type = Text)]
    definition: String,
    #[diesel(sql_type = Bool)]
    inherited: bool,
    #[diesel(sql_type = Array<Text>)]
    columns: Vec<String>,
    #[diesel(sql_type = Array<Text>)]
    other_columns: Vec<String>,
}

#[derive(QueryableByName)]
struct TypeRow {
    #[diesel(sql_type = Nullable<Text>)]
    schema: Option<String>,
    #[diesel(sql_type = Text)]
    name: String,
}

#[derive(QueryableByName)]
struct NameRow {
    #[diesel(sql_type = Text)]
    name: String,
}

impl Schema {
    /// Reads the tables of the schema that is searched first, and those of the schemas that are named.
    ///
    /// # Errors
    /// [`MigrationError::Database`].
    pub async fn read(conn: &mut AsyncPgConnection, schemas: &[&str]) -> Result<Schema, MigrationError> {
        let rows: Vec<Row> = sql_query(COLUMNS)
            .bind::<Array<Text>, _>(schemas)
            .bind::<Array<Text>, _>(OURS.as_slice())
            .get_results(conn)
            .await?;
        let mut schema = Schema::default();
        for row in rows {
            let last = schema.tables.last().map(joins::name_of);
            if last != Some((row.schema.as_deref(), &row.table_name)) {
                schema.tables.push(Table {
                    schema: row.schema,
                    name: row.table_name,
                    primary_key: row.key,
                    primary_key_name: row.key_name,
                    kind: match row.kind.as_str() {
                        "kept" => TableKind::Kept,
                        "view" => TableKind::View,
                        "partition" => TableKind::Partition,
                        _ => TableKind::Table,
                    },
                    comment: row.table_comment,
                    ..Table::default()
                });
            }
            if let (Some(name), Some(table)) = (row.column_name, schema.tables.last_mut()) {
                table.columns.push(Column {
                    name,
                    sql_type: row.sql_type,
                    type_schema: row.type_schema,
                    declared: row.declared,
                    is_filled_by_domain: row.filled,
                    max_length: row.max_length.and_then(|length| u32::try_from(length).ok()),
                    nullable: row.nullable,
                    default: row.default,
                    is_identity: row.is_identity,
                    comment: row.comment,
                });
            }
        }
        let rows: Vec<ForeignKeyRow> =
            sql_query(FOREIGN_KEYS).bind::<Array<Text>, _>(schemas).get_results(conn).await?;
        for row in rows {
            let is_it = |table: &&mut Table| table.schema == row.schema && table.name == row.table_name;
            if let Some(table) = schema.tables.iter_mut().find(is_it) {
                table.foreign_keys.push(ForeignKey {
                    name: row.name,
                    columns: row.columns,
                    schema: row.other_schema,
                    table: row.other,
                    other_columns: row.other_columns,
                    definition: row.definition,
                    is_inherited: row.inherited,
                });
            }
        }
        joins::fill(&mut schema.tables, false);
        let types: Vec<TypeRow> = sql_query(TYPES).get_results(conn).await?;
        schema.own_types =
            types.into_iter().map(|row| OwnType { schema: row.schema, name: row.name }).collect();
        let names = sql_query("SELECT nspname::text AS name FROM pg_catalog.pg_namespace");
        let names: Vec<NameRow> = names.get_results(conn).await?;
        schema.schemas = names.into_iter().map(|row| row.name).collect();
        Ok(schema)
    }
}
