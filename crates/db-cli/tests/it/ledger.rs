//! Where the tables are that say what was applied: no `search_path` moves them.

use db_testkit::TestDatabase;
use diesel_async::SimpleAsyncConnection;

use crate::{Run, ask, dbctl, write};

/// Would run again, and again, without complaint.
const COUNTED: (&str, &str) = (
    "1_counted/up.sql",
    "CREATE SCHEMA IF NOT EXISTS tenant; CREATE SCHEMA IF NOT EXISTS app; \
     CREATE TABLE IF NOT EXISTS app.runs (n int); INSERT INTO app.runs VALUES (1)",
);
const RUNS: &str = "SELECT count(*) FROM app.runs";

/// As the extension PostGIS does it, when it is told to be found.
const ADDS_ITSELF_TO_THE_PATH: &str = "CREATE SCHEMA ext; CREATE EXTENSION pg_trgm SCHEMA ext; \
    CREATE FUNCTION ext.add_to_search_path() RETURNS void LANGUAGE plpgsql AS \
    $$BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = ext, tenant', current_database()); END$$; \
    SELECT ext.add_to_search_path()";

struct Place {
    database: TestDatabase,
    directory: tempfile::TempDir,
}

impl Place {
    async fn with(files: &[(&str, &str)]) -> Self {
        let place =
            Place { database: TestDatabase::empty().await.unwrap(), directory: tempfile::tempdir().unwrap() };
        write(place.directory.path(), files);
        place
    }

    async fn run(&self, arguments: &[&str]) -> Run {
        self.run_at(self.database.url(), arguments).await
    }

    async fn run_at(&self, url: &str, arguments: &[&str]) -> Run {
        let dir = ["--dir", self.directory.path().to_str().unwrap()];
        dbctl(&[("DATABASE_URL", url), ("APP_ENV", "test")], &[&["migrate"], arguments, &dir].concat()).await
    }

    async fn sql(&self, sql: &str) {
        self.database.connect().await.unwrap().batch_execute(sql).await.unwrap();
    }

    /// Applies, and expects so many migrations.
    async fn applies(&self, expected: &str) {
        let applied = self.run(&["apply"]).await;
        assert_eq!((applied.code, applied.out.trim()), (Some(0), expected), "{}", applied.err);
    }
}

const ALTERS_THE_DATABASE: &str =
    "DO $$BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = tenant', current_database()); END$$";
const ALTERS_THE_ROLE: &str = "DO $$BEGIN EXECUTE format('ALTER ROLE %I IN DATABASE %I SET search_path = \
    tenant', current_user, current_database()); END$$";

/// Applies a migration, with statements before it, at its end and after it; then applies again: nothing runs
/// twice.
async fn runs_once(before: &str, at_its_end: &str, after: &str) {
    let both = format!("{}; {at_its_end}", COUNTED.1);
    let place = Place::with(&[("1_counted/up.sql", &both), ("2_next/up.sql", "SELECT 1")]).await;
    place.sql(before).await;
    place.applies("2 applied").await;
    place.sql(after).await;
    for _ in 0..2 {
        place.applies("nothing to do").await;
    }
    assert_eq!(ask(&place.database, RUNS).await, "1");
    assert_eq!(ask(&place.database, "to_regclass('tenant.__diesel_schema_migrations')").await, "null");
}

#[tokio::test]
async fn a_database_whose_search_path_was_altered_is_not_migrated_again() {
    runs_once("", "", ALTERS_THE_DATABASE).await;
    // The schema is one that the first migration makes.
    runs_once(ALTERS_THE_DATABASE, "", "").await;
}

#[tokio::test]
async fn a_role_whose_search_path_was_altered_does_not_migrate_again() {
    runs_once("", "", ALTERS_THE_ROLE).await;
    runs_once(ALTERS_THE_ROLE, "", "").await;
}

#[tokio::test]
async fn a_migration_that_alters_search_path_does_not_run_again() {
    runs_once("", ALTERS_THE_DATABASE, "").await;
    runs_once("", ALTERS_THE_ROLE, "").await;
    runs_once("", "SET search_path = tenant", "").await;
    runs_once("", "SELECT set_config('search_path', 'tenant', false)", "").await;
}

#[tokio::test]
async fn an_extension_that_adds_itself_to_search_path_moves_no_ledger() {
    runs_once("", ADDS_ITSELF_TO_THE_PATH, "").await;
}

