//! `dbctl explain`: stored plans without a database, and statements on one.

use db_testkit::TestDatabase;
use diesel_async::SimpleAsyncConnection;
use serde_json::Value;

use crate::dbctl;

const PLAN: &str = r#"[{"Plan": {"Node Type": "Seq Scan", "Relation Name": "big", "Alias": "b", "Plan Rows": 9,
    "Actual Rows": 10, "Actual Loops": 1, "Actual Total Time": 40.0, "Total Cost": 9000.0,
    "Filter": "(customer_id = 17)", "Rows Removed by Filter": 299990}, "Execution Time": 41.0}]"#;

#[tokio::test]
async fn a_stored_plan_is_judged_without_a_database() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("plan.json");
    std::fs::write(&file, PLAN).unwrap();
    let file = file.to_str().unwrap();
    let judged = dbctl(&[], &["explain", "--plan", file, "--json"]).await;
    assert_eq!(judged.code, Some(0), "{}", judged.err);
    let judged: Value = serde_json::from_str(&judged.out).unwrap();
    let tip = &judged["tips"][0];
    assert_eq!(tip["code"], "seq_scan_filter_removes_most");
    assert_eq!((&tip["severity"], &tip["node"]), (&"warning".into(), &"Seq Scan on big b".into()));
    assert!(tip["fix"].as_str().unwrap().contains("ON big (customer_id)") && tip["evidence"].is_string());
    let text = dbctl(&[], &["explain", "--plan", file, "--exit-code"]).await;
    assert_eq!(text.code, Some(3), "{}", text.err);
    assert!(text.out.starts_with("Seq Scan on big b") && !text.out.contains("17)"), "{}", text.out);
    std::fs::write(file, "Seq Scan on big  (cost=0.00..1.00 rows=1 width=4)").unwrap();
    let refused = dbctl(&[], &["explain", "--plan", file]).await;
    assert!(refused.code == Some(1) && refused.err.contains("FORMAT JSON"), "{}", refused.err);
}

#[tokio::test]
async fn a_statement_is_explained_on_the_database_and_measured_only_where_asked() {
    let database = TestDatabase::empty().await.unwrap();
    let mut conn = database.connect().await.unwrap();
    let rows = "CREATE TABLE big AS SELECT i AS id, i AS customer_id FROM generate_series(1, 60000) i";
    conn.batch_execute(rows).await.unwrap();
    conn.batch_execute("ANALYZE big").await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("query.sql");
    std::fs::write(&file, "SELECT id FROM big WHERE customer_id = $1").unwrap();
    let (at, file) = ([("DATABASE_URL", database.url())], file.to_str().unwrap());
    let generic = dbctl(&at, &["explain", "--sql", file]).await;
    assert!(
        generic.code == Some(0) && generic.out.contains("rows expected"),
        "{}{}",
        generic.out,
        generic.err
    );
    // What can be known without running it is told, and what would come besides.
    assert!(generic.out.contains("info: seq_scan_filter_removes_most"), "{}", generic.out);
    assert!(
        generic.out.contains("ON big (customer_id)") && generic.out.contains("--analyze"),
        "{}",
        generic.out
    );
    let measured = dbctl(&at, &["explain", "--sql", file, "--analyze", "--param", "17", "--json"]).await;
    let judged: Value = serde_json::from_str(&measured.out).unwrap();
    assert_eq!(judged["tips"][0]["code"], "seq_scan_filter_removes_most", "{}", measured.out);
    std::fs::write(file, "DELETE FROM big").unwrap();
    let refused = dbctl(&at, &["explain", "--sql", file, "--analyze"]).await;
    assert!(refused.code == Some(1) && refused.err.contains("writes big"), "{}", refused.err);
}
