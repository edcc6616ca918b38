//! Reads from the catalogue what tips want to know of a plan's tables.

use db_core::Error;
use diesel::sql_types::{Array, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use serde::Deserialize;

use crate::plan::Plan;
use crate::tips::{Catalog, ForeignKeyFacts, IndexFacts, TableFacts};

/// One statement for all tables. Names are of the catalogue, so no `search_path` changes what it reads.
const READ: &str = "
SELECT pg_catalog.json_build_object(
    'schema', n.nspname, 'name', c.relname, 'rows', c.reltuples,
    'visible', pg_catalog.pg_table_is_visible(c.oid),
    'changed', coalesce(pg_catalog.pg_stat_get_mod_since_analyze(c.oid), 0),
    'live', coalesce(pg_catalog.pg_stat_get_live_tuples(c.oid), 0),
    'analyzed', EXISTS (SELECT FROM pg_catalog.pg_statistic s WHERE s.starelid = c.oid),
    'columns', (SELECT coalesce(pg_catalog.json_object_agg(a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod)), '{}')
        FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
    'indexes', (SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_object(
            'name', ic.relname, 'method', am.amname, 'valid', i.indisvalid,
            'predicate', pg_catalog.pg_get_expr(i.indpred, i.indrelid),
            'keys', (SELECT pg_catalog.json_agg(pg_catalog.pg_get_indexdef(i.indexrelid, k, true) ORDER BY k)
                FROM pg_catalog.generate_series(1, i.indnkeyatts) k))), '[]')
        FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class ic ON ic.oid = i.indexrelid
        JOIN pg_catalog.pg_am am ON am.oid = ic.relam WHERE i.indrelid = c.oid),
    'keys', (SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_object(
            'name', f.conname, 'table', f.conrelid::regclass::text,
            'columns', (SELECT pg_catalog.json_agg(a.attname ORDER BY k.at)
                FROM pg_catalog.unnest(f.conkey) WITH ORDINALITY k(num, at)
                JOIN pg_catalog.pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = k.num),
            'indexed', EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = f.conrelid AND i.indisvalid
                AND i.indpred IS NULL AND (SELECT pg_catalog.bool_and(k.num = ANY (f.conkey))
                    FROM pg_catalog.unnest(i.indkey::int2[]) WITH ORDINALITY k(num, at)
                    WHERE k.at <= pg_catalog.cardinality(f.conkey))
                AND i.indnkeyatts >= pg_catalog.cardinality(f.conkey)))), '[]')
        FROM pg_catalog.pg_constraint f WHERE f.contype = 'f' AND c.oid IN (f.conrelid, f.confrelid))
)::text AS table
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relname = ANY ($1) AND c.relkind IN ('r', 'p', 'm', 'f') AND n.nspname <> 'pg_catalog'";

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    table: String,
}

#[derive(Deserialize)]
struct Table {
    schema: String,
    name: String,
    rows: f64,
    visible: bool,
    changed: f64,
    live: f64,
    analyzed: bool,
    columns: std::collections::BTreeMap<String, String>,
    indexes: Vec<Index>,
    keys: Vec<Key>,
}

#[derive(Deserialize)]
struct Index {
    name: String,
    method: String,
    valid: bool,
    predicate: Option<String>,
    keys: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Key {
    name: String,
    table: String,
    columns: Option<Vec<String>>,
    indexed: bool,
}

/// What the catalogue says of the plan's tables, and of those whose triggers it ran.
///
/// # Errors
/// What the server says; the connection's loss.
pub async fn read_catalog(conn: &mut AsyncPgConnection, plan: &Plan) -> Result<Catalog, Error> {
    let of_nodes = plan.nodes.iter().filter_map(|node| node.relation.clone());
    let mut names: Vec<String> =
        of_nodes.chain(plan.triggers.iter().filter_map(|trigger| trigger.relation.clone())).collect();
    names.sort_unstable();
    names.dedup();
    let rows: Vec<Row> = sql_query(READ).bind::<Array<Text>, _>(names).load(conn).await?;
    let mut tables: Vec<Table> = Vec::with_capacity(rows.len());
    for row in rows {
        tables.push(serde_json::from_str(&row.table).map_err(|error| Error::Value(Box::new(error)))?);
    }
    let mut catalog = Catalog::default();
    let is_hidden = |table: &Table, all: &[Table]| {
        !table.visible && all.iter().any(|other| other.visible && other.name == table.name)
    };
    let hidden: Vec<bool> = tables.iter().map(|table| is_hidden(table, &tables)).collect();
    for (table, hidden) in tables.into_iter().zip(hidden) {
        // A plan without VERBOSE names no schema: then the one is meant that the session sees.
        if !hidden || plan.nodes.iter().any(|node| node.schema.as_deref() == Some(&table.schema)) {
            let (schema, name) = (table.schema.clone(), table.name.clone());
            catalog.insert(&schema, &name, facts(table));
        }
    }
    Ok(catalog)
}

fn facts(table: Table) -> TableFacts {
    let index = |index: Index| IndexFacts {
        name: index.name,
        method: index.method,
        is_valid: index.valid,
        keys: index.keys.unwrap_or_default(),
        predicate: index.predicate,
    };
    let key = |key: Key| ForeignKeyFacts {
        name: key.name,
        columns: key.columns.unwrap_or_default(),
        table: key.table,
        has_index: key.indexed,
    };
    TableFacts {
        columns: table.columns,
        indexes: table.indexes.into_iter().map(index).collect(),
        foreign_keys: table.keys.into_iter().map(key).collect(),
        rows: table.rows,
        changed_since_analyze: table.changed,
        was_analyzed: table.analyzed,
        live_rows: table.live,
    }
}
