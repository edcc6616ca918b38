//! `schema.rs` against a real database.

use db_migrations::Stats;
use db_migrations::schema::{Schema, difference};
use db_testkit::TestDatabase;
use diesel_async::SimpleAsyncConnection;

const WANTED: &str = r#"
    diesel::table! { people (id) { id -> Int8, #[max_length = 40] name -> Varchar, "#;

#[tokio::test]
async fn the_difference_leads_to_schema_rs_and_back() {
    let database = TestDatabase::empty().await.unwrap();
    let mut conn = database.connect().await.unwrap();
    conn.batch_execute(
        "CREATE TABLE people (id bigint PRIMARY KEY, name text, \"order\" int NOT NULL DEFAULT 7, tags text[]); \
         CREATE TABLE old (a int, b timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (b, a)); CREATE TYPE mood AS ENUM ('ok')",
    )
    .await
    .unwrap();
    let wanted = format!(
        "#[diesel(postgres_type(name = \"mood\"))] pub struct Mood;
         {WANTED} born -> Nullable<Date>, feels -> Nullable<Mood>, tags -> Nullable<Array<Nullable<Text>>>, }} }}
         diesel::table! {{ posts (id, part) {{ id -> Uuid, part -> Int4, author -> Int8, }} }}
         diesel::joinable!(posts -> people (author));"
    );
    let wanted = Schema::parse(&wanted).unwrap();
    let before = Schema::read(&mut conn, &[]).await.unwrap();
    let migration = difference(&before, &wanted);
    insta::assert_snapshot!(migration.up, @r#"
    ALTER TABLE people ALTER COLUMN name TYPE varchar(40) USING name::varchar(40);
    ALTER TABLE people ALTER COLUMN name SET NOT NULL;
    ALTER TABLE people ADD COLUMN born date;
    ALTER TABLE people ADD COLUMN feels mood;
    -- Its values go with it.
    ALTER TABLE people DROP COLUMN "order";
    CREATE TABLE posts (
        id uuid NOT NULL,
        part int4 NOT NULL,
        author int8 NOT NULL,
        PRIMARY KEY (id, part)
    );
    -- Every row goes with it.
    DROP TABLE old;
    ALTER TABLE posts ADD CONSTRAINT posts_author_fkey FOREIGN KEY (author) REFERENCES people;
    "#);
    insta::assert_snapshot!(migration.down, @r#"
    CREATE TABLE old (
        a integer NOT NULL,
        b timestamp with time zone NOT NULL DEFAULT now(),
        PRIMARY KEY (b, a)
    );
    DROP TABLE posts;
    ALTER TABLE people ADD COLUMN "order" integer NOT NULL DEFAULT 7;
    ALTER TABLE people DROP COLUMN feels;
    ALTER TABLE people DROP COLUMN born;
    ALTER TABLE people ALTER COLUMN name DROP NOT NULL;
    ALTER TABLE people ALTER COLUMN name TYPE text USING name::text;
    "#);
    conn.batch_execute(&migration.up).await.unwrap();
    let after = Schema::read(&mut conn, &[]).await.unwrap();
    assert!(difference(&after, &wanted).is_empty(), "{}", difference(&after, &wanted).up);
    conn.batch_execute(&migration.down).await.unwrap();
    let back = Schema::read(&mut conn, &[]).await.unwrap();
    assert!(difference(&back, &before).is_empty(), "{}", difference(&back, &before).up);
}

#[tokio::test]
async fn sizes_are_counted_and_partitions_are_added_up() {
    let database = TestDatabase::empty().await.unwrap();
    let mut conn = database.connect().await.unwrap();
    conn.batch_execute(
        "CREATE TABLE \"Rows\" AS SELECT generate_series(1, 500) AS id; CREATE INDEX ON \"Rows\" (id); \
         CREATE TABLE parts (id int) PARTITION BY LIST (id); CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1); \
         CREATE TABLE parts_2 PARTITION OF parts FOR VALUES IN (2); INSERT INTO parts VALUES (1), (2), (2); ANALYZE",
    )
    .await
    .unwrap();
    let stats = Stats::read(&mut conn).await.unwrap();
    let rows: Vec<_> = stats.tables.iter().map(|table| (table.table.as_str(), table.rows)).collect();
    assert_eq!(
        rows,
        [("public.\"Rows\"", 500), ("public.parts", 3), ("public.parts_1", 1), ("public.parts_2", 2)]
    );
    assert!(stats.tables[0].bytes > 0 && stats.tables[0].index_bytes > 0);
}
