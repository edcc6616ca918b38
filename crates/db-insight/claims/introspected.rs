//! Holds what introspection says against what the server prints by other ways, for each object of a database.

use std::collections::BTreeSet;
use std::path::Path;

use db_insight::introspect::{Introspection, TableKind, introspect};
use diesel::sql_types::Text;
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    line: String,
}

/// What the server itself prints of all that is there, but for what belongs to extensions.
const BY_THE_SERVER: &str = r#"
    WITH foreign_ones AS (SELECT objid FROM pg_depend WHERE deptype = 'e' AND classid = 'pg_class'::regclass)
    SELECT format('column %s.%s.%s %s %s', table_schema, table_name, column_name, ordinal_position - (
            SELECT count(*) FROM pg_attribute a WHERE a.attisdropped AND a.attnum < ordinal_position AND a.attrelid =
                format('%I.%I', table_schema, table_name)::regclass), is_nullable) AS line
        FROM information_schema.columns WHERE table_schema NOT IN ('information_schema', 'pg_catalog')
        AND format('%I.%I', table_schema, table_name)::regclass NOT IN (SELECT objid FROM foreign_ones)
    UNION ALL SELECT format('index %s.%s.%s %s', schemaname, tablename, indexname, indexdef) FROM pg_indexes
        WHERE schemaname NOT IN ('information_schema', 'pg_catalog')
        AND format('%I.%I', schemaname, tablename)::regclass NOT IN (SELECT objid FROM foreign_ones)
    UNION ALL SELECT format('constraint %s.%s %s', conrelid::regclass, conname, pg_get_constraintdef(oid))
        FROM pg_constraint WHERE conrelid <> 0 AND contype <> 'n' AND contype <> 't'
        AND connamespace NOT IN (SELECT oid FROM pg_namespace WHERE nspname IN ('information_schema', 'pg_catalog'))
    UNION ALL SELECT format('relation %s %s', conrelid::regclass, conname) FROM pg_constraint
        WHERE contype = 'f' AND conparentid = 0
    UNION ALL SELECT format('size %s.%s %s', n.nspname, c.relname, pg_total_relation_size(c.oid))
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'm')
        AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND c.oid NOT IN (SELECT objid FROM foreign_ones)"#;

/// What is introspected, and where it differs from what the server prints, or from itself once it was JSON.
pub(crate) async fn introspected(conn: &mut AsyncPgConnection) -> (Introspection, Vec<String>) {
    let found = introspect(conn).await.unwrap();
    let wanted: Vec<Line> = sql_query(BY_THE_SERVER).get_results(conn).await.unwrap();
    let wanted: BTreeSet<String> = wanted.into_iter().map(|one| one.line).collect();
    let told: BTreeSet<String> = told(conn, &found).await.into_iter().collect();
    let mut differences: Vec<String> = wanted.symmetric_difference(&told).cloned().collect();
    let text = serde_json::to_string(&found).unwrap();
    if serde_json::from_str::<Introspection>(&text).unwrap() != found {
        differences.push("it is another one once it was JSON".to_owned());
    }
    (found, differences)
}

/// The same lines, from the typed value.
async fn told(conn: &mut AsyncPgConnection, found: &Introspection) -> Vec<String> {
    let mut lines = Vec::new();
    for table in &found.tables {
        let (schema, name) = (&table.schema, &table.name);
        let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        let regclass = format!("SELECT '{}.{}'::regclass::text AS line", quoted(schema), quoted(name));
        let shown: Line = sql_query(regclass).get_result(conn).await.unwrap();
        // Materialized views are not in information_schema.
        let is_told = table.kind != TableKind::MaterializedView;
        for (at, column) in table.columns.iter().enumerate().filter(|_| is_told) {
            let nullable = if column.nullable { "YES" } else { "NO" };
            lines.push(format!("column {schema}.{name}.{} {} {nullable}", column.name, at + 1));
        }
        for index in &table.indexes {
            lines.push(format!("index {schema}.{name}.{} {}", index.name, index.definition));
        }
        for one in &table.constraints {
            lines.push(format!("constraint {}.{} {}", shown.line, one.name, one.definition));
        }
        if matches!(table.kind, TableKind::Table | TableKind::MaterializedView) {
            lines.push(format!("size {schema}.{name} {}", table.sizes.total));
        }
    }
    for one in &found.relations {
        let shown: Line = sql_query(format!("SELECT '{}'::regclass::text AS line", one.table))
            .get_result(conn)
            .await
            .unwrap();
        lines.push(format!("relation {} {}", shown.line, one.name));
    }
    lines
}

/// The tables of this project's migrations.
pub(crate) async fn make_reference_schema(conn: &mut AsyncPgConnection) {
    let migrations = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../migrations");
    let entries = std::fs::read_dir(migrations).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.map(|path| path.join("up.sql")).filter(|path| path.is_file()).collect();
    files.sort();
    for file in files {
        let up = std::fs::read_to_string(&file).unwrap();
        conn.batch_execute(&up).await.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }
}
