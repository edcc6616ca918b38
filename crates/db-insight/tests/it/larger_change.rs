//! Materialized views and partitions: suggested where the workload shows them, and nowhere else.

use db_insight::indexes::{AdviceConfig, LargerChange, Prove, Query, advise};
use db_testkit::TestkitError;
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use serde_json::json;

use crate::shop::shop;

async fn changes(conn: &mut AsyncPgConnection, statements: &[(&str, f64)]) -> Vec<LargerChange> {
    let query = |(sql, calls): &(&str, f64)| Query {
        id: json!(sql),
        sql: (*sql).to_owned(),
        calls_per_day: Some(*calls),
        ..Query::default()
    };
    let workload: Vec<Query> = statements.iter().map(query).collect();
    let config = AdviceConfig { prove: Prove::Model, ..AdviceConfig::default() };
    advise(conn, &workload, &config).await.unwrap().larger_changes
}

async fn run(conn: &mut AsyncPgConnection, sql: &str) {
    conn.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
}

const VISITS: &str = "CREATE TABLE visits AS SELECT i AS id, i % 40 AS page, i % 7 AS visitor,
        timestamptz '2025-01-01' + (i || ' seconds')::interval AS at, i % 1000 AS spread
    FROM generate_series(1, 200000) i;
    ALTER TABLE visits ADD PRIMARY KEY (id);
    CREATE TABLE remarks (visit int REFERENCES visits (id));
    ANALYZE visits";

#[tokio::test]
async fn a_result_that_is_grouped_again_and_again_gets_a_materialized_view() -> Result<(), TestkitError> {
    let (_database, mut conn) = shop().await?;
    run(&mut conn, VISITS).await;
    let often = "SELECT page, count(*) FROM visits GROUP BY page ORDER BY 2 DESC LIMIT 10";
    let found = changes(&mut conn, &[(often, 5000.0)]).await;
    assert_eq!(found.len(), 1);
    let one = &found[0];
    assert_eq!((one.kind, one.tables.as_slice()), ("materialized_view", ["visits".to_owned()].as_slice()));
    assert!(one.gain.unwrap() > 0.9 && one.how.contains("REFRESH MATERIALIZED VIEW CONCURRENTLY"), "{one:?}");
    // The view can be made as it says, and its promise is what an hourly refresh costs.
    run(&mut conn, "CREATE MATERIALIZED VIEW pages AS SELECT page, count(*) FROM visits GROUP BY page").await;
    run(&mut conn, "CREATE UNIQUE INDEX ON pages (page)").await;
    run(&mut conn, "REFRESH MATERIALIZED VIEW CONCURRENTLY pages").await;
    for (sql, calls, why) in [
        (often, 20.0, "it is asked less than hourly"),
        (
            "SELECT page, count(*) FROM visits WHERE visitor = $1 GROUP BY page",
            5000.0,
            "another result each time",
        ),
        (
            "SELECT page, count(*) FROM visits WHERE at < now() GROUP BY page",
            5000.0,
            "it depends on the moment",
        ),
        ("SELECT spread, id FROM visits ORDER BY id LIMIT 10", 5000.0, "nothing is grouped"),
        ("SELECT id, count(*) FROM visits GROUP BY id", 5000.0, "its result is as large as the table"),
        ("SELECT v, count(*) FROM small GROUP BY v", 5000.0, "the table is small"),
        ("SELECT count(*) FROM visits WHERE random() < 0.5", 5000.0, "another result each time"),
    ] {
        assert_eq!(changes(&mut conn, &[(sql, calls)]).await, Vec::new(), "{sql}: {why}");
    }
    Ok(())
}

#[tokio::test]
async fn a_large_table_in_the_order_of_time_is_to_be_partitioned() -> Result<(), TestkitError> {
    let (_database, mut conn) = shop().await?;
    run(&mut conn, VISITS).await;
    let remove = ("DELETE FROM visits WHERE at < $1", 1.0);
    let read = ("SELECT count(*) FROM visits WHERE page = 3", 10.0);
    assert_eq!(changes(&mut conn, &[remove, read]).await, Vec::new(), "the table is small");
    // So large that the test need not fill it.
    run(&mut conn, "UPDATE pg_class SET relpages = 2000000, reltuples = 2e8 WHERE relname = 'visits'").await;
    let found = changes(&mut conn, &[remove, read]).await;
    let one = found.iter().find(|one| one.kind == "partitioning").expect("it is advised");
    assert!(one.how.starts_with("dbctl partitions convert visits --by at"), "{one:?}");
    let said = one.notes.join("; ");
    assert!(said.contains("visits_pkey must take at in") && said.contains("other tables refer"), "{said}");
    // Rows are removed by what they do not lie in the order of, and few statements read a range of time.
    let others = [
        ("DELETE FROM visits WHERE spread < $1", 1.0),
        ("SELECT 1 FROM visits WHERE at > $1 AND page = 1", 1.0),
        ("SELECT 1 FROM visits WHERE page = 1", 1.0),
        ("SELECT 1 FROM visits WHERE page = 2", 1.0),
    ];
    let found = changes(&mut conn, &others).await;
    assert!(found.iter().all(|one| one.kind != "partitioning"), "{found:?}");
    Ok(())
}