#[tokio::test]
async fn functions_of_the_same_names_as_the_servers_change_nothing() {
    let place = Place::with(&[COUNTED]).await;
    place.applies("1 applied").await;
    place
        .sql(
            "CREATE FUNCTION app.to_regclass(text) RETURNS regclass LANGUAGE sql AS 'SELECT NULL::regclass';
             CREATE FUNCTION app.pg_try_advisory_lock(bigint) RETURNS boolean LANGUAGE sql AS 'SELECT false';
             CREATE FUNCTION app.pg_advisory_unlock(bigint) RETURNS boolean LANGUAGE sql AS 'SELECT false';
             CREATE FUNCTION app.never(name, name) RETURNS boolean LANGUAGE sql AS 'SELECT false';
             CREATE OPERATOR app.= (LEFTARG = name, RIGHTARG = name, FUNCTION = app.never);
             CREATE VIEW app.pg_class AS SELECT * FROM pg_catalog.pg_class WHERE false;
             DO $$BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = app, pg_catalog',
                 current_database()); END$$",
        )
        .await;
    place.applies("nothing to do").await;
    write(place.directory.path(), &[("2_next/up.sql", "CREATE TABLE app.next ()")]);
    place.applies("1 applied").await;
    assert_eq!(ask(&place.database, RUNS).await, "1");
}

#[tokio::test]
async fn an_older_ledger_is_found_in_whatever_schema_it_is() {
    let place = Place::with(&[COUNTED]).await;
    place
        .sql(
            "CREATE SCHEMA app; CREATE TABLE app.runs (n int); INSERT INTO app.runs VALUES (1);
             CREATE TABLE app.__diesel_schema_migrations (version VARCHAR(50) PRIMARY KEY NOT NULL,
                 run_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP);
             INSERT INTO app.__diesel_schema_migrations VALUES ('1');
             CREATE TABLE public.__db_migrations (note text)",
        )
        .await;
    place.applies("nothing to do").await;
    write(place.directory.path(), &[("2_next/up.sql", "SELECT 1")]);
    place.applies("1 applied").await;
    assert_eq!(ask(&place.database, RUNS).await, "1");
    assert_eq!(ask(&place.database, "SELECT count(*) FROM app.__db_migrations").await, "1");
}

#[tokio::test]
async fn of_two_ledgers_the_one_that_is_meant_must_be_named() {
    let place = Place::with(&[COUNTED]).await;
    place.applies("1 applied").await;
    place
        .sql("CREATE TABLE tenant.__diesel_schema_migrations (LIKE public.__diesel_schema_migrations)")
        .await;
    for command in [&["apply"][..], &["plan"], &["status"], &["undo"], &["repair"], &["baseline", "1"]] {
        let refused = place.run(command).await;
        assert_eq!(refused.code, Some(1), "{command:?}: {}", refused.out);
        assert!(
            refused.err.contains("public and tenant") && refused.err.contains("--ledger-schema"),
            "{command:?}: {}",
            refused.err
        );
    }
    let named = place.run(&["apply", "--ledger-schema", "public"]).await;
    assert_eq!((named.code, named.out.as_str()), (Some(0), "nothing to do\n"), "{}", named.err);
    let by_setting = [("DATABASE_URL", place.database.url()), ("DB_LEDGER_SCHEMA", "public")];
    let dir = place.directory.path().to_str().unwrap();
    assert_eq!(dbctl(&by_setting, &["migrate", "apply", "--dir", dir]).await.out, "nothing to do\n");
    assert_eq!(ask(&place.database, RUNS).await, "1");
}

#[tokio::test]
async fn each_tenants_schema_has_a_ledger_of_its_own() {
    let place = Place::with(&[("1_notes/up.sql", "CREATE TABLE notes ()")]).await;
    place.sql("CREATE SCHEMA one; CREATE SCHEMA two").await;
    for tenant in ["one", "two"] {
        let url = format!("{}?options=-c%20search_path%3D{tenant}", place.database.url());
        for expected in ["1 applied\n", "nothing to do\n"] {
            let applied = place.run_at(&url, &["apply", "--ledger-schema", tenant]).await;
            assert_eq!((applied.code, applied.out.as_str()), (Some(0), expected), "{}", applied.err);
        }
    }
    let tables = "SELECT string_agg(oid::regclass::text, ' ' ORDER BY oid::regclass::text) FROM pg_class \
                  WHERE relname IN ('notes', '__db_migrations')";
    let made = "one.__db_migrations one.notes two.__db_migrations two.notes";
    assert_eq!(ask(&place.database, tables).await, made);
    // A name that was misspelt runs nothing.
    let misspelt = place.run(&["apply", "--ledger-schema", "tow"]).await;
    assert!(misspelt.code == Some(1) && misspelt.err.contains("no schema tow"), "{}", misspelt.err);
}

