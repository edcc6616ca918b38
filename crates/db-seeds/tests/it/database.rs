//! A migrated database of its own for each test.

use std::path::{Path, PathBuf};

use db_core::Environment;
use db_seeds::{Applied, Plan, Result, SeedOptions, Seeds};
use db_testkit::TestDatabase;
use diesel_async::SimpleAsyncConnection;
use tokio_postgres::{Client, NoTls};

/// A database with all migrations of the repository.
pub(crate) async fn migrated() -> TestDatabase {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../migrations");
    let mut ups: Vec<PathBuf> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path().join("up.sql")).collect();
    ups.sort();
    let ups: Vec<String> =
        ups.iter().filter(|up| up.is_file()).map(|up| std::fs::read_to_string(up).unwrap()).collect();
    TestDatabase::from_template(&ups.concat(), async |conn| {
        for up in &ups {
            conn.batch_execute(up).await?;
        }
        diesel::QueryResult::Ok(())
    })
    .await
    .unwrap()
}

/// A connection that has COPY.
pub(crate) async fn connect(database: &TestDatabase) -> Client {
    let (client, connection) = tokio_postgres::connect(database.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// The repository's own sets.
pub(crate) fn sets() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../seeds")
}

/// How a set is loaded where nothing else is said.
pub(crate) fn options() -> SeedOptions {
    SeedOptions { environment: Some(Environment::Test), ..SeedOptions::default() }
}

pub(crate) fn scaled(scale: f64) -> SeedOptions {
    SeedOptions { scale, ..options() }
}

/// A set made of the given files.
pub(crate) fn set(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let set = dir.path().join("made");
    std::fs::create_dir(&set).unwrap();
    std::fs::write(set.join("seed.toml"), "seed = 7\nanchor = \"2026-11-01T00:00:00Z\"\n").unwrap();
    for (name, content) in files {
        std::fs::write(set.join(name), content).unwrap();
    }
    dir
}

pub(crate) async fn load(
    seeds: &Seeds,
    client: &mut Client,
    options: &SeedOptions,
) -> Result<(Plan, Applied)> {
    let plan = seeds.plan(client, options).await?;
    let applied = seeds.apply(client, &plan, |_| {}).await?;
    Ok((plan, applied))
}

pub(crate) async fn count(client: &Client, table: &str) -> i64 {
    client.query_one(&format!("SELECT count(*) FROM {table}"), &[]).await.unwrap().get(0)
}
