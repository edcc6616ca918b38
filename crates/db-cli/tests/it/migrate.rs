//! `dbctl migrate` beyond apply and undo.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use db_testkit::TestDatabase;
use diesel_async::SimpleAsyncConnection;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::run::program;
use crate::{Run, dbctl, write};

fn json(run: &Run) -> Value {
    serde_json::from_str(&run.out).unwrap_or_else(|_| panic!("{} {}", run.out, run.err))
}

const ONE: (&str, &str) = ("1_one/up.sql", "CREATE TABLE one (id int)");
const TWO: (&str, &str) = ("2_two/up.sql", "CREATE INDEX CONCURRENTLY one_id ON one (id)");

#[tokio::test]
async fn findings_are_errors_that_can_be_accepted_or_repaired() {
    let database = TestDatabase::empty().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), &[ONE]);
    let dir = directory.path().to_str().unwrap();
    let at = [("DATABASE_URL", database.url())];
    let pending = dbctl(&at, &["migrate", "plan", "--dir", dir, "--exit-code"]).await;
    assert_eq!((pending.code, pending.out.lines().count()), (Some(3), 2), "{}", pending.out);
    assert_eq!(dbctl(&at, &["migrate", "apply", "--dir", dir]).await.code, Some(0));
    assert_eq!(dbctl(&at, &["migrate", "plan", "--dir", dir, "--exit-code"]).await.code, Some(0));

    write(directory.path(), &[("1_one/up.sql", "CREATE TABLE one (id bigint)"), TWO]);
    let refused = dbctl(&at, &["migrate", "apply", "--dir", dir, "--json"]).await;
    assert_eq!((refused.code, refused.out.as_str()), (Some(1), ""));
    let said: Value = serde_json::from_str(&refused.err).unwrap();
    assert!(said["error"].as_str().unwrap().contains("dbctl migrate repair 1"), "{said}");
    let status = json(&dbctl(&at, &["migrate", "status", "--dir", dir, "--json"]).await);
    assert_eq!(status["migrations"][0]["edited"], true, "{status}");

    let plan = json(&dbctl(&at, &["migrate", "plan", "--dir", dir, "--json", "--accept", "edited"]).await);
    let statement = &plan["pending"][0]["statements"][0];
    assert_eq!(statement["in_transaction"], false, "{plan}");
    assert_eq!(statement["lock"], "SHARE UPDATE EXCLUSIVE", "{plan}");
    let repaired = dbctl(&at, &["migrate", "repair", "1", "--dir", dir]).await;
    assert_eq!((repaired.code, repaired.out.as_str()), (Some(0), "1 accepted\n"));
    assert_eq!(dbctl(&at, &["migrate", "apply", "--dir", dir]).await.out, "1 applied\n");
}

#[tokio::test]
async fn an_old_database_gets_a_baseline_and_a_reset_asks_twice() {
    let database = TestDatabase::empty().await.unwrap();
    let mut conn = database.connect().await.unwrap();
    conn.batch_execute("CREATE TABLE one (id int)").await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), &[ONE, TWO]);
    let dir = directory.path().to_str().unwrap();
    let at = [("DATABASE_URL", database.url()), ("APP_ENV", "development")];
    let baseline = dbctl(&at, &["migrate", "baseline", "1", "--dir", dir]).await;
    assert_eq!(
        (baseline.code, baseline.out.as_str()),
        (Some(0), "1 recorded as applied\n"),
        "{}",
        baseline.err
    );
    assert_eq!(dbctl(&at, &["migrate", "apply", "--dir", dir]).await.out, "1 applied\n");

    assert_eq!(dbctl(&at, &["migrate", "reset", "--dir", dir]).await.code, Some(2));
    let production = [("DATABASE_URL", database.url()), ("APP_ENV", "production")];
    let refused = dbctl(&production, &["migrate", "reset", "--yes", "--dir", dir]).await;
    assert!(refused.code == Some(1) && refused.err.contains("production"), "{}", refused.err);
    assert_eq!(dbctl(&at, &["migrate", "reset", "--yes", "--dir", dir]).await.out, "2 applied\n");
}

