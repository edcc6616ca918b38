//! Directories of migrations, and questions to the database.

use std::fs;

use db_migrations::{Migrations, Migrator, MigratorConfig};
use diesel::sql_types::{BigInt, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    line: String,
}

pub(crate) async fn number(conn: &mut AsyncPgConnection, sql: &str) -> i64 {
    sql_query(sql).get_result::<Number>(conn).await.unwrap().n
}

/// What a query gives as its column `line`.
pub(crate) async fn lines(conn: &mut AsyncPgConnection, sql: &str) -> Vec<String> {
    let rows: Vec<Line> = sql_query(sql).get_results(conn).await.unwrap();
    rows.into_iter().map(|row| row.line).collect()
}

/// The advisory locks in this database: the test kit holds some in others.
pub(crate) const HELD: &str = "SELECT count(*) AS n FROM pg_locks WHERE locktype = 'advisory' \
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";

pub(crate) const INVALID: &str = "SELECT count(*) AS n FROM pg_index WHERE NOT indisvalid";

pub(crate) const PEOPLE: (&str, &str) = ("1_people/up.sql", "CREATE TABLE people (id int, name text)");
pub(crate) const PEOPLE_DOWN: (&str, &str) = ("1_people/down.sql", "DROP TABLE people");
pub(crate) const INDEX: (&str, &str) =
    ("2_index/up.sql", "CREATE INDEX CONCURRENTLY people_name_idx ON people (name)");
pub(crate) const INDEX_DOWN: (&str, &str) = ("2_index/down.sql", "DROP INDEX CONCURRENTLY people_name_idx");
pub(crate) const INDEX_META: (&str, &str) = ("2_index/metadata.toml", "run_in_transaction = false");

pub(crate) fn migrations(files: &[(&str, &str)]) -> Migrations {
    let directory = tempfile::tempdir().unwrap();
    for (file, text) in files {
        let path = directory.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    Migrations::read(directory.path()).unwrap()
}

pub(crate) fn migrator(files: &[(&str, &str)]) -> Migrator {
    Migrator::new(migrations(files), MigratorConfig::default())
}
