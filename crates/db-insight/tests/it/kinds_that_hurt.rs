//! What hurts users of other advisors: each kind on a real server.

use std::collections::BTreeMap;

use db_insight::indexes::{Advice, AdviceConfig, Prove, Query, advise};
use db_insight::{ExplainConfig, explain_text};
use db_testkit::{Cluster, TestkitError, skip};
use diesel::QueryableByName;
use diesel::sql_query;
use diesel::sql_types::Text;
use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use serde_json::json;

use crate::served::{SERVED, UNDO};
use crate::shop::{advice, shop};

fn indexes(advice: &Advice) -> Vec<&str> {
    advice.suggestions.iter().map(|one| one.index.as_str()).collect()
}

async fn make(conn: &mut AsyncPgConnection, sql: &str) {
    conn.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
}

#[tokio::test]
async fn what_exists_in_another_form_is_not_suggested() -> Result<(), TestkitError> {
    let (_database, mut conn) = shop().await?;
    for (sql, exists) in SERVED {
        let before = advice(&mut conn, Prove::Model, &[(sql, &[])]).await;
        assert!(!before.suggestions.is_empty(), "{sql} gets nothing even without {exists}");
        make(&mut conn, exists).await;
        make(&mut conn, "ANALYZE").await;
        let found = advice(&mut conn, Prove::Model, &[(sql, &[])]).await;
        assert_eq!(indexes(&found), Vec::<&str>::new(), "{sql}, beside {exists}");
        make(&mut conn, UNDO).await;
    }
    Ok(())
}

#[tokio::test]
async fn an_invalid_index_is_named_and_not_built_beside() -> Result<(), TestkitError> {
    let (_database, mut conn) = shop().await?;
    make(&mut conn, "CREATE INDEX half ON orders (customer_id)").await;
    make(&mut conn, "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'half'::regclass").await;
    let sql = "SELECT * FROM orders WHERE customer_id = 42";
    let found = advice(&mut conn, Prove::Model, &[(sql, &[])]).await;
    assert_eq!(indexes(&found), Vec::<&str>::new());
    let said: Vec<&str> = found
        .notes
        .iter()
        .filter(|note| note.code == "invalid_index")
        .map(|note| note.message.as_str())
        .collect();
    assert!(said.iter().any(|said| said.contains("REINDEX INDEX CONCURRENTLY half")), "{said:?}");
    Ok(())
}

#[tokio::test]
async fn another_collation_or_operator_class_is_another_index() -> Result<(), TestkitError> {
    let (_database, mut conn) = shop().await?;
    // An index in the order of bytes serves no comparison by the collation's order, and the other way round.
    make(&mut conn, "CREATE INDEX by_c ON customers (email COLLATE \"POSIX\")").await;
    make(&mut conn, "ALTER TABLE customers ALTER COLUMN email TYPE text COLLATE \"C\"; ANALYZE customers")
        .await;
    make(&mut conn, "DROP INDEX by_c; CREATE INDEX by_c ON customers (email COLLATE \"POSIX\")").await;
    let sql = "SELECT * FROM customers WHERE email = 'User7@Example.com'";
    let found = advice(&mut conn, Prove::Model, &[(sql, &[])]).await;
    assert_eq!(indexes(&found), ["customers USING btree (email)"]);
    make(&mut conn, &found.suggestions[0].create).await;
    let again = advice(&mut conn, Prove::Model, &[(sql, &[])]).await;
    assert_eq!(indexes(&again), Vec::<&str>::new());
    // Neither is a duplicate of the other.
    assert!(
        !again.drop.iter().any(|name| name.starts_with("customers") || name == "by_c"),
        "{:?}",
        again.drop
    );
    Ok(())
}

#[tokio::test]
async fn a_prefix_gets_the_operator_class_that_its_databases_collation_needs() {
    let cluster = Cluster::builder().start().await.unwrap();
    let mut conn = cluster.connect(0).await.unwrap();
    if skip::without_icu(&mut conn).await {
        return;
    }
    // The operating system's collation is C, and yet texts are in the order of a language.
    make(
        &mut conn,
        "CREATE DATABASE lingual TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'de' LOCALE 'C'",
    )
    .await;
    let mut url = url::Url::parse(&cluster.primary_url()).unwrap();
    url.set_path("/lingual");
    let mut lingual = AsyncPgConnection::establish(url.as_str()).await.unwrap();
    let table = "CREATE TABLE names (name text);
        INSERT INTO names SELECT md5(i::text) FROM generate_series(1, 50000) i";
    let sql = "SELECT * FROM names WHERE name LIKE 'abcd%'";
    for (conn, wanted) in
        [(&mut conn, "names USING btree (name)"), (&mut lingual, "names USING btree (name text_pattern_ops)")]
    {
        make(conn, table).await;
        make(conn, "VACUUM ANALYZE names").await;
        let found = advice(conn, Prove::Model, &[(sql, &[])]).await;
        assert_eq!(indexes(&found), [wanted]);
        make(conn, &found.suggestions[0].create).await;
        let plan = explain_text(conn, sql, &ExplainConfig::default()).await.expect("it is planned");
        assert!(plan.tree(&BTreeMap::new()).contains("names_name_idx"), "the index is used");
    }
}