#[tokio::test]
async fn a_new_migration_can_be_written_from_schema_rs_and_goes_up_and_down() {
    let database = TestDatabase::empty().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path().join("migrations");
    let dir = dir.to_str().unwrap();
    let schema = directory.path().join("schema.rs");
    std::fs::write(&schema, "diesel::table! { people (id) { id -> Int8, name -> Text, } }").unwrap();
    let at = [("DATABASE_URL", database.url()), ("APP_ENV", "development")];
    let new = ["migrate", "new", "people", "--dir", dir, "--diff-schema", schema.to_str().unwrap()];
    let made = dbctl(&at, &new).await;
    assert!(made.code == Some(0) && made.out.ends_with("_people\n"), "{}{}", made.out, made.err);
    let up = std::fs::read_to_string(Path::new(made.out.trim()).join("up.sql")).unwrap();
    assert!(up.starts_with("CREATE TABLE people (\n    id int8 NOT NULL,"), "{up}");
    assert_eq!(dbctl(&at, &["migrate", "apply", "--dir", dir]).await.out, "1 applied\n");
    let nothing = dbctl(&at, &new).await;
    assert!(nothing.code == Some(1) && nothing.err.contains("already as"), "{}", nothing.err);
    assert_eq!(dbctl(&at, &["migrate", "undo", "--dir", dir]).await.out, "1 undone\n");
    // Without a database, and never before one that exists.
    write(Path::new(dir), &[("2999-01-01-000000_far/up.sql", "")]);
    let early = dbctl(&[], &["migrate", "new", "early", "--dir", dir]).await;
    assert!(early.code == Some(1) && early.err.contains("newer version"), "{}", early.err);
    let wrong = dbctl(&[], &["migrate", "new", "a name", "--dir", dir]).await;
    assert!(wrong.code == Some(1) && wrong.err.contains("no name"), "{}", wrong.err);
}

#[tokio::test]
async fn the_table_of_commit_markers_is_a_migration_that_dbctl_writes() {
    let database = TestDatabase::empty().await.unwrap();
    let mut conn = database.connect().await.unwrap();
    conn.batch_execute("CREATE SCHEMA \"Tenant 7\"").await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path().to_str().unwrap();
    let vars = [("DATABASE_URL", database.url()), ("DB_MARKER_SCHEMA", "Tenant 7"), ("APP_ENV", "test")];
    let new = ["migrate", "new", "commit_markers", "--commit-markers", "--dir", dir];
    let made = dbctl(&vars, &new).await;
    assert_eq!(made.code, Some(0), "{}", made.err);
    assert_eq!(dbctl(&vars, &["migrate", "apply", "--dir", dir]).await.out, "1 applied\n");
    let forgotten = db_platform::retry::marker::forget_in(&mut conn, "Tenant 7", Duration::ZERO, 1).await;
    assert_eq!(forgotten.unwrap(), 0, "the table is there");
    assert_eq!(dbctl(&vars, &["migrate", "undo", "--dir", dir]).await.out, "1 undone\n");
    let gone = db_platform::retry::marker::forget_in(&mut conn, "Tenant 7", Duration::ZERO, 1).await;
    assert!(gone.is_err(), "{gone:?}");
    let both = ["migrate", "new", "x", "--commit-markers", "--diff-schema", "schema.rs", "--dir", dir];
    assert_eq!(dbctl(&vars, &both).await.code, Some(2));
}

