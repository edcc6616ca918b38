//! A live database is compared with its migrations, and the history says what is new.

use std::process::Command;

use db_migrations::check::{DriftConfig, Past, drift};
use db_migrations::{Migrations, Migrator, MigratorConfig};
use db_testkit::TestDatabase;
use diesel_async::SimpleAsyncConnection;

use crate::check_corpus::shared;
use crate::fixture::migrations;

const PEOPLE: (&str, &str) = ("1_people/up.sql", "CREATE TABLE people (id int, name text)");
const INDEX: (&str, &str) = ("2_index/up.sql", "CREATE INDEX CONCURRENTLY people_name_idx ON people (name)");
const PENDING: (&str, &str) = ("3_later/up.sql", "CREATE TABLE later ()");

#[tokio::test]
async fn what_was_changed_by_hand_is_told() {
    let database = TestDatabase::empty().await.unwrap();
    let mut conn = database.connect().await.unwrap();
    Migrator::new(migrations(&[PEOPLE, INDEX]), MigratorConfig::default())
        .apply(&mut conn, |_| ())
        .await
        .unwrap();
    let (server, all) = (shared().await, migrations(&[PEOPLE, INDEX, PENDING]));
    let none = drift(&server, &all, &mut conn, &DriftConfig::default()).await.unwrap();
    assert!(none.is_none() && none.pending == ["3"], "{none:?}");

    let by_hand = "DROP INDEX people_name_idx; ALTER TABLE people ALTER name SET NOT NULL; CREATE SEQUENCE numbers AS int; \
                   GRANT SELECT ON people TO pg_monitor";
    conn.batch_execute(by_hand).await.unwrap();
    let found =
        drift(&server, &migrations(&[PEOPLE, INDEX]), &mut conn, &DriftConfig::default()).await.unwrap();
    let told: Vec<String> = found.differences.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(told.join("\n"), @r"
    lost: index public.people_name_idx: CREATE INDEX people_name_idx ON public.people USING btree (name)
    left over: sequence public.numbers: integer start 1 increment 1 min 1 max 2147483647 cache 1
    changed: column public.people.name: not null was none, is yes
    ");
    assert!(!found.is_none());

    let unknown = drift(&server, &migrations(&[PEOPLE]), &mut conn, &DriftConfig::default()).await.unwrap();
    assert_eq!(unknown.unknown, ["2"]);
}

#[tokio::test]
async fn a_default_partition_and_what_is_rare_are_told_too() {
    let database = TestDatabase::empty().await.unwrap();
    let mut conn = database.connect().await.unwrap();
    let logs = "CREATE TABLE logs (at date NOT NULL) PARTITION BY RANGE (at); CREATE OPERATOR FAMILY known USING btree";
    let all = migrations(&[("1_logs/up.sql", logs)]);
    Migrator::new(all.clone(), MigratorConfig::default()).apply(&mut conn, |_| ()).await.unwrap();
    let by_hand = "CREATE TABLE logs_rest PARTITION OF logs DEFAULT; \
                   CREATE TABLE logs_2026 PARTITION OF logs FOR VALUES FROM ('2026-01-01') TO ('2027-01-01'); \
                   ALTER OPERATOR FAMILY known USING btree ADD OPERATOR 1 < (int, bigint); \
                   CREATE CONVERSION odd FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8";
    conn.batch_execute(by_hand).await.unwrap();
    let found = drift(&shared().await, &all, &mut conn, &DriftConfig::default()).await.unwrap();
    let told: Vec<&str> = found.differences.iter().map(|one| one.object.as_str()).collect();
    assert_eq!(
        told,
        ["conversion public.odd", "operator family public.known using btree", "table public.logs_rest"]
    );
}

#[test]
fn the_history_says_which_migrations_are_new_and_which_were_edited() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("app/migrations");
    let git = |arguments: &[&str]| {
        let identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"];
        let output =
            Command::new("git").current_dir(place.path()).args(identity).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let write = |name: &str, text: &str| {
        let file = directory.join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    };
    git(&["init", "-q", "-b", "main"]);
    write("2026-01-01-000000_people/up.sql", "CREATE TABLE people ()");
    write("2026-01-02-000000_more/up.sql", "CREATE TABLE more ()");
    write("schema.rs", "old");
    git(&["add", "."]);
    git(&["commit", "-q", "-m", "first"]);
    git(&["checkout", "-q", "-b", "change"]);
    write("2026-01-03-000000_new/up.sql", "CREATE TABLE new ()");
    write("2026-01-02-000000_more/up.sql", "CREATE TABLE more (id int)");
    write("schema.rs", "new");
    git(&["add", "."]);
    git(&["commit", "-q", "-m", "second"]);

    let past = Past::at(&directory, "main").unwrap();
    assert_eq!(past.new_ones(&Migrations::read(&directory).unwrap()), ["20260103000000"]);
    assert_eq!(past.versions.len(), 2);
    assert_eq!(past.edited, [directory.join("2026-01-02-000000_more/up.sql")]);
    assert_eq!(past.file(&directory.join("schema.rs")).unwrap(), "old");
    let error = Past::at(&directory, "no-such-branch").unwrap_err().to_string();
    assert!(error.contains("no-such-branch"), "{error}");
}
