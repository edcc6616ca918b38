//! Every policy, provoked.

use db_core::Endpoint;
use db_migrations::{MigrationError, Migrations};
use db_testkit::{PgBouncer, PoolMode, TestDatabase};
use diesel_async::{AsyncConnection, AsyncPgConnection};
use serde_json::json;

use crate::fixture::{migrations, migrator, runtime, write};
use crate::to::To;
use crate::{Figure, Size};

const ONE: (&str, &str) = ("1_one/up.sql", "CREATE TABLE one ()");
const TWO: (&str, &str) = ("2_two/up.sql", "CREATE TABLE two ()");

/// A case, what came of it, whether it is the right error, and the words that say the way out.
type Case = (&'static str, MigrationError, bool, &'static str);

pub(crate) fn measure(_: Size) -> Figure {
    let cases = runtime().block_on(async {
        let mut cases = misread_directories();
        cases.extend(unlike_the_database().await);
        cases.push(behind_a_pooler().await);
        cases
    });
    let right = |(_, error, named, way_out): &&Case| *named && error.to_string().contains(way_out);
    let held = cases.iter().filter(right).count();
    let texts: Vec<_> = cases
        .iter()
        .map(|case| json!({ "case": case.0, "right": right(&case), "says": case.1.to_string() }))
        .collect();
    Figure {
        value: held as f64,
        unit: "policies",
        holds: held == cases.len() && held == 7,
        detail: json!(texts),
    }
}

fn misread_directories() -> Vec<Case> {
    let read = |files: &[(&str, &str)]| {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), files);
        Migrations::read(directory.path()).unwrap_err()
    };
    let duplicate = read(&[ONE, ("1_other/up.sql", "")]);
    let empty = read(&[ONE, ("1_one/metadata.toml", "")]);
    let misspelt = read(&[ONE, ("1_one/metadata.toml", "run_in_transactoin = false")]);
    let named = matches!(duplicate, MigrationError::DuplicateVersion { .. });
    let metadata = |error: &MigrationError| matches!(error, MigrationError::Metadata { .. });
    let (empty_named, misspelt_named) = (metadata(&empty), metadata(&misspelt));
    vec![
        ("duplicate version", duplicate, named, "rename one"),
        ("empty metadata.toml", empty, empty_named, "remove the file"),
        ("misspelt metadata.toml", misspelt, misspelt_named, "remove the file"),
    ]
}

async fn unlike_the_database() -> Vec<Case> {
    let database = TestDatabase::empty().await.unwrap();
    let mut conn = database.connect().await.unwrap();
    migrator(migrations(&[TWO])).apply(&mut conn, |_| ()).await.unwrap();
    let mut refused = async |files: &[(&str, &str)]| {
        migrator(migrations(files)).apply(&mut conn, |_| ()).await.unwrap_err()
    };
    let edited = refused(&[("2_two/up.sql", "CREATE TABLE two (id int)")]).await;
    let out_of_order = refused(&[ONE, TWO]).await;
    let unknown = refused(&[("3_three/up.sql", "")]).await;
    let (is_edited, is_unknown) =
        (matches!(edited, MigrationError::Edited { .. }), matches!(unknown, MigrationError::Unknown { .. }));
    let is_out_of_order = matches!(out_of_order, MigrationError::OutOfOrder { .. });
    vec![
        ("edited", edited, is_edited, "dbctl migrate repair 2"),
        ("out of order", out_of_order, is_out_of_order, "--accept out-of-order"),
        ("unknown", unknown, is_unknown, "dbctl migrate repair 2"),
    ]
}

async fn behind_a_pooler() -> Case {
    let database = TestDatabase::empty().await.unwrap();
    let pooler = PgBouncer::start(database.url(), PoolMode::Transaction, &[]).await.unwrap();
    let mut conn = AsyncPgConnection::establish(pooler.url()).await.unwrap();
    let to = To(pooler.url().to_owned());
    let migrator = migrator(migrations(&[ONE])).opened_by(to, Endpoint::new("127.0.0.1", 1));
    let refused = migrator.apply(&mut conn, |_| ()).await.unwrap_err();
    let named = matches!(refused, MigrationError::Pooled);
    ("transaction-pooling proxy", refused, named, "DATABASE_DIRECT_URL")
}