#[tokio::test]
async fn a_check_finds_what_a_down_loses_and_goes_on_behind_a_bad_migration() {
    let directory = tempfile::tempdir().unwrap();
    write(
        directory.path(),
        &[
            ("1_one/up.sql", "CREATE TABLE one (id int)"),
            ("1_one/down.sql", "DROP TABLE one"),
            ("2_two/up.sql", "CREATE INDEX one_id ON one (id); COMMENT ON TABLE one IS 'two'"),
            ("2_two/down.sql", "DROP INDEX one_id"),
            ("3_three/up.sql", "SELECT no_such_function()"),
            ("4_four/up.sql", "CREATE TABLE four ()"),
        ],
    );
    let dir = directory.path().to_str().unwrap();
    let checked = dbctl(&[], &["migrate", "check", "--dir", dir, "--json"]).await;
    assert_eq!(checked.code, Some(3), "{}", checked.err);
    let report = json(&checked);
    let of = |key: &str| -> Vec<String> {
        report["migrations"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one[key].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(of("up"), ["ok", "ok", "error", "ok"], "{report}");
    assert_eq!(of("round_trip"), ["same", "differs", "not checked", "not checked"], "{report}");
    assert_eq!(of("down")[3], "missing", "{report}");
    let only = dbctl(&[], &["migrate", "check", "--dir", dir, "--only", "1"]).await;
    assert_eq!(only.code, Some(0), "{}{}", only.out, only.err);
    assert!(only.out.starts_with("ok    1_one"), "{}", only.out);
}

#[tokio::test]
async fn lint_needs_no_database() {
    let directory = tempfile::tempdir().unwrap();
    write(
        directory.path(),
        &[("1_one/up.sql", "CREATE TABLE one (id int);\nDROP TABLE two;\n"), ("2_two/up.sql", "")],
    );
    let (bad, good) = (directory.path().join("1_one/up.sql"), directory.path().join("2_two/up.sql"));
    let (bad, good) = (bad.to_str().unwrap(), good.to_str().unwrap());
    let found = dbctl(&[], &["migrate", "lint", bad, good, "--json"]).await;
    assert_eq!(found.code, Some(3), "{}", found.err);
    let found = json(&found);
    let first = &found[0];
    assert_eq!((first["file"].as_str(), first["line"].as_u64()), (Some(bad), Some(2)), "{found}");
    assert!(
        first["rule"].is_string() && first["severity"].is_string() && first["message"].is_string(),
        "{found}"
    );
    assert_eq!(dbctl(&[], &["migrate", "lint", good]).await.out, "nothing found\n");
    let github = dbctl(&[], &["migrate", "lint", bad, "--format", "github"]).await;
    assert!(github.out.starts_with("::warning file="), "{}", github.out);
    let sarif = json(&dbctl(&[], &["migrate", "lint", bad, "--format", "sarif"]).await);
    assert_eq!(sarif["version"], "2.1.0");
}

#[tokio::test]
async fn drift_tells_what_was_changed_by_hand_and_what_schema_rs_has_otherwise() {
    let database = TestDatabase::empty().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), &[ONE]);
    let dir = directory.path().to_str().unwrap();
    let at = [("DATABASE_URL", database.url())];
    dbctl(&at, &["migrate", "apply", "--dir", dir]).await;
    let none = dbctl(&at, &["migrate", "drift", "--dir", dir]).await;
    assert_eq!(
        (none.code, none.out.as_str()),
        (Some(0), "the database is what its migrations make\n"),
        "{}",
        none.err
    );
    database.connect().await.unwrap().batch_execute("ALTER TABLE one ADD COLUMN by_hand int").await.unwrap();
    let found = dbctl(&at, &["migrate", "drift", "--dir", dir]).await;
    assert!(found.code == Some(3) && found.out.contains("by_hand"), "{}", found.out);
    let schema = directory.path().join("schema.rs");
    std::fs::write(&schema, "diesel::table! { one (id) { id -> Nullable<Int4>, more -> Nullable<Text>, } }")
        .unwrap();
    let found =
        dbctl(&at, &["migrate", "drift", "--dir", dir, "--schema-rs", schema.to_str().unwrap(), "--json"])
            .await;
    assert!(json(&found)["schema_rs"].as_str().unwrap().contains("ADD COLUMN more text"), "{}", found.out);
}

#[tokio::test]
async fn a_check_from_a_branch_looks_at_what_is_new_and_at_what_old_code_needs() {
    let place = tempfile::tempdir().unwrap();
    let git = |arguments: &[&str]| {
        let identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"];
        let mut git = std::process::Command::new("git");
        assert!(
            git.current_dir(place.path()).args(identity).args(arguments).output().unwrap().status.success()
        );
    };
    let schema = "diesel::table! { one (id) { id -> Nullable<Int4>, } }";
    write(
        place.path(),
        &[("m/1_one/up.sql", ONE.1), ("m/1_one/down.sql", "DROP TABLE one"), ("schema.rs", schema)],
    );
    git(&["init", "-q", "-b", "main"]);
    git(&["add", "."]);
    git(&["commit", "-q", "-m", "first"]);
    let (dir, file) = (place.path().join("m"), place.path().join("schema.rs"));
    let arguments = [
        "migrate",
        "check",
        "--dir",
        dir.to_str().unwrap(),
        "--from",
        "main",
        "--schema-rs",
        file.to_str().unwrap(),
    ];
    let nothing = dbctl(&[], &arguments).await;
    assert!(
        nothing.code == Some(0) && nothing.out.starts_with("no migration has come"),
        "{}{}",
        nothing.out,
        nothing.err
    );
    write(
        place.path(),
        &[
            ("m/2_two/up.sql", "ALTER TABLE one DROP COLUMN id"),
            ("m/2_two/down.sql", "ALTER TABLE one ADD COLUMN id int"),
        ],
    );
    let contract = dbctl(&[], &arguments).await;
    assert_eq!(contract.code, Some(3), "{}{}", contract.out, contract.err);
    assert!(contract.out.contains("2_two") && !contract.out.contains("1_one"), "{}", contract.out);
    assert!(contract.out.contains("the code that still runs needs"), "{}", contract.out);
}