#[tokio::test]
async fn an_index_on_the_parent_alone_is_completed_and_not_made_again() -> Result<(), TestkitError> {
    let (_database, mut conn) = shop().await?;
    let sql = "SELECT * FROM events WHERE user_id = 77";
    // As a build that was given up half way leaves it: the parent's is not valid, one leaf has its part.
    make(&mut conn, "CREATE INDEX events_user ON ONLY events (user_id) INCLUDE (at, id)").await;
    make(&mut conn, "CREATE INDEX events_a_user ON events_a (user_id) INCLUDE (at, id)").await;
    make(&mut conn, "ALTER INDEX events_user ATTACH PARTITION events_a_user").await;
    let found = advice(&mut conn, Prove::Model, &[(sql, &[])]).await;
    assert_eq!(indexes(&found), Vec::<&str>::new());
    let note = found.notes.iter().find(|note| note.code == "incomplete_index");
    let said = note.map(|note| note.message.as_str()).unwrap_or_default();
    assert!(said.contains("events_user") && said.contains("events_b"), "{:?}", found.notes);
    Ok(())
}

/// Everything of the database that analysis could change, but for the counters of use.
const STATE: &str = "SELECT concat_ws('|',
    (SELECT string_agg(format('%s %s %s', oid, relname, relfilenode), ',' ORDER BY oid) FROM pg_class),
    (SELECT string_agg(i::text, ',' ORDER BY indexrelid) FROM pg_index i),
    (SELECT string_agg(format('%s %s', s.last_value, s.is_called), ',') FROM orders_id_seq s),
    (SELECT md5(string_agg(o::text, ',' ORDER BY id)) FROM orders o),
    current_setting('default_transaction_read_only'), current_setting('plan_cache_mode'),
    (SELECT count(*) FROM pg_prepared_statements), (SELECT count(*) FROM pg_locks
        WHERE pid = pg_backend_pid() AND locktype <> 'virtualxid' AND mode <> 'AccessShareLock')) AS line";

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    line: String,
}

async fn state(conn: &mut AsyncPgConnection) -> String {
    sql_query(STATE).get_result::<Line>(conn).await.unwrap().line
}

#[tokio::test]
async fn looking_changes_nothing_and_tells_no_value() -> Result<(), TestkitError> {
    let (_database, mut conn) = shop().await?;
    let secret = "User4711@Example.com";
    let before = state(&mut conn).await;
    let statements = [
        format!("SELECT * FROM customers WHERE email = '{secret}'"),
        format!("UPDATE orders SET note = '{secret}' WHERE customer_id = 4711"),
        format!("INSERT INTO orders (customer_id, status, created_at) VALUES (4711, '{secret}', now())"),
        format!("SELECT nextval('orders_id_seq') FROM orders WHERE note = '{secret}' FOR UPDATE"),
    ];
    let workload: Vec<Query> = statements
        .iter()
        .enumerate()
        .map(|(id, sql)| Query { id: json!(id), sql: sql.clone(), ..Query::default() })
        .collect();
    for prove in [Prove::Model, Prove::Build] {
        let config = AdviceConfig { prove, sample: true, ..AdviceConfig::default() };
        let found = advise(&mut conn, &workload, &config).await.expect("the server answers");
        let text = serde_json::to_string(&found).expect("it is names and numbers");
        assert!(!text.contains("4711"), "{text}");
        assert_eq!(state(&mut conn).await, before, "{prove:?}");
    }
    for sql in &statements {
        let plan = explain_text(&mut conn, sql, &ExplainConfig::default()).await.expect("it is planned");
        assert!(!plan.tree(&BTreeMap::new()).contains("4711"));
        assert_eq!(state(&mut conn).await, before, "{sql}");
    }
    // Measured, too: what reads leaves nothing, and what writes or locks is refused.
    let analyze = ExplainConfig { analyze: true, ..ExplainConfig::default() };
    explain_text(&mut conn, &statements[0], &analyze).await.expect("it only reads");
    for sql in &statements[1..] {
        explain_text(&mut conn, sql, &analyze).await.expect_err(sql);
    }
    assert_eq!(state(&mut conn).await, before);
    Ok(())
}

