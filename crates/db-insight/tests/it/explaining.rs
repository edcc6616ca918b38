//! Plans that are asked for: of diesel's queries, of texts with parameters, and measured without a trace.

use db_insight::{
    ExplainConfig, ExplainError, Refused, Severity, TipCode, explain, explain_analyze, explain_text,
    read_catalog, tips_with,
};
use db_testkit::{Cluster, TestDatabase};
use diesel::prelude::*;
use diesel::sql_query;
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

diesel::table! { orders (id) { id -> Integer, customer_id -> Integer, note -> Text, } }

const SCHEMA: [&str; 5] = [
    "CREATE TABLE customers (id int PRIMARY KEY)",
    "CREATE TABLE orders (id int PRIMARY KEY, customer_id int NOT NULL REFERENCES customers, note varchar(40) NOT NULL,
     at timestamptz NOT NULL DEFAULT now())",
    "INSERT INTO customers SELECT i FROM generate_series(1, 100) i",
    "INSERT INTO orders SELECT i, 1 + i % 100, 'n' || i FROM generate_series(1, 30000) i",
    "CREATE SEQUENCE s; ANALYZE",
];

async fn server(major: u16) -> (Cluster, AsyncPgConnection) {
    let cluster = Cluster::builder().version(major).setting("autovacuum", "off").start().await.unwrap();
    let mut conn = cluster.connect(0).await.unwrap();
    for statement in SCHEMA {
        conn.batch_execute(statement).await.unwrap();
    }
    (cluster, conn)
}

#[tokio::test]
async fn a_text_with_parameters_has_a_plan_on_every_version() {
    for major in [15, 18] {
        let (_cluster, mut conn) = server(major).await;
        let config = ExplainConfig::default();
        for sql in [
            "SELECT * FROM orders WHERE customer_id = $1 AND note LIKE $2;",
            "SELECT count(*) FROM orders WHERE at > now() - interval $1",
            "SELECT count(*) FROM orders WHERE extract($1 FROM at) = $2",
            "UPDATE orders SET note = $1 WHERE id = $2",
        ] {
            let plan = explain_text(&mut conn, sql, &config)
                .await
                .unwrap_or_else(|error| panic!("{major}: {sql}: {error}"));
            assert!(!plan.is_analyzed(), "{sql}");
        }
        let left: i64 = left_behind(&mut conn).await;
        assert_eq!(left, 0, "prepared statements are left on {major}");
        let query = orders::table.filter(orders::customer_id.eq(17)).select(orders::id);
        assert_eq!(explain(&mut conn, query).await.unwrap().label(0), "Seq Scan on orders");
        let measured = explain_analyze(&mut conn, query).await.unwrap();
        assert_eq!(measured.nodes[0].total_rows(), 300.0);
        let tips = tips_with(&measured, &read_catalog(&mut conn, &measured).await.unwrap());
        let tip = tips.iter().find(|tip| tip.code == TipCode::SeqScanFilterRemovesMost).unwrap();
        assert_eq!(tip.fix, "CREATE INDEX CONCURRENTLY ON orders (customer_id)");
    }
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    n: i64,
}

async fn left_behind(conn: &mut AsyncPgConnection) -> i64 {
    let sql = "SELECT count(*) AS n FROM pg_prepared_statements WHERE name LIKE 'dbp_explain%'";
    sql_query(sql).get_result::<Number>(conn).await.unwrap().n
}

#[tokio::test]
async fn measuring_changes_nothing_and_refuses_what_would() {
    let (_cluster, mut conn) = server(18).await;
    let analyze = ExplainConfig { analyze: true, ..ExplainConfig::default() };
    let refused = [
        "DELETE FROM orders",
        "SELECT * FROM orders FOR UPDATE",
        "SELECT nextval('s')",
        "SELECT pg_advisory_lock(7)",
        "SELECT 1; DELETE FROM orders",
        "SELECT * FROM orders WHERE id = $1",
    ];
    for sql in refused {
        let error = explain_text(&mut conn, sql, &analyze).await.unwrap_err();
        assert!(matches!(error, ExplainError::Refused(_)), "{sql}: {error}");
    }
    let error = explain_analyze(&mut conn, diesel::delete(orders::table)).await.unwrap_err();
    assert!(matches!(error, ExplainError::Refused(Refused::Writes(_))), "{error}");
    // A function that writes is stopped by the server: the transaction only reads.
    let function = "CREATE FUNCTION sly() RETURNS int LANGUAGE sql AS 'DELETE FROM orders; SELECT 1'";
    conn.batch_execute(function).await.unwrap();
    assert!(explain_text(&mut conn, "SELECT sly()", &analyze).await.is_err());
    let writes = ExplainConfig { writes_too: true, ..analyze.clone() };
    let plan = explain_text(&mut conn, "DELETE FROM orders WHERE id > 10", &writes).await.unwrap();
    assert!(plan.is_analyzed());
    let with_value = ExplainConfig { parameters: vec!["17".to_owned()], ..analyze };
    let plan =
        explain_text(&mut conn, "SELECT * FROM orders WHERE customer_id = $1", &with_value).await.unwrap();
    assert_eq!(plan.nodes[0].total_rows(), 300.0);
    let left: Number = sql_query("SELECT count(*) AS n FROM orders").get_result(&mut conn).await.unwrap();
    assert_eq!((left.n, left_behind(&mut conn).await), (30_000, 0));
}

#[tokio::test]
async fn what_estimates_and_the_catalogue_say_is_told_without_running() {
    let database = TestDatabase::empty().await.unwrap();
    let mut conn = database.connect().await.unwrap();
    conn.batch_execute(
        "CREATE TABLE parents (id int PRIMARY KEY, name text);
         CREATE TABLE children (id int PRIMARY KEY, parent int REFERENCES parents, kind int);
         INSERT INTO parents SELECT i, 'n' || i FROM generate_series(1, 20000) i;
         INSERT INTO children SELECT i, i % 20000 + 1, i % 5000 FROM generate_series(1, 60000) i",
    )
    .await
    .unwrap();
    let codes = async |conn: &mut AsyncPgConnection, sql: &str| {
        let plan = explain_text(conn, sql, &ExplainConfig::default()).await.unwrap();
        let catalog = read_catalog(conn, &plan).await.unwrap();
        let tips = tips_with(&plan, &catalog);
        assert!(tips.iter().all(|tip| tip.severity == Severity::Info), "{tips:?}");
        tips.iter().map(|tip| tip.code).collect::<Vec<_>>()
    };
    let filtered = "SELECT * FROM children WHERE kind = 7";
    conn.batch_execute("SELECT pg_stat_force_next_flush()").await.unwrap();
    conn.batch_execute("SELECT 1").await.unwrap();
    assert!(codes(&mut conn, filtered).await.contains(&TipCode::StaleStatistics));
    conn.batch_execute("ANALYZE parents, children").await.unwrap();
    assert_eq!(codes(&mut conn, filtered).await, [TipCode::SeqScanFilterRemovesMost]);
    assert_eq!(codes(&mut conn, "DELETE FROM parents WHERE id = 7").await, [TipCode::MissingFkIndex]);
    let nested = "SELECT * FROM parents p JOIN children c ON c.kind + p.id = 7";
    assert!(codes(&mut conn, nested).await.contains(&TipCode::NestedLoopExplosion));
    assert_eq!(codes(&mut conn, "SELECT * FROM children WHERE id = 7").await, []);
    assert_eq!(codes(&mut conn, "SELECT kind FROM children WHERE kind > 7").await, []);
}