#[tokio::test]
async fn another_tools_migrations_are_refused_by_name_and_imported() {
    let database = TestDatabase::empty().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    write(
        directory.path(),
        &[
            ("theirs/V1__create_users.sql", "\u{feff}CREATE TABLE users (id int PRIMARY KEY)"),
            ("theirs/V2__mail.sql", "ALTER TABLE users ADD COLUMN mail text"),
            ("theirs/V10__mail_needed.sql", "ALTER TABLE users ALTER COLUMN mail SET NOT NULL"),
            ("theirs/U10__mail_needed.sql", "ALTER TABLE users ALTER COLUMN mail DROP NOT NULL"),
        ],
    );
    let theirs = directory.path().join("theirs");
    let ours = directory.path().join("ours");
    let (theirs, ours) = (theirs.to_str().unwrap(), ours.to_str().unwrap());
    let at = [("DATABASE_URL", database.url()), ("APP_ENV", "test")];
    for command in ["plan", "apply", "status"] {
        let refused = dbctl(&at, &["migrate", command, "--dir", theirs]).await;
        let named = refused.err.contains("Flyway") && refused.err.contains("migrate import");
        assert!(refused.code == Some(1) && named, "{command}: {}", refused.err);
    }
    let imported = dbctl(&[], &["--json", "migrate", "import", theirs, "--dir", ours]).await;
    let versions: Vec<_> =
        json(&imported).as_array().unwrap().iter().map(|one| one["version"].clone()).collect();
    assert_eq!(versions, ["01", "02", "10"]);
    assert_eq!(dbctl(&at, &["migrate", "apply", "--dir", ours]).await.out, "3 applied\n");
    assert_eq!(dbctl(&at, &["migrate", "undo", "--dir", ours]).await.out, "1 undone\n");
    let again = dbctl(&[], &["migrate", "import", theirs, "--dir", ours]).await;
    assert!(again.code == Some(1) && again.err.contains("there already"), "{}", again.err);
}

/// Ends with the line of standard error that says it.
async fn said(lines: &mut tokio::io::Lines<BufReader<tokio::process::ChildStderr>>, what: &str) -> String {
    let mut heard = Vec::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        if line.contains(what) {
            return line;
        }
        heard.push(line);
    }
    panic!("it ended without {what:?}: {heard:#?}");
}

#[tokio::test]
async fn a_migration_that_waits_says_for_whom() {
    let database = TestDatabase::empty().await.unwrap();
    let mut blocker = database.connect().await.unwrap();
    blocker.batch_execute("CREATE TABLE one (id int); SET application_name = 'billing'").await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), &[("1_one/up.sql", "\nALTER TABLE one ADD COLUMN name text")]);
    let dir = directory.path().to_str().unwrap();
    let at = [("DATABASE_URL", database.url()), ("APP_ENV", "test")];
    blocker.batch_execute("BEGIN; INSERT INTO one VALUES (4711)").await.unwrap();
    let apply = || {
        let mut command = tokio::process::Command::from(program(&at, &["migrate", "apply", "--dir", dir]));
        command.stderr(Stdio::piped()).stdout(Stdio::null()).kill_on_drop(true).spawn().unwrap()
    };
    let mut first = apply();
    let mut lines = BufReader::new(first.stderr.take().unwrap()).lines();
    let line = said(&mut lines, "has waited for").await;
    assert!(line.contains("1_one/up.sql:2") && line.contains("(billing)"), "{line}");
    assert!(line.contains("idle in transaction") && !line.contains("4711"), "{line}");
    // Another runner waits for this one, and says so.
    let mut second = apply();
    let mut others = BufReader::new(second.stderr.take().unwrap()).lines();
    let line = said(&mut others, "another runner").await;
    assert!(line.contains("(dbctl)"), "{line}");
    blocker.batch_execute("ROLLBACK").await.unwrap();
    assert!(first.wait().await.unwrap().success());
    assert!(second.wait().await.unwrap().success());
}

#[tokio::test]
async fn an_apply_stops_where_it_is_told_to() {
    let database = TestDatabase::empty().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let view = ("R__view.sql", "CREATE OR REPLACE VIEW all_of_four AS SELECT FROM four");
    let tables = ["1_one", "2_two", "3_three", "4_four"].map(|name| {
        let table = name.split_once('_').unwrap().1;
        (format!("{name}/up.sql"), format!("CREATE TABLE {table} ()"))
    });
    let mut files: Vec<(&str, &str)> =
        tables.iter().map(|(file, text)| (file.as_str(), text.as_str())).collect();
    files.push(view);
    write(directory.path(), &files);
    let dir = directory.path().to_str().unwrap();
    let at = [("DATABASE_URL", database.url()), ("APP_ENV", "test")];
    let apply =
        async |limit: &[&str]| dbctl(&at, &[&["migrate", "apply", "--dir", dir], limit].concat()).await;
    assert_eq!(apply(&["--steps", "1"]).await.out, "1 applied\n");
    assert_eq!(apply(&["--to", "3"]).await.out, "2 applied\n");
    assert_eq!(apply(&["--to", "3"]).await.out, "nothing to do\n");
    let unknown = apply(&["--to", "7"]).await;
    assert!(unknown.code == Some(1) && unknown.err.contains('7'), "{}", unknown.err);
    assert_eq!(apply(&["--to", "3", "--steps", "1"]).await.code, Some(2));
    assert_eq!(apply(&["--steps", "5"]).await.out, "1 applied\n");
    assert_eq!(apply(&[]).await.out, "1 applied\n");
}
