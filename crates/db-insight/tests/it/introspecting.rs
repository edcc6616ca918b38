//! What is introspected is what the catalogue holds.

use db_insight::introspect::{ConstraintKind, Introspection, TableKind, introspect};
use db_testkit::Cluster;
use diesel::QueryableByName;
use diesel::sql_query;
use diesel::sql_types::Text;
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

/// Everything that introspection is about, once each.
const SHOP: &str = r#"
    CREATE SCHEMA "Odd Shop";
    CREATE DOMAIN "Odd Shop".cents AS int CHECK (VALUE >= 0);
    CREATE TABLE customers (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, email text COLLATE "C" NOT NULL,
        born date DEFAULT CURRENT_DATE, shout text GENERATED ALWAYS AS (upper(email)) STORED,
        CONSTRAINT sane CHECK (email <> '' AND born > '1900-01-01'));
    COMMENT ON TABLE customers IS 'who buys';
    COMMENT ON COLUMN customers.email IS 'as they typed it';
    CREATE UNIQUE INDEX customers_email ON customers (lower(email) text_pattern_ops) INCLUDE (born) WHERE id > 0;
    CREATE TABLE "Odd Shop"."Or""der" (id bigint PRIMARY KEY, customer int UNIQUE REFERENCES customers ON DELETE CASCADE,
        paid "Odd Shop".cents, during tstzrange, EXCLUDE USING gist (during WITH &&) DEFERRABLE);
    CREATE TABLE events (at timestamptz NOT NULL, id bigint, customer int REFERENCES customers,
        PRIMARY KEY (at, id)) PARTITION BY RANGE (at);
    CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM ('2025-01-01') TO ('2025-02-01');
    CREATE VIEW grown_ups AS SELECT id FROM customers WHERE born < '2000-01-01';
    CREATE MATERIALIZED VIEW counted AS SELECT count(*) AS n FROM customers;
    INSERT INTO customers (email) SELECT 'a' || i FROM generate_series(1, 5000) i;
    ANALYZE customers;
"#;

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    line: String,
}

/// What the server itself prints of all that is there, by other ways than those of introspection.
const BY_THE_SERVER: &str = r#"
    SELECT format('column %s.%s.%s %s %s', table_schema, table_name, column_name, ordinal_position - (
            SELECT count(*) FROM pg_attribute a WHERE a.attisdropped AND a.attnum < ordinal_position AND a.attrelid =
                format('%I.%I', table_schema, table_name)::regclass), is_nullable) AS line
        FROM information_schema.columns WHERE table_schema NOT IN ('information_schema', 'pg_catalog')
    UNION ALL SELECT format('index %s.%s.%s %s', schemaname, tablename, indexname, indexdef) FROM pg_indexes
        WHERE schemaname NOT IN ('information_schema', 'pg_catalog')
    UNION ALL SELECT format('constraint %s.%s %s', conrelid::regclass, conname, pg_get_constraintdef(oid))
        FROM pg_constraint WHERE conrelid <> 0 AND contype <> 'n' AND contype <> 't'
        AND connamespace NOT IN (SELECT oid FROM pg_namespace WHERE nspname IN ('information_schema', 'pg_catalog'))
    ORDER BY 1"#;

async fn lines(conn: &mut AsyncPgConnection) -> Vec<String> {
    let lines: Vec<Line> = sql_query(BY_THE_SERVER).get_results(conn).await.unwrap();
    lines.into_iter().map(|one| one.line).collect()
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
        for (at, column) in
            table.columns.iter().enumerate().filter(|_| table.kind != TableKind::MaterializedView)
        {
            let nullable = if column.nullable { "YES" } else { "NO" };
            lines.push(format!("column {schema}.{name}.{} {} {nullable}", column.name, at + 1));
        }
        for index in &table.indexes {
            lines.push(format!("index {schema}.{name}.{} {}", index.name, index.definition));
        }
        for one in &table.constraints {
            lines.push(format!("constraint {}.{} {}", shown.line, one.name, one.definition));
        }
    }
    lines.sort();
    lines
}

async fn is_whole(conn: &mut AsyncPgConnection) -> Introspection {
    let found = introspect(conn).await.unwrap();
    let mut wanted = lines(conn).await;
    wanted.sort();
    assert_eq!(told(conn, &found).await, wanted);
    let text = serde_json::to_string(&found).unwrap();
    assert_eq!(serde_json::from_str::<Introspection>(&text).unwrap(), found);
    found
}

#[tokio::test]
async fn everything_in_the_catalogue_is_introspected_on_each_version() {
    for version in [15, 16, 17, 18] {
        let cluster = Cluster::builder().version(version).start().await.unwrap();
        let mut conn = cluster.connect(0).await.unwrap();
        conn.batch_execute(SHOP).await.unwrap();
        let found = is_whole(&mut conn).await;
        assert_eq!(found.server_version / 10_000, i64::from(version));

        let customers = found.table("public", "customers").unwrap();
        assert_eq!((customers.kind, customers.estimated_rows), (TableKind::Table, Some(5000.0)));
        assert_eq!(customers.comment.as_deref(), Some("who buys"));
        let sizes = customers.sizes;
        assert!(sizes.rows >= 5000 * 32 && sizes.indexes > 0, "{sizes:?}");
        assert_eq!(sizes.total, sizes.rows + sizes.toast + sizes.indexes);
        let [id, email, born, shout] = customers.columns.as_slice() else { panic!("{customers:?}") };
        assert_eq!((id.identity.as_deref(), id.nullable), (Some("always"), false));
        assert_eq!(
            (email.collation.as_deref(), email.comment.as_deref()),
            (Some("\"C\""), Some("as they typed it"))
        );
        assert_eq!(born.default.as_deref(), Some("CURRENT_DATE"));
        assert_eq!((shout.generated.as_deref(), &shout.default), (Some("upper(email)"), &None));
        let index = customers.indexes.iter().find(|one| one.name == "customers_email").unwrap();
        assert_eq!(
            (index.keys.as_slice(), index.include.as_slice()),
            (&["lower(email)".to_owned()][..], &["born".to_owned()][..])
        );
        assert_eq!(index.predicate.as_deref(), Some("(id > 0)"));

        let order = found.table("Odd Shop", "Or\"der").unwrap();
        assert!(order.constraints.iter().any(|one| one.kind == ConstraintKind::Exclusion && one.deferrable));
        let part = found.table("public", "events_1").unwrap();
        assert_eq!(part.partition_of.as_deref(), Some("public.events"));
        assert!(part.partition_bound.as_deref().unwrap().starts_with("FOR VALUES FROM"));
        assert_eq!(found.table("public", "events").unwrap().partition_key.as_deref(), Some("RANGE (at)"));
        let relations: Vec<_> = found
            .relations
            .iter()
            .map(|one| (one.table.as_str(), one.on_delete.as_str(), one.one_to_one))
            .collect();
        assert_eq!(
            relations,
            [("\"Odd Shop\".\"Or\"\"der\"", "cascade", true), ("public.events", "no action", false)]
        );
    }
}

#[tokio::test]
async fn a_role_without_rights_introspects_the_same() {
    let cluster = Cluster::builder().start().await.unwrap();
    let mut conn = cluster.connect(0).await.unwrap();
    conn.batch_execute(SHOP).await.unwrap();
    let whole = introspect(&mut conn).await.unwrap();
    conn.batch_execute("CREATE ROLE nobody_much; SET ROLE nobody_much").await.unwrap();
    assert_eq!(introspect(&mut conn).await.unwrap(), whole);
}
