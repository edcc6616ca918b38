//! The schemas that are filled, each in a database of its own.

use std::path::Path;

use db_core::Environment;
use db_seeds::{GenerateOptions, Generated, Generator};
use db_testkit::TestDatabase;
use tokio_postgres::{Client, NoTls};

/// The name of a schema and the scripts that make it.
pub(crate) fn all() -> Vec<(&'static str, Vec<String>)> {
    let mut ups: Vec<_> = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../migrations"))
        .unwrap()
        .map(|entry| entry.unwrap().path().join("up.sql"))
        .filter(|up| up.is_file())
        .collect();
    ups.sort();
    let reference: Vec<String> = ups.iter().map(|up| std::fs::read_to_string(up).unwrap()).collect();
    vec![
        ("reference", reference),
        ("tenants", vec![include_str!("../tests/schemas/tenants.sql").to_owned()]),
        ("bookings", vec![include_str!("../tests/schemas/bookings.sql").to_owned()]),
        ("conditions", vec![include_str!("../tests/schemas/conditions.sql").to_owned()]),
    ]
}

/// Names a directory of further schemas by others, one `.sql` file for each, as `pg_dump --schema-only`
/// writes them.
///
/// What is not kept here has an owner, or was not seen before, which proves more.
pub(crate) const STRANGERS: &str = "DB_SEEDS_SCHEMAS";

/// The schemas of `strangers`, and of that directory, by name.
pub(crate) fn strangers() -> Vec<(String, Vec<String>)> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("claims/strangers");
    let dirs = std::iter::once(own).chain(std::env::var_os(STRANGERS).map(Into::into));
    dirs.flat_map(|dir| of_directory(&dir)).collect()
}

fn of_directory(dir: &Path) -> Vec<(String, Vec<String>)> {
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "sql"));
    files.sort();
    let read = |file: &std::path::PathBuf| {
        // psql's own commands are for psql.
        let text = std::fs::read_to_string(file).unwrap();
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('\\')).collect();
        (file.file_stem().unwrap().to_string_lossy().into_owned(), vec![lines.join("\n")])
    };
    files.iter().map(read).collect()
}

/// An empty database with these scripts run.
pub(crate) async fn made(scripts: &[String]) -> (TestDatabase, Client) {
    let database = TestDatabase::empty().await.unwrap();
    let (client, connection) = tokio_postgres::connect(database.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    for script in scripts {
        client.batch_execute(script).await.unwrap();
    }
    // A dump leaves a path without a schema.
    client.batch_execute("RESET ALL").await.unwrap();
    (database, client)
}

pub(crate) async fn filled(client: &mut Client, options: GenerateOptions) -> Generated {
    let generator = Generator::new(GenerateOptions { environment: Some(Environment::Test), ..options });
    let plan = generator.plan(client).await.unwrap();
    generator.apply(client, &plan, |_| {}).await.unwrap()
}

/// The text of every file that a directory holds, in their order.
pub(crate) fn texts(files: &[std::path::PathBuf]) -> Vec<String> {
    files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect()
}
