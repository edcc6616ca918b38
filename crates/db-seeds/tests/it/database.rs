//! A migrated database of its own for each test.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use db_seeds::{Applied, Plan, Result, SeedOptions, Seeds};
use tokio_postgres::{Client, Config, NoTls};

static NUMBER: AtomicU32 = AtomicU32::new(0);

pub(crate) struct Database {
    config: Config,
    server: Client,
    name: String,
}

impl Database {
    /// A database with all migrations, or nothing where no server is named.
    pub(crate) async fn migrated() -> Option<Database> {
        let url = std::env::var("DB_TESTKIT_URL").ok()?;
        let mut config: Config = url.parse().unwrap();
        let server = connect(&config).await;
        let name = format!("seeds_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        server.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        config.dbname(&name);
        let database = Database { config, server, name };
        migrate(&database.client().await).await;
        Some(database)
    }

    pub(crate) async fn client(&self) -> Client {
        connect(&self.config).await
    }

    pub(crate) async fn drop(self) {
        self.server.batch_execute(&format!("DROP DATABASE {} WITH (FORCE)", self.name)).await.unwrap();
    }
}

/// Runs the test body with a database, and drops the database after it.
macro_rules! with_database {
    ($database:ident, $body:block) => {
        let Some($database) = crate::database::Database::migrated().await else {
            eprintln!("DB_TESTKIT_URL is not set: not tested");
            return;
        };
        $body
        $database.drop().await;
    };
}
pub(crate) use with_database;

async fn connect(config: &Config) -> Client {
    let (client, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn migrate(client: &Client) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../migrations");
    let mut ups: Vec<PathBuf> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path().join("up.sql")).collect();
    ups.sort();
    for up in ups.iter().filter(|up| up.is_file()) {
        client.batch_execute(&std::fs::read_to_string(up).unwrap()).await.unwrap();
    }
}

/// The repository's own sets.
pub(crate) fn sets() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../seeds")
}

pub(crate) fn scaled(scale: f64) -> SeedOptions {
    SeedOptions { scale, ..SeedOptions::default() }
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

pub(crate) async fn load(seeds: &Seeds, client: &mut Client, options: &SeedOptions) -> Result<(Plan, Applied)> {
    let plan = seeds.plan(client, options).await?;
    let applied = seeds.apply(client, &plan, |_| {}).await?;
    Ok((plan, applied))
}

pub(crate) async fn count(client: &Client, table: &str) -> i64 {
    client.query_one(&format!("SELECT count(*) FROM {table}"), &[]).await.unwrap().get(0)
}
