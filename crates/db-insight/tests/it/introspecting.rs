//! What is introspected is what the catalogue holds.

use db_insight::introspect::{ConstraintKind, Introspection, TableKind, introspect};
use db_testkit::Cluster;
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};

use crate::introspected::{introspected, make_reference_schema};

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

async fn is_whole(conn: &mut AsyncPgConnection) -> Introspection {
    let (found, differences) = introspected(conn).await;
    assert_eq!(differences, Vec::<String>::new());
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

#[tokio::test]
async fn the_reference_schema_is_introspected_whole() {
    let cluster = Cluster::builder().start().await.unwrap();
    let mut conn = cluster.connect(0).await.unwrap();
    make_reference_schema(&mut conn).await;
    let found = is_whole(&mut conn).await;
    assert!(found.tables.len() > 20 && found.relations.len() > 5, "{:?}", found.relations.len());
}
