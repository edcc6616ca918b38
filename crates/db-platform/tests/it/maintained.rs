//! A service keeps its partitions beside its work, and its checks say how they are.

use std::time::Duration;

use db_core::CheckStatus;
use db_platform::maintenance::routine::Routine;
use db_platform::{Config, Db};
use db_testkit::{TestDatabase, until};
use diesel_async::SimpleAsyncConnection as _;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_makes_the_partitions_that_will_be_needed_and_says_how_they_are() {
    let database = TestDatabase::empty().await.unwrap();
    let mut conn = database.connect().await.unwrap();
    let sql = "CREATE TABLE events (at timestamptz NOT NULL) PARTITION BY RANGE (at)";
    conn.batch_execute(sql).await.unwrap();
    let policy = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(policy.path(), "[[set]]\ntable = \"public.events\"\nevery = \"month\"\n").unwrap();
    let path = policy.path().to_str().unwrap();
    let vars = [("DATABASE_URL", database.url()), ("APP_ENV", "test"), ("PARTITION_POLICY", path)];
    let vars = vars.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let db = Db::connect(Config::from_vars(vars).unwrap()).await.unwrap();
    // The job runs at once, and then at its times.
    let checks = || {
        let all = db.part_checks().into_iter();
        all.filter(|check| check.id == "partitions").collect::<Vec<_>>()
    };
    until("the first run", async || !checks().is_empty()).await;
    assert_eq!(checks()[0].status, CheckStatus::Ok, "{:?}", checks());
    conn.batch_execute("INSERT INTO events VALUES (now())").await.unwrap();

    let report = db.cleanup_partitions().await.unwrap();
    assert!(report.is_led && report.is_well() && report.sets[0].done.is_empty(), "{}", report.summary());
    // What is bloated the statistics say: nobody names it.
    for sql in [
        "CREATE TABLE swollen (id int PRIMARY KEY, body text) WITH (autovacuum_enabled = off)",
        "INSERT INTO swollen SELECT n, repeat(md5(n::text), 3) FROM generate_series(1, 90000) n; \
         DELETE FROM swollen WHERE id % 3 <> 0",
        "VACUUM (ANALYZE, TRUNCATE off) swollen",
    ] {
        conn.batch_execute(sql).await.unwrap();
    }
    let done = db.maintain(&Routine::default()).await.unwrap();
    assert!(done.routine.is_led && done.routine.failed.is_empty(), "{done:?}");
    let compacted = done.routine.done.iter().any(|done| done.starts_with("compact public.swollen: "));
    assert!(compacted, "{done:?}");
    let _ = db.shutdown(Duration::from_secs(5)).await;
}
