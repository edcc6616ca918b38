//! Each query of the load uses the index that is there for it.

use db_migrations::{MigrationError, Migrations, Migrator, MigratorConfig};
use db_platform::{Config, Db, Environment};
use db_seeds::{SeedOptions, Seeds};
use db_testkit::TestDatabase;
use diesel::sql_types::Text;
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

use crate::queries::QUERIES;
use crate::samples::Samples;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text, column_name = "QUERY PLAN")]
    text: String,
}

#[derive(QueryableByName)]
struct Name {
    #[diesel(sql_type = Text)]
    name: String,
}

/// A database of the reference schema with the recognisable data.
async fn seeded() -> TestDatabase {
    let migrations = Migrations::read(format!("{ROOT}/migrations").as_ref()).unwrap();
    let hash = migrations.content_hash();
    let migrator = Migrator::new(migrations, MigratorConfig::default());
    let migrate = async |conn: &mut AsyncPgConnection| migrator.apply(conn, |_| ()).await.map(|_| ());
    let database = TestDatabase::from_template::<MigrationError>(&hash, migrate).await.unwrap();
    let (mut client, driver) = tokio_postgres::connect(database.url(), tokio_postgres::NoTls).await.unwrap();
    let driver = tokio::spawn(driver);
    let seeds = Seeds::open(format!("{ROOT}/seeds"), "dev").unwrap();
    let options = SeedOptions { environment: Some(Environment::Test), ..SeedOptions::default() };
    let plan = seeds.plan(&client, &options).await.unwrap();
    seeds.apply(&mut client, &plan, |_| ()).await.unwrap();
    drop(client);
    driver.await.unwrap().unwrap();
    database
}

/// The tables are small, and the planner may rightly prefer another index or none. The question is whether
/// this one fits the query: with every other index out of the way, is it used?
async fn leave_only(conn: &mut AsyncPgConnection, index: &str) {
    let others: Vec<Name> = sql_query(
        "SELECT i.indexrelid::regclass::text AS name FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
         WHERE c.relnamespace = 'public'::regnamespace AND c.relname <> $1 AND NOT c.relispartition \
         AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = i.indexrelid)",
    )
    .bind::<Text, _>(index)
    .load(conn)
    .await
    .unwrap();
    let names: Vec<String> = others.into_iter().map(|row| row.name).collect();
    conn.batch_execute(&format!("DROP INDEX {}", names.join(", "))).await.unwrap();
}

/// The index itself, and its parts where the table is partitioned.
async fn index_names(conn: &mut AsyncPgConnection, index: &str) -> Vec<String> {
    let names: Vec<Name> = sql_query(
        "SELECT $1 AS name UNION ALL SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = $1::regclass",
    )
    .bind::<Text, _>(index)
    .load(conn)
    .await
    .unwrap();
    names.into_iter().map(|row| row.name).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_query_uses_the_index_that_is_there_for_it() {
    let database = seeded().await;
    let db = Db::connect(Config::new(Environment::Test, database.url().parse().unwrap())).await.unwrap();
    let samples = Samples::take(&db).await.unwrap();
    let mut conn = database.connect().await.unwrap();
    conn.batch_execute("SET enable_seqscan = off").await.unwrap();
    for query in &QUERIES {
        let values: Option<Vec<&str>> = query.binds.iter().map(|bind| samples.at(0, *bind)).collect();
        let values = values.unwrap_or_else(|| panic!("the data has nothing for {}", query.pages.name()));
        conn.batch_execute("BEGIN").await.unwrap();
        leave_only(&mut conn, query.index).await;
        let explain = values.iter().fold(
            sql_query(format!("EXPLAIN {}", query.sql)).into_boxed::<diesel::pg::Pg>(),
            |statement, value| statement.bind::<Text, _>(*value),
        );
        let plan: Vec<Line> = explain.load(&mut conn).await.unwrap();
        let plan = plan.into_iter().map(|line| line.text).collect::<Vec<_>>().join("\n");
        let names = index_names(&mut conn, query.index).await;
        conn.batch_execute("ROLLBACK").await.unwrap();
        assert!(
            names.iter().any(|name| plan.contains(name)),
            "{} without {}:\n{plan}",
            query.pages.name(),
            query.index
        );
    }
    assert!(db.shutdown(std::time::Duration::from_secs(5)).await.is_clean());
}
