//! What is not passed over in silence, and its way out.

use std::time::Duration;

use db_core::Environment;
use db_migrations::{Accept, MigrationError, Migrations, Migrator, MigratorConfig, Repaired};
use db_testkit::TestDatabase;
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};

use crate::fixture::{PEOPLE, PEOPLE_DOWN, migrations, migrator, number};

const NEXT: (&str, &str) = ("3_next/up.sql", "CREATE TABLE next ()");
const NEXT_DOWN: (&str, &str) = ("3_next/down.sql", "DROP TABLE next");

fn accepting(files: &[(&str, &str)], accept: Accept) -> Migrator {
    Migrator::new(migrations(files), MigratorConfig { accept, ..MigratorConfig::default() })
}

async fn refused(conn: &mut AsyncPgConnection, migrator: &Migrator) -> MigrationError {
    let (plan, apply) =
        (migrator.plan(conn).await.unwrap_err(), migrator.apply(conn, |_| ()).await.unwrap_err());
    assert_eq!(plan.to_string(), apply.to_string());
    apply
}

#[tokio::test]
async fn an_edited_migration_is_refused_until_it_is_repaired_or_accepted() {
    let database = TestDatabase::empty().await.unwrap();
    let mut conn = database.connect().await.unwrap();
    migrator(&[PEOPLE]).apply(&mut conn, |_| ()).await.unwrap();
    let commented = ("1_people/up.sql", "-- a comment is no edit\nCREATE TABLE people (id int, name text);");
    migrator(&[commented]).apply(&mut conn, |_| ()).await.unwrap();

    let edited = ("1_people/up.sql", "CREATE TABLE people (id bigint, name text)");
    let error = refused(&mut conn, &migrator(&[edited])).await;
    assert!(matches!(error, MigrationError::Edited { .. }), "{error:?}");
    insta::assert_snapshot!(error, @"1_people was edited after it was applied: put its up.sql back and write a new migration; if the database already is as the file says, accept it with `dbctl migrate repair 1`, or let it be with `--accept edited`");
    let accept = Accept { edited: true, ..Accept::default() };
    assert!(accepting(&[edited], accept).apply(&mut conn, |_| ()).await.unwrap().is_empty());
    insta::assert_snapshot!(migrator(&[edited]).status(&mut conn).await.unwrap(), @r"
    applied  1_people (edited since)
    1 applied, 0 pending
    ");
    let repaired = migrator(&[edited]).repair(&mut conn, &["1".to_owned()]).await.unwrap();
    assert!(matches!(repaired.as_slice(), [Repaired::Accepted(_)]), "{repaired:?}");
    assert!(migrator(&[edited]).apply(&mut conn, |_| ()).await.unwrap().is_empty());
    assert!(matches!(migrator(&[PEOPLE]).plan(&mut conn).await, Err(MigrationError::Edited { .. })));
}

#[tokio::test]
async fn a_migration_before_an_applied_one_is_refused_until_it_is_accepted() {
    let database = TestDatabase::empty().await.unwrap();
    let mut conn = database.connect().await.unwrap();
    migrator(&[NEXT]).apply(&mut conn, |_| ()).await.unwrap();
    let error = refused(&mut conn, &migrator(&[PEOPLE, NEXT])).await;
    assert!(matches!(error, MigrationError::OutOfOrder { .. }), "{error:?}");
    insta::assert_snapshot!(error, @"1_people is pending, but 3 is applied: give it a newer version, or apply it with `--accept out-of-order`");
    let accept = Accept { out_of_order: true, ..Accept::default() };
    assert_eq!(accepting(&[PEOPLE, NEXT], accept).apply(&mut conn, |_| ()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_unknown_applied_version_is_refused_until_it_is_forgotten_or_accepted() {
    let database = TestDatabase::empty().await.unwrap();
    let mut conn = database.connect().await.unwrap();
    migrator(&[PEOPLE, NEXT]).apply(&mut conn, |_| ()).await.unwrap();
    let error = refused(&mut conn, &migrator(&[PEOPLE])).await;
    assert!(matches!(error, MigrationError::Unknown { .. }), "{error:?}");
    insta::assert_snapshot!(error, @"migration 3 is applied but not in the directory: deploy or undo from the branch that has it, forget it with `dbctl migrate repair 3`, or let it be with `--accept unknown`, or `--accept newer` where an old release restarts beside a new one; if it is another service's, keep a ledger for each with `--ledger-schema`");
    let undo = migrator(&[PEOPLE]).undo(&mut conn, 1, |_| ()).await;
    assert!(matches!(undo, Err(MigrationError::Unknown { .. })), "{undo:?}");
    let accept = Accept { unknown: true, ..Accept::default() };
    assert!(accepting(&[PEOPLE], accept).apply(&mut conn, |_| ()).await.unwrap().is_empty());
    let repaired = migrator(&[PEOPLE]).repair(&mut conn, &["3".to_owned()]).await.unwrap();
    assert!(matches!(repaired.as_slice(), [Repaired::Forgotten(_)]), "{repaired:?}");
    assert!(migrator(&[PEOPLE]).apply(&mut conn, |_| ()).await.unwrap().is_empty());
    let nothing = migrator(&[PEOPLE]).repair(&mut conn, &["9".to_owned()]).await;
    assert!(matches!(nothing, Err(MigrationError::NoSuchVersion { .. })), "{nothing:?}");
}

#[tokio::test]
async fn a_database_that_is_older_than_its_migrations_gets_a_baseline() {
    let database = TestDatabase::empty().await.unwrap();
    let mut conn = database.connect().await.unwrap();
    conn.batch_execute("CREATE TABLE people (id int, name text)").await.unwrap();
    let migrator = migrator(&[PEOPLE, NEXT]);
    assert_eq!(migrator.baseline(&mut conn, "1").await.unwrap().len(), 1);
    assert!(migrator.baseline(&mut conn, "1").await.unwrap().is_empty());
    let nothing = migrator.baseline(&mut conn, "2").await;
    assert!(matches!(nothing, Err(MigrationError::NoSuchVersion { .. })), "{nothing:?}");
    assert_eq!(migrator.apply(&mut conn, |_| ()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_reset_is_for_development_and_test_only_and_leaves_what_the_migrations_make() {
    let database = TestDatabase::empty().await.unwrap();
    let mut conn = database.connect().await.unwrap();
    let extension = ("0_trgm/up.sql", "CREATE EXTENSION pg_trgm");
    let migrator = migrator(&[extension, PEOPLE, PEOPLE_DOWN, NEXT, NEXT_DOWN]);
    migrator.apply(&mut conn, |_| ()).await.unwrap();
    conn.batch_execute(
        "CREATE SCHEMA other CREATE TABLE t (); CREATE TYPE kind AS ENUM ('a'); CREATE PUBLICATION all_of_it FOR ALL TABLES; \
         CREATE FUNCTION told() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'; \
         CREATE EVENT TRIGGER told ON ddl_command_end EXECUTE FUNCTION told()",
    )
    .await
    .unwrap();
    for environment in [Environment::Production, Environment::Staging] {
        let refused = migrator.reset(&mut conn, Some(environment), |_| ()).await.unwrap_err();
        assert!(refused.to_string().contains(&environment.to_string()), "{refused}");
    }
    let nowhere = migrator.reset(&mut conn, None, |_| ()).await.unwrap_err();
    assert!(matches!(nowhere, MigrationError::ResetNowhere), "{nowhere}");
    let rights = "SELECT hashtext(coalesce(nspacl::text, '') || nspowner::text)::bigint AS n FROM pg_namespace WHERE nspname = 'public'";
    let before = number(&mut conn, rights).await;
    assert_eq!(migrator.reset(&mut conn, Some(Environment::Test), |_| ()).await.unwrap().len(), 3);
    assert_eq!(number(&mut conn, rights).await, before);
    let left = "SELECT (SELECT count(*) FROM pg_namespace WHERE nspname = 'other') + (SELECT count(*) FROM pg_publication) \
                + (SELECT count(*) FROM pg_event_trigger) + (SELECT count(*) FROM pg_type WHERE typname = 'kind') AS n";
    assert_eq!(number(&mut conn, left).await, 0);
    assert!(migrator.apply(&mut conn, |_| ()).await.unwrap().is_empty());
}

#[tokio::test]
async fn statements_that_no_migration_can_have_are_refused_before_anything_runs() {
    let database = TestDatabase::empty().await.unwrap();
    let mut conn = database.connect().await.unwrap();
    for (sql, why) in [
        ("CREATE TABLE t (); ROLLBACK", "remove it"),
        ("CREATE TABLE t (); COPY t FROM STDIN", "needs a client"),
        ("CREATE TABLE t ();\n\\restrict x", "is for psql only"),
        ("CREATE TABLE t (); BEGIN; VACUUM; COMMIT", "move it out"),
    ] {
        let error = migrator(&[("1_a/up.sql", sql)]).apply(&mut conn, |_| ()).await.unwrap_err();
        assert!(
            matches!(error, MigrationError::Refused { .. }) && error.to_string().contains(why),
            "{error}"
        );
    }
    assert_eq!(number(&mut conn, "SELECT count(*) AS n FROM pg_class WHERE relname = 't'").await, 0);
}

#[tokio::test]
async fn a_runner_that_waits_in_vain_says_so() {
    let database = TestDatabase::empty().await.unwrap();
    let (mut holder, mut conn) = (database.connect().await.unwrap(), database.connect().await.unwrap());
    let key = i64::from_be_bytes(*b"db-migra");
    holder.batch_execute(&format!("SELECT pg_advisory_lock({key})")).await.unwrap();
    let impatient = MigratorConfig { lock_patience: Duration::from_millis(200), ..MigratorConfig::default() };
    let migrator = Migrator::new(migrations(&[PEOPLE]), impatient);
    assert!(matches!(migrator.apply(&mut conn, |_| ()).await, Err(MigrationError::Locked { .. })));
}

#[test]
fn a_directory_that_diesel_would_misread_is_refused() {
    let read = |files: &[(&str, &str)]| {
        let directory = tempfile::tempdir().unwrap();
        for (file, text) in files {
            let path = directory.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        Migrations::read(directory.path()).unwrap_err()
    };
    let duplicate = read(&[PEOPLE, ("1_other/up.sql", "")]);
    assert!(
        matches!(duplicate, MigrationError::DuplicateVersion { .. })
            && duplicate.to_string().contains("rename one")
    );
    for metadata in ["", "run_in_transactoin = false"] {
        let wrong = read(&[PEOPLE, ("1_people/metadata.toml", metadata)]);
        assert!(
            matches!(wrong, MigrationError::Metadata { .. }) && wrong.to_string().contains("remove the file")
        );
    }
}