#[tokio::test]
async fn advice_says_what_it_costs_writes() -> Result<(), TestkitError> {
    let (_database, mut conn) = shop().await?;
    make(&mut conn, "UPDATE customers SET active = active WHERE id < 500").await;
    make(&mut conn, "SELECT pg_stat_force_next_flush()").await;
    let sql = "SELECT * FROM customers WHERE email = 'User7@Example.com'";
    let found = advice(&mut conn, Prove::Model, &[(sql, &[])]).await;
    let notes = &found.suggestions[0].notes;
    assert!(notes.iter().any(|note| note.contains("each write of the table maintains it")), "{notes:?}");
    Ok(())
}

#[tokio::test]
async fn a_key_that_may_be_too_long_for_an_entry_is_told() -> Result<(), TestkitError> {
    let (_database, mut conn) = shop().await?;
    make(
        &mut conn,
        "CREATE TABLE pages (id int, address text, body text);
         INSERT INTO pages SELECT i, md5(i::text), repeat(md5(i::text), 10) FROM generate_series(1, 30000) i;
         ANALYZE pages",
    )
    .await;
    for (column, is_long) in [("address", false), ("body", true)] {
        let sql = format!("SELECT id FROM pages WHERE {column} = 'x'");
        let found = advice(&mut conn, Prove::Model, &[(&sql, &[])]).await;
        let notes = found.suggestions[0].notes.join("; ");
        assert_eq!(notes.contains("more than 2,700 bytes"), is_long, "{column}: {notes}");
    }
    // It is true: such a value cannot be in a B-tree.
    make(&mut conn, "CREATE INDEX ON pages (body)").await;
    let long = "INSERT INTO pages SELECT 0, 'x', string_agg(md5(i::text), '') FROM generate_series(1, 400) i";
    conn.batch_execute(long).await.expect_err("it is too long");
    Ok(())
}

#[tokio::test]
async fn a_write_that_outweighs_the_gain_gets_no_index() -> Result<(), TestkitError> {
    let (_database, mut conn) = shop().await?;
    let query = |id: &str, sql: &str, calls| Query {
        id: json!(id),
        sql: sql.to_owned(),
        calls_per_day: Some(calls),
        ..Query::default()
    };
    let read = query("read", "SELECT * FROM orders WHERE customer_id = 42", 1.0);
    let write = "INSERT INTO orders (customer_id, status, created_at) VALUES (1, 'paid', now())";
    for (writes, wanted) in [(10.0, 1), (1e9, 0)] {
        let workload = [read.clone(), query("write", write, writes)];
        let found = advise(&mut conn, &workload, &AdviceConfig::default()).await.expect("the server answers");
        assert_eq!(found.suggestions.len(), wanted, "{writes} writes a day");
    }
    Ok(())
}

#[tokio::test]
async fn nothing_is_unused_where_a_standby_may_read_it() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let mut conn = cluster.connect(0).await.unwrap();
    make(&mut conn, "CREATE TABLE t AS SELECT i, i % 7 AS k FROM generate_series(1, 100000) i").await;
    make(&mut conn, "CREATE INDEX idle ON t (k)").await;
    make(&mut conn, "ANALYZE t").await;
    let found = advise(&mut conn, &[], &AdviceConfig::default()).await.unwrap();
    assert_eq!(found.drop, Vec::<String>::new());
}

#[tokio::test]
async fn what_a_foreign_key_or_a_conflict_target_stands_on_is_no_duplicate() -> Result<(), TestkitError> {
    let (_database, mut conn) = shop().await?;
    make(
        &mut conn,
        "CREATE TABLE parents (a int NOT NULL, b int NOT NULL, c int);
         CREATE UNIQUE INDEX parents_ab ON parents (a, b); CREATE UNIQUE INDEX parents_a ON parents (a);
         CREATE UNIQUE INDEX parents_c ON parents (c) WHERE c IS NOT NULL;
         CREATE INDEX parents_c_all ON parents (c);
         CREATE TABLE children (a int REFERENCES parents (a))",
    )
    .await;
    let found = advice(&mut conn, Prove::Model, &[]).await;
    let dropped: Vec<&String> = found.drop.iter().filter(|name| name.starts_with("parents")).collect();
    assert_eq!(dropped, Vec::<&String>::new());
    Ok(())
}