#[tokio::test]
async fn a_ledger_that_this_role_may_not_read_is_not_taken_for_none() {
    let place = Place::with(&[COUNTED]).await;
    place.applies("1 applied").await;
    let role = format!("r_{}", place.database.name());
    place
        .sql(&format!(
            "CREATE ROLE {role} LOGIN PASSWORD 'x'; GRANT ALL ON SCHEMA app, tenant TO {role}; \
             GRANT ALL ON app.runs TO {role}; CREATE SCHEMA mine AUTHORIZATION {role}; \
             REVOKE ALL ON SCHEMA public FROM PUBLIC; ALTER ROLE {role} SET search_path = mine"
        ))
        .await;
    let (scheme, rest) = place.database.url().split_once("://").unwrap();
    let url = format!("{scheme}://{role}:x@{}", rest.split_once('@').unwrap().1);
    let refused = place.run_at(&url, &["apply"]).await;
    assert_eq!(refused.code, Some(1), "{}", refused.out);
    assert!(refused.err.contains("may not read it") && refused.err.contains("GRANT"), "{}", refused.err);
    assert_eq!(ask(&place.database, RUNS).await, "1");
    // A new one where this role may not make it.
    place.sql("DROP TABLE __diesel_schema_migrations, __db_migrations, __db_migrations_under_way").await;
    let refused = place.run_at(&url, &["apply"]).await;
    assert!(refused.code == Some(1) && refused.err.contains("GRANT"), "{}", refused.err);
    let mine = place.run_at(&url, &["apply", "--ledger-schema", "mine", "--accept", "edited"]).await;
    assert_eq!(mine.code, Some(1), "{}", mine.out);
    assert!(mine.err.contains("permission denied for database"), "{}", mine.err);
    place.sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
}

#[tokio::test]
async fn a_migration_may_rename_the_ledgers_schema_and_may_not_drop_it() {
    let rename = ("2_rename/up.sql", "ALTER SCHEMA public RENAME TO legacy; CREATE SCHEMA public");
    let place = Place::with(&[COUNTED, rename]).await;
    place.applies("2 applied").await;
    place.applies("nothing to do").await;
    assert_eq!(ask(&place.database, "SELECT count(*) FROM legacy.__diesel_schema_migrations").await, "2");

    let drop = ("3_drop/up.sql", "DROP SCHEMA legacy CASCADE; CREATE TABLE app.too_late ()");
    write(place.directory.path(), &[drop]);
    let refused = place.run(&["apply"]).await;
    assert_eq!(refused.code, Some(1), "{}", refused.out);
    assert!(refused.err.contains("drops the tables that say which"), "{}", refused.err);
    assert_eq!(ask(&place.database, "SELECT count(*) FROM legacy.__diesel_schema_migrations").await, "2");
    assert_eq!(ask(&place.database, "to_regclass('app.too_late')").await, "null");
}

#[tokio::test]
async fn a_stranger_in_the_ledgers_place_is_named() {
    let place = Place::with(&[COUNTED]).await;
    place.sql("CREATE TABLE public.__db_migrations (note text)").await;
    let refused = place.run(&["apply"]).await;
    assert_eq!(refused.code, Some(1), "{}", refused.out);
    assert!(refused.err.contains("\"public\".__db_migrations is no ledger"), "{}", refused.err);
    place.sql("CREATE SCHEMA ops").await;
    assert_eq!(place.run(&["apply", "--ledger-schema", "ops"]).await.out, "1 applied\n");
    place.applies("nothing to do").await;
}

#[tokio::test]
async fn a_reset_needs_no_choice_between_two_ledgers() {
    let place = Place::with(&[COUNTED]).await;
    place.applies("1 applied").await;
    place
        .sql("CREATE TABLE tenant.__diesel_schema_migrations (LIKE public.__diesel_schema_migrations)")
        .await;
    assert_eq!(place.run(&["reset", "--yes"]).await.out, "1 applied\n");
    place.applies("nothing to do").await;
}
