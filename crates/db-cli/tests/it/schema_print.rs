//! `dbctl schema print`.

use db_testkit::TestDatabase;
use diesel_async::SimpleAsyncConnection;

use crate::run::dbctl;

#[tokio::test]
async fn schema_rs_is_written_and_what_it_cannot_have_is_said() {
    let database = TestDatabase::empty().await.unwrap();
    let mut conn = database.connect().await.unwrap();
    let sql = "CREATE TABLE b (id int PRIMARY KEY); COMMENT ON TABLE b IS 'bees'; CREATE TABLE loose (id int); \
               CREATE TABLE a (id int PRIMARY KEY, b int REFERENCES b); CREATE TYPE mood AS ENUM ('ok'); \
               ALTER TABLE a ADD m mood";
    conn.batch_execute(sql).await.unwrap();
    let at = [("DATABASE_URL", database.url()), ("APP_ENV", "test")];
    let printed = dbctl(&at, &["schema", "print", "--custom-type-derives", "Clone"]).await;
    assert_eq!(printed.code, Some(0), "{}", printed.err);
    assert_eq!(printed.err, "dbctl: table loose is left out: it has no primary key\n");
    assert_eq!(printed.out, PRINTED);
    let some =
        dbctl(&at, &["schema", "print", "-o", "^b$", "--with-docs-config", "only-database-comments"]).await;
    assert!(some.out.contains("    /// bees\n    b (id) {") && !some.out.contains("a (id)"), "{}", some.out);
    let without = dbctl(&at, &["schema", "print", "-e", "^a$", "^loose$"]).await;
    assert!(without.out.contains("b (id)") && !without.out.contains("a (id)"), "{}", without.out);
    assert_eq!(without.err, "");
    let unused = dbctl(&at, &["schema", "print", "a"]).await;
    assert!(unused.code == Some(1) && unused.err.contains("--only-tables"), "{}", unused.err);
    let json = dbctl(&at, &["schema", "print", "--json"]).await;
    let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(json["left_out"][0]["table"], "loose");
}

const PRINTED: &str = r#"// @generated automatically by Diesel CLI.

pub mod sql_types {
    #[derive(Clone, diesel::sql_types::SqlType)]
    #[diesel(postgres_type(name = "mood"))]
    pub struct Mood;
}

diesel::table! {
    use diesel::sql_types::*;
    use super::sql_types::Mood;

    a (id) {
        id -> Int4,
        b -> Nullable<Int4>,
        m -> Nullable<Mood>,
    }
}

diesel::table! {
    b (id) {
        id -> Int4,
    }
}

diesel::joinable!(a -> b (b));

diesel::allow_tables_to_appear_in_same_query!(a, b,);
"#;
