//! `schema.rs` as it is printed, against files that diesel's own program wrote.

use db_migrations::MigrationError;
use db_migrations::schema::{PrintConfig, Schema, difference, print};
use db_testkit::TestDatabase;
use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

use crate::printed_corpus::{CASES, Case};
use crate::{random_schema, round_trip};

/// That they compile is a part of the proof.
#[expect(non_snake_case, unreachable_pub, reason = "diesel's own program writes it so")]
mod files {
    pub(super) mod hostile {
        include!("../corpus/printed/hostile.schema");
    }
    pub(super) mod wrong {
        include!("../corpus/printed/wrong.schema");
    }
}

/// As many as a test has time for; the claim migrations-10 has more.
const PAIRS: u64 = 8;

async fn made(sql: &str) -> (TestDatabase, AsyncPgConnection) {
    let database = TestDatabase::empty().await.unwrap();
    let mut conn = database.connect().await.unwrap();
    conn.batch_execute(sql).await.unwrap();
    (database, conn)
}

#[tokio::test]
async fn schemas_are_printed_as_diesel_prints_them() {
    for Case { name, sql, golden, config, arguments } in CASES {
        let (_database, mut conn) = made(sql).await;
        let printed = print(&mut conn, &config()).await.unwrap();
        let of = if arguments.is_empty() { "ours" } else { "diesel's" };
        assert!(printed.text == *golden, "{name} is not {of}:\n{}", printed.text);
    }
}

#[tokio::test]
async fn a_printed_file_differs_in_nothing_from_its_database() {
    for Case { name, sql, golden, .. } in CASES {
        let (_database, mut conn) = made(sql).await;
        let wanted = Schema::parse(golden).unwrap();
        let schemas: Vec<&str> = wanted.tables.iter().filter_map(|table| table.schema.as_deref()).collect();
        let mut live = Schema::read(&mut conn, &schemas).await.unwrap();
        // Each file is of one schema.
        live.tables.retain(|table| table.schema == wanted.tables[0].schema);
        let migration = difference(&live, &wanted);
        assert!(migration.is_empty(), "{name}:\n{}", migration.up);
    }
}

#[tokio::test]
async fn what_is_printed_is_what_queries_find() {
    let (_database, mut conn) = made(include_str!("../corpus/printed/hostile.sql")).await;
    use files::hostile::{Users, order_items, table_};
    let rows: i64 = order_items::table
        .inner_join(table_::table)
        .filter(order_items::quote_d.eq(1).and(table_::self_.is_null()))
        .filter(order_items::user_id.eq_any(Users::table.select(Users::Id.nullable())))
        .count()
        .get_result(&mut conn)
        .await
        .unwrap();
    assert_eq!(rows, 0);
    let (_database, mut conn) = made(include_str!("../corpus/printed/wrong.sql")).await;
    use files::wrong::odd;
    conn.batch_execute("INSERT INTO odd (id, letter, text, \"x-y\") VALUES (1, 'a', 'b', 7)").await.unwrap();
    let row: (Option<u8>, Option<String>, Option<i32>) = odd::table
        .filter(odd::letter.eq(b'a'))
        .select((odd::letter, odd::text, odd::x_y_))
        .get_result(&mut conn)
        .await
        .unwrap();
    assert_eq!(row, (Some(b'a'), Some("b".to_owned()), Some(7)));
}

#[tokio::test]
async fn tables_without_a_key_are_named_and_schemas_without_a_name_in_rust_refused() {
    let (_database, mut conn) = made("CREATE TABLE loose (id int); CREATE SCHEMA \"my app\"").await;
    let printed = print(&mut conn, &PrintConfig::default()).await.unwrap();
    assert_eq!(printed.text, "// @generated automatically by Diesel CLI.\n");
    let left_out: Vec<_> = printed.left_out.iter().map(|one| (one.table.as_str(), one.reason)).collect();
    assert_eq!(left_out, [("loose", "it has no primary key")]);
    let config = PrintConfig { schema: Some("my app".to_owned()), ..PrintConfig::default() };
    let refused = print(&mut conn, &config).await.unwrap_err();
    assert!(matches!(refused, MigrationError::Unprintable { .. }), "{refused}");
    let config = PrintConfig { only_tables: vec!["(".to_owned()], ..PrintConfig::default() };
    let refused = print(&mut conn, &config).await.unwrap_err();
    assert!(matches!(refused, MigrationError::Database(_)), "{refused:?}");
}

#[tokio::test]
async fn without_a_schema_the_one_that_is_searched_first_is_printed() {
    let (_database, mut conn) = made(
        "CREATE SCHEMA app; SET search_path = app; CREATE TYPE mood AS ENUM (); \
              CREATE TABLE a (id int PRIMARY KEY, m mood); CREATE TABLE public.b (id int PRIMARY KEY)",
    )
    .await;
    let printed = print(&mut conn, &PrintConfig::default()).await.unwrap().text;
    insta::assert_snapshot!(printed, @r#"
    // @generated automatically by Diesel CLI.

    pub mod sql_types {
        #[derive(diesel::sql_types::SqlType)]
        #[diesel(postgres_type(name = "mood"))]
        pub struct Mood;
    }

    diesel::table! {
        use diesel::sql_types::*;
        use super::sql_types::Mood;

        a (id) {
            id -> Int4,
            m -> Nullable<Mood>,
        }
    }
    "#);
}

#[tokio::test]
async fn the_way_to_a_random_schema_leads_there_and_back() {
    let mut faults = Vec::new();
    for number in 0..PAIRS {
        let (_one, mut from) = made(&random_schema::schema(2 * number)).await;
        let (_other, mut to) = made(&random_schema::schema(2 * number + 1)).await;
        let fault = round_trip::fault(&mut from, &mut to).await;
        faults.extend(fault.map(|fault| format!("pair {number}: {fault}")));
    }
    assert!(faults.is_empty(), "{} of {PAIRS}: {}", faults.len(), faults.join("\n\n"));
}
