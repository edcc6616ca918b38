//! The migrations that are run here, and questions to the database.

use std::path::Path;

use db_migrations::{Migrations, Migrator, MigratorConfig};
use diesel::sql_types::BigInt;
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

pub(crate) async fn number(conn: &mut AsyncPgConnection, sql: &str) -> i64 {
    sql_query(sql).get_result::<Number>(conn).await.unwrap().n
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().unwrap()
}

/// The reference schema's migrations: most of the indexes are built concurrently.
pub(crate) fn reference() -> Migrations {
    Migrations::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../../migrations").as_ref()).unwrap()
}

/// Files below a directory that is gone when this returns.
pub(crate) fn migrations(files: &[(&str, &str)]) -> Migrations {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), files);
    Migrations::read(directory.path()).unwrap()
}

pub(crate) fn write(directory: &Path, files: &[(&str, &str)]) {
    for (file, text) in files {
        let path = directory.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

pub(crate) fn migrator(migrations: Migrations) -> Migrator {
    Migrator::new(migrations, MigratorConfig::default())
}
