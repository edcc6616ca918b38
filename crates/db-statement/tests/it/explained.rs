//! The server as the judge: the locks that it takes to plan a statement are those of the tables that it reads
//! and writes.

use std::path::Path;

use db_statement::{Table, touched};
use db_testkit::TestDatabase;
use diesel::sql_types::Text;
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

#[derive(QueryableByName)]
struct Lock {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    mode: String,
}

/// Tables, not their partitions, that this transaction has locked, and how.
const LOCKS: &str = "SELECT DISTINCT c.relname::text AS name, l.mode FROM pg_locks l JOIN pg_class c ON c.oid = l.relation \
     WHERE l.pid = pg_backend_pid() AND c.relkind IN ('r', 'p') AND NOT c.relispartition \
     AND c.relnamespace = 'public'::regnamespace ORDER BY 1, 2";

const STATEMENTS: &str = include_str!("../corpus/explained.sql");

#[tokio::test]
async fn the_server_locks_the_tables_that_the_text_says() {
    let database = TestDatabase::empty().await.unwrap();
    let mut conn = database.connect().await.unwrap();
    migrate(&mut conn).await;
    let (mut count, mut wrong) = (0, Vec::new());
    for statement in STATEMENTS.lines().filter(|line| !line.is_empty() && !line.starts_with("--")) {
        conn.batch_execute("BEGIN").await.unwrap();
        let explain = format!("EXPLAIN (VERBOSE, FORMAT JSON) {statement}");
        let explained = conn.batch_execute(&explain).await;
        explained.unwrap_or_else(|error| panic!("{statement}: {error}"));
        let locks: Vec<Lock> = sql_query(LOCKS).get_results(&mut conn).await.unwrap();
        conn.batch_execute("ROLLBACK").await.unwrap();
        let names = |is_write: bool| -> Vec<&str> {
            let wanted = |lock: &&Lock| (lock.mode == "RowExclusiveLock") == is_write;
            let mut names: Vec<&str> = locks.iter().filter(wanted).map(|lock| lock.name.as_str()).collect();
            names.dedup();
            names
        };
        let found = touched(statement);
        let ours =
            |tables: &[Table]| -> Vec<String> { tables.iter().map(|table| table.name.clone()).collect() };
        if ours(&found.reads) != names(false) || ours(&found.writes) != names(true) || !found.complete {
            wrong.push(format!(
                "{statement}\n  is {found:?}\n  reads {:?} writes {:?}",
                names(false),
                names(true)
            ));
        }
        count += 1;
    }
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count >= 40, "{count}");
}

/// The tables of the reference schema; its second group of migrations makes indexes only.
async fn migrate(conn: &mut AsyncPgConnection) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../migrations");
    let mut paths: Vec<_> = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths.iter().filter(|path| path.to_string_lossy().contains("/2026-11-02-")) {
        conn.batch_execute(&std::fs::read_to_string(path.join("up.sql")).unwrap()).await.unwrap();
    }
}
