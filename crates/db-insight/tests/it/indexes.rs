//! Which indexes the advisor suggests, and that each can be made and helps.

use std::time::Duration;

use db_insight::indexes::{Advice, AdviceConfig, Prove, Query, advise};
use db_testkit::TestkitError;
use diesel::QueryableByName;
use diesel::sql_types::Json;
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use serde_json::{Value, json};

use crate::shop::{advice, shop};

type Case = (&'static str, &'static [&'static str], &'static [&'static str]);

/// A statement, its parameters, and the indexes that it gets.
const HELPED: &[Case] = &[
    ("SELECT * FROM orders WHERE customer_id = $1", &["42"], &["orders USING btree (customer_id)"]),
    ("SELECT * FROM orders WHERE customer_id = $1 AND 1 = 1", &[], &["orders USING btree (customer_id)"]),
    (
        "SELECT id FROM orders WHERE status = 'pending' ORDER BY created_at LIMIT 20",
        &[],
        &["orders USING btree (created_at) WHERE (status = 'pending'::text)"],
    ),
    (
        "SELECT id FROM orders WHERE status = $1 ORDER BY created_at LIMIT 20",
        &["'pending'"],
        &["orders USING btree (status, created_at)"],
    ),
    (
        "SELECT id FROM orders WHERE shipped_at IS NULL ORDER BY id LIMIT 100",
        &[],
        &["orders USING btree (id) WHERE (shipped_at IS NULL)"],
    ),
    ("SELECT * FROM orders ORDER BY total DESC LIMIT 10", &[], &["orders USING btree (total)"]),
    (
        "SELECT * FROM orders ORDER BY total DESC NULLS LAST, id LIMIT 10",
        &[],
        &["orders USING btree (total DESC NULLS LAST, id)"],
    ),
    (
        "SELECT * FROM orders WHERE (created_at, id) < ('2025-01-20', 20000) ORDER BY created_at DESC, id DESC LIMIT 20",
        &[],
        &["orders USING btree (created_at, id)"],
    ),
    ("SELECT * FROM orders WHERE data @> '{\"k\": 77}'", &[], &["orders USING gin (data jsonb_path_ops)"]),
    (
        "SELECT id FROM orders WHERE data->>'src' = 'web77'",
        &[],
        &["orders USING btree ((data ->> 'src'::text))"],
    ),
    ("SELECT id FROM orders WHERE tags @> ARRAY['t77']", &[], &["orders USING gin (tags)"]),
    ("SELECT id FROM orders WHERE note LIKE '%deadbe%'", &[], &["orders USING gin (note gin_trgm_ops)"]),
    (
        "SELECT id FROM orders WHERE to_tsvector('english', note) @@ plainto_tsquery('english', 'deadbeef')",
        &[],
        &["orders USING gin (to_tsvector('english'::regconfig, note))"],
    ),
    (
        "SELECT * FROM bookings WHERE during && tstzrange('2025-02-01', '2025-02-02')",
        &[],
        &["bookings USING gist (during)"],
    ),
    (
        "SELECT * FROM orders WHERE customer_id = 5 OR note = 'x'",
        &[],
        &["orders USING btree (customer_id)", "orders USING btree (note)"],
    ),
    ("SELECT max(total) FROM orders", &[], &["orders USING btree (total)"]),
    ("DELETE FROM customers WHERE id = $1", &["7"], &["orders USING btree (customer_id)"]),
    ("SELECT * FROM events WHERE user_id = 77", &[], &["events USING btree (user_id) INCLUDE (at, id)"]),
    (
        "SELECT c.id, x.id FROM customers c CROSS JOIN LATERAL
         (SELECT o.id FROM orders o WHERE o.customer_id = c.id ORDER BY o.id DESC LIMIT 3) x WHERE c.id < 20",
        &[],
        &["orders USING btree (customer_id)"],
    ),
];

/// Nothing helps these, or it is there.
const CONTROLS: &[(&str, &[&str])] = &[
    ("SELECT * FROM small WHERE id = 5", &[]),
    ("SELECT * FROM orders WHERE id = 5", &[]),
    ("SELECT * FROM orders WHERE status = 'paid'", &[]),
    ("SELECT * FROM customers WHERE country = 'de'", &[]),
    ("SELECT * FROM orders WHERE total < random()", &[]),
    ("SELECT count(*) FROM orders", &[]),
    ("SELECT * FROM dup WHERE b = 7 AND a = 5", &[]),
    ("SELECT * FROM dup WHERE a + b = 7", &[]),
    ("SELECT * FROM dup ORDER BY id DESC LIMIT 5", &[]),
    ("SELECT count(*) FROM orders o JOIN customers c ON c.id = o.customer_id", &[]),
    ("SELECT count(*) FROM orders WHERE created_at::date = '2025-01-03'", &[]),
    ("SELECT count(*) FROM orders WHERE date_trunc('day', created_at) = '2025-01-03'", &[]),
    ("SELECT * FROM orders WHERE note LIKE '%ab%'", &[]),
    ("SELECT id FROM orders WHERE 't77' = ANY (tags)", &[]),
    ("UPDATE orders SET status = 'x' WHERE id = $1", &["5"]),
    ("INSERT INTO small VALUES (1, 'a')", &[]),
    ("SELECT relname FROM pg_class WHERE relname = 'x'", &[]),
];

fn of(advice: &Advice, sql: &str) -> Vec<String> {
    let found = advice.suggestions.iter().filter(|one| one.case == *sql);
    let mut found: Vec<String> = found.map(|one| one.index.clone()).collect();
    found.sort();
    found
}

#[tokio::test]
async fn each_kind_of_statement_gets_its_index() -> Result<(), TestkitError> {
    let (_database, mut conn) = shop().await?;
    for (sql, params, want) in HELPED {
        let found = advice(&mut conn, Prove::Model, &[(sql, params)]).await;
        assert_eq!(of(&found, sql), *want, "{sql}\n{:?}", found.notes);
    }
    Ok(())
}

#[tokio::test]
async fn nothing_is_suggested_where_nothing_helps() -> Result<(), TestkitError> {
    let (_database, mut conn) = shop().await?;
    for prove in [Prove::Model, Prove::Build] {
        let found = advice(&mut conn, prove, CONTROLS).await;
        assert_eq!(found.suggestions.iter().map(|one| (&one.case, &one.index)).collect::<Vec<_>>(), []);
    }
    Ok(())
}

#[derive(QueryableByName)]
struct Plan {
    #[diesel(sql_type = Json, column_name = "QUERY PLAN")]
    plan: Value,
}

async fn cost(conn: &mut AsyncPgConnection, sql: &str, params: &[&str]) -> f64 {
    // What is given as a literal stands in place of its parameter.
    let sql = params
        .iter()
        .enumerate()
        .fold(sql.to_owned(), |sql, (at, param)| sql.replace(&format!("${}", at + 1), param));
    let plan: Plan = diesel::sql_query(format!("EXPLAIN (FORMAT JSON) {}", sql.replace("$1", "42")))
        .get_result(conn)
        .await
        .unwrap();
    plan.plan[0]["Plan"]["Total Cost"].as_f64().unwrap()
}

#[tokio::test]
async fn each_suggestion_can_be_made_as_it_is_written_and_saves_half() -> Result<(), TestkitError> {
    let (_database, mut conn) = shop().await?;
    for (sql, params, _) in HELPED {
        let (mut made, mut before) = (Vec::new(), cost(&mut conn, sql, params).await);
        // With them there, more is only suggested if it halves what is left.
        for round in 0.. {
            let found = advice(&mut conn, Prove::Model, &[(sql, params)]).await;
            assert!(
                found.suggestions.is_empty() == (round > 0) || round == 1,
                "{sql}: {:?}",
                found.suggestions
            );
            if found.suggestions.is_empty() {
                break;
            }
            for one in &found.suggestions {
                for statement in one.requires.iter().map(String::as_str).chain(one.create.split(";\n")) {
                    conn.batch_execute(statement)
                        .await
                        .unwrap_or_else(|error| panic!("{statement}: {error}"));
                }
            }
            let after = cost(&mut conn, sql, params).await;
            // What a foreign key costs is in no plan.
            assert!(sql.starts_with("DELETE") || after <= before * 0.5, "{sql}: {before} and then {after}");
            before = after;
            made.extend(found.suggestions);
        }
        for one in made {
            conn.batch_execute(one.migration.down.trim_end_matches(";\n")).await.unwrap();
        }
    }
    Ok(())
}

#[tokio::test]
async fn building_on_copies_proves_it_and_leaves_nothing_behind() -> Result<(), TestkitError> {
    let (_database, mut conn) = shop().await?;
    let sql = "SELECT * FROM orders WHERE customer_id = $1";
    let found = advice(&mut conn, Prove::Build, &[(sql, &["42"])]).await;
    let one = &found.suggestions[0];
    assert_eq!((one.index.as_str(), one.proof), ("orders USING btree (customer_id)", "built"));
    assert!(one.gain > 0.9 && one.bytes > 100_000, "{one:?}");
    let left = "DO $$ BEGIN
        ASSERT NOT EXISTS (SELECT FROM pg_class WHERE relname LIKE 'db_insight%' OR relpersistence = 't');
        ASSERT current_setting('default_transaction_read_only') = 'off';
        END $$";
    conn.batch_execute(left).await.expect("nothing is left");
    Ok(())
}

#[tokio::test]
async fn a_partitioned_table_gets_its_index_in_steps_that_run() -> Result<(), TestkitError> {
    let (_database, mut conn) = shop().await?;
    let found = advice(&mut conn, Prove::Auto, &[("SELECT * FROM events WHERE user_id = 77", &[])]).await;
    let steps: Vec<&str> = found.suggestions[0].create.split(";\n").collect();
    assert_eq!(steps.len(), 5, "{steps:?}");
    assert!(steps[0].contains("ON ONLY events") && steps[2].contains("ATTACH PARTITION"), "{steps:?}");
    for step in steps {
        conn.batch_execute(step).await.unwrap_or_else(|error| panic!("{step}: {error}"));
    }
    conn.batch_execute("DO $$ BEGIN ASSERT (SELECT bool_and(indisvalid) FROM pg_index); END $$")
        .await
        .expect("the parent's index is valid");
    Ok(())
}

#[tokio::test]
async fn what_is_missing_first_is_said_first() -> Result<(), TestkitError> {
    let (_database, mut conn) = shop().await?;
    conn.batch_execute(
        "CREATE TABLE never (id int, v text) WITH (autovacuum_enabled = false);
         INSERT INTO never SELECT i, 'v' FROM generate_series(1, 20000) i",
    )
    .await
    .expect("the table is ours");
    let found =
        advice(&mut conn, Prove::Model, &[("SELECT * FROM never WHERE id = 5", &[]), ("SELEC 1", &[])]).await;
    assert!(found.suggestions.is_empty());
    let codes: Vec<&str> = found.notes.iter().map(|note| note.code).collect();
    assert!(codes.contains(&"not_analysed") && codes.contains(&"not_planned"), "{codes:?}");
    Ok(())
}

#[tokio::test]
async fn a_role_without_rights_is_told_so() -> Result<(), TestkitError> {
    let (_database, mut conn) = shop().await?;
    let role = format!("reader_{}", std::process::id());
    conn.batch_execute(&format!(
        "CREATE ROLE {role}; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}; SET ROLE {role}"
    ))
    .await
    .expect("a superuser may");
    let found =
        advice(&mut conn, Prove::Model, &[("SELECT * FROM orders WHERE customer_id = $1", &["42"])]).await;
    conn.batch_execute(&format!("RESET ROLE; DROP OWNED BY {role}; DROP ROLE {role}"))
        .await
        .expect("it is ours");
    assert!(found.suggestions[0].notes.iter().any(|note| note.contains("this role cannot create it")));
    Ok(())
}

#[tokio::test]
async fn nothing_behind_a_semicolon_is_run() -> Result<(), TestkitError> {
    let (_database, mut conn) = shop().await?;
    let sql = "SELECT 1; DROP TABLE small";
    let params = "SELECT * FROM orders WHERE customer_id = $1";
    let found = advice(&mut conn, Prove::Build, &[(sql, &[]), (params, &["1); DROP TABLE small; --"])]).await;
    assert!(found.suggestions.is_empty());
    conn.batch_execute("SELECT FROM small").await.expect("the table is there");
    Ok(())
}

#[tokio::test]
async fn what_could_not_be_built_in_time_is_named_and_advised_by_the_model() -> Result<(), TestkitError> {
    let (_database, mut conn) = shop().await?;
    let query = Query {
        id: json!("by customer"),
        sql: "SELECT * FROM orders WHERE customer_id = $1".to_owned(),
        params: vec!["42".to_owned()],
        calls_per_day: None,
    };
    let config = AdviceConfig {
        prove: Prove::Build,
        build_within: Duration::from_millis(1),
        ..AdviceConfig::default()
    };
    let found = advise(&mut conn, &[query], &config).await.expect("the server answers");
    assert_eq!(found.suggestions[0].proof, "model");
    assert!(found.notes.iter().any(|note| note.code == "not_proven" && note.case == "by customer"));
    conn.batch_execute("SELECT count(*) FROM orders").await.expect("the session is as it was");
    Ok(())
}
