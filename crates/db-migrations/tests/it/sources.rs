//! Migrations from the program itself, and from diesel's sources.

use db_migrations::{Embedded, MigrationError, Migrations, Migrator, MigratorConfig};
use db_testkit::TestDatabase;
use diesel::migration::{Migration, MigrationSource, MigrationVersion};
use diesel::pg::Pg;
use diesel_migrations::{EmbeddedMigrations, embed_migrations};

use crate::fixture::{PEOPLE, migrations, number};

const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../migrations");

static OURS: Embedded = db_migrations::embed!("$CARGO_MANIFEST_DIR/../../migrations");
const DIESELS: EmbeddedMigrations = embed_migrations!("../../migrations");

/// What is the same whatever the migrations come from.
fn shown(migrations: &Migrations) -> Vec<(String, String, Option<String>, bool)> {
    let of = |one: &db_migrations::Migration| {
        (one.label(), one.checksum.clone(), one.down.clone(), one.run_in_transaction)
    };
    migrations.iter().map(of).collect()
}

#[test]
fn embedded_migrations_are_those_of_the_directory() {
    let read = Migrations::read(DIRECTORY.as_ref()).unwrap();
    let embedded = OURS.read().unwrap();
    assert!(read.iter().count() > 20);
    assert_eq!(shown(&embedded), shown(&read));
    assert_eq!(embedded.content_hash(), read.content_hash());
}

#[tokio::test]
async fn diesels_own_embedded_migrations_run_too_on_one_thread() {
    let migrations = Migrations::from_source(&DIESELS).unwrap();
    let read = Migrations::read(DIRECTORY.as_ref()).unwrap();
    assert_eq!(shown(&migrations), shown(&read));
    let database = TestDatabase::empty().await.unwrap();
    let mut conn = database.connect().await.unwrap();
    let migrator = Migrator::new(migrations, MigratorConfig::default());
    let all = migrator.apply(&mut conn, |_| ()).await.unwrap().len();
    // What one source applied, the other knows.
    let other = Migrator::new(OURS.read().unwrap(), MigratorConfig::default());
    assert!(other.apply(&mut conn, |_| ()).await.unwrap().is_empty());
    assert_eq!(number(&mut conn, "SELECT count(*) AS n FROM __diesel_schema_migrations").await, all as i64);
}

#[test]
fn diesel_reads_ours_as_a_source() {
    let ours: Vec<Box<dyn Migration<Pg>>> = MigrationSource::<Pg>::migrations(&OURS).unwrap();
    let diesels: Vec<Box<dyn Migration<Pg>>> = DIESELS.migrations().unwrap();
    let names = |all: &[Box<dyn Migration<Pg>>]| {
        let mut names: Vec<_> =
            all.iter().map(|one| (one.name().to_string(), one.name().version().to_string())).collect();
        names.sort();
        names
    };
    assert_eq!(names(&ours), names(&diesels));
    let again = Migrations::from_source(&migrations(&[PEOPLE])).unwrap();
    assert_eq!(shown(&again), shown(&migrations(&[PEOPLE])));
}

/// A migration in Rust.
struct InRust;

impl MigrationSource<Pg> for InRust {
    fn migrations(&self) -> diesel::migration::Result<Vec<Box<dyn Migration<Pg>>>> {
        Ok(vec![Box::new(InRust)])
    }
}

impl std::fmt::Display for InRust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("1_in_rust")
    }
}

impl diesel::migration::MigrationName for InRust {
    fn version(&self) -> MigrationVersion<'_> {
        MigrationVersion::from("1")
    }
}

impl diesel::migration::MigrationMetadata for InRust {}

impl Migration<Pg> for InRust {
    fn run(&self, _: &mut dyn diesel::connection::BoxableConnection<Pg>) -> diesel::migration::Result<()> {
        Err("wants a connection of its own kind".into())
    }

    fn revert(&self, _: &mut dyn diesel::connection::BoxableConnection<Pg>) -> diesel::migration::Result<()> {
        Ok(())
    }

    fn metadata(&self) -> &dyn diesel::migration::MigrationMetadata {
        self
    }

    fn name(&self) -> &dyn diesel::migration::MigrationName {
        self
    }
}

#[test]
fn a_migration_that_is_no_sql_is_refused_by_name() {
    let error = Migrations::from_source(&InRust).unwrap_err();
    assert!(
        matches!(error, MigrationError::Source { .. }) && error.to_string().contains("1_in_rust"),
        "{error}"
    );
}
