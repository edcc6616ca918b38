//! `dbctl migrate check` says no to what stops writers, loses data or breaks code, and to nothing else.

use serde_json::Value;

use crate::run::{Run, dbctl, program};
use crate::write;

fn json(run: &Run) -> Value {
    serde_json::from_str(&run.out).unwrap_or_else(|error| panic!("{error}: {}{}", run.out, run.err))
}

/// What is there before each case.
const BASE: &str =
    "CREATE TABLE people (id bigint PRIMARY KEY, name varchar(20) DEFAULT 'x', visits int, team int);
CREATE INDEX people_name_idx ON people (name);
CREATE TABLE teams (id int PRIMARY KEY, kind int NOT NULL DEFAULT 1);
CREATE TABLE notes (id int);
CREATE VIEW named AS SELECT id FROM notes;
CREATE TYPE mood AS ENUM ('sad', 'glad');
CREATE SCHEMA billing;
CREATE FUNCTION quiet() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;";

/// Takes away what the case before has left; the ledger stays.
const CLEAN: &str = "DO $$ DECLARE one record; BEGIN FOR one IN SELECT oid::regclass AS name, relkind FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v') AND NOT starts_with(relname, '__') LOOP
    IF to_regclass(one.name::text) IS NOT NULL THEN
        EXECUTE format('DROP %s %s CASCADE', CASE one.relkind WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END, one.name);
    END IF; END LOOP; END $$;
DROP TYPE IF EXISTS mood; DROP FUNCTION IF EXISTS quiet CASCADE; DROP SCHEMA IF EXISTS billing, money CASCADE;";

/// Changes that must not pass, with the rule that says so.
const UNSAFE: [(&str, &str); 21] = [
    ("trace/blocking-index-build", "CREATE INDEX people_visits_idx ON people (visits)"),
    ("trace/drop-column", "ALTER TABLE people DROP COLUMN visits"),
    ("trace/drop-table", "DROP TABLE notes CASCADE"),
    ("trace/drop-view", "DROP VIEW named"),
    ("trace/whole-table-write", "UPDATE people SET visits = 0"),
    ("trace/whole-table-write", "DELETE FROM people"),
    ("trace/rename", "ALTER SCHEMA billing RENAME TO money"),
    ("trace/rename", "ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'"),
    ("trace/rename", "ALTER TABLE people RENAME COLUMN visits TO calls"),
    ("trace/rename", "DO $$ BEGIN ALTER TABLE people RENAME TO persons; END $$"),
    ("trace/row-security", "ALTER TABLE people ENABLE ROW LEVEL SECURITY"),
    ("trace/json-column", "ALTER TABLE people ADD COLUMN data json"),
    (
        "trace/required-column",
        "ALTER TABLE people ADD COLUMN age int NOT NULL DEFAULT 1; ALTER TABLE people ALTER age DROP DEFAULT",
    ),
    ("trace/required-column", "ALTER TABLE teams ALTER kind DROP DEFAULT"),
    ("trace/truncate", "TRUNCATE people"),
    ("trace/drop-object", "DROP FUNCTION quiet()"),
    ("trace/revoke", "REVOKE SELECT ON people FROM PUBLIC"),
    (
        "trace/whole-table-write",
        "ALTER TABLE people ADD age int; UPDATE people SET age = visits WHERE age IS NULL",
    ),
    ("trace/rewrite", "ALTER TABLE people ALTER visits TYPE bigint"),
    ("trace/scan-under-lock", "ALTER TABLE people ADD CONSTRAINT positive CHECK (visits > 0)"),
    ("trace/scan-under-lock", "ALTER TABLE people ADD CONSTRAINT team FOREIGN KEY (team) REFERENCES teams"),
];

/// Changes that are told and pass.
const TOLD: [(&str, &str); 2] = [
    ("trace/several-tables", "ALTER TABLE people ADD COLUMN squad int REFERENCES teams"),
    ("trace/trigger", "CREATE TRIGGER quiet BEFORE INSERT ON people FOR EACH ROW EXECUTE FUNCTION quiet()"),
];

/// Changes of which nothing is said.
const SAFE: [&str; 9] = [
    "ALTER TABLE people ALTER name TYPE varchar(40)",
    "CREATE TEMP TABLE passing AS SELECT id FROM people; SELECT count(*) FROM passing",
    "CREATE TRIGGER no_cli BEFORE INSERT ON __diesel_schema_migrations FOR EACH ROW EXECUTE FUNCTION quiet()",
    "CREATE TABLE fresh (id int); INSERT INTO fresh VALUES (1); UPDATE fresh SET id = 2; TRUNCATE fresh; DROP TABLE fresh",
    "ALTER TABLE people ADD COLUMN age int NOT NULL DEFAULT 1",
    "ALTER TABLE people ADD COLUMN data jsonb",
    "DROP VIEW named; CREATE VIEW named AS SELECT id FROM notes WHERE id > 0",
    "ALTER TABLE notes RENAME TO remarks; CREATE VIEW notes AS SELECT * FROM remarks",
    "UPDATE people SET visits = 0 WHERE id = 7",
];

/// Each case with its severities and rules, on top of the base and nothing else.
async fn verdicts(cases: &[&str], more: &[&str]) -> (Option<i32>, Vec<Vec<(String, String)>>) {
    let directory = tempfile::tempdir().unwrap();
    // Every case is undone before the next one comes.
    let mut files = Vec::new();
    for (number, up) in cases.iter().enumerate() {
        let number = number * 2;
        files.push((format!("{:03}_base/up.sql", number + 100), format!("{CLEAN}\n{BASE}")));
        files.push((format!("{:03}_case/up.sql", number + 101), (*up).to_owned()));
    }
    let texts: Vec<(&str, &str)> = files.iter().map(|(file, text)| (file.as_str(), text.as_str())).collect();
    write(directory.path(), &texts);
    let only: Vec<String> = (0..cases.len()).map(|number| (number * 2 + 101).to_string()).collect();
    let only = only.join(",");
    let dir = directory.path().to_str().unwrap();
    let mut arguments = vec!["migrate", "check", "--json", "--dir", dir, "--only", &only];
    arguments.extend(more);
    let run = dbctl(&[], &arguments).await;
    let report = json(&run);
    let found = report["migrations"].as_array().unwrap().iter().map(|one| {
        assert_eq!(one["up"], "ok", "{one}");
        let text = |finding: &Value, field: &str| finding[field].as_str().unwrap().to_owned();
        let findings = one["findings"].as_array().unwrap().iter();
        findings
            .filter(|finding| finding["severity"] != "note")
            .map(|finding| (text(finding, "severity"), text(finding, "rule")))
            .collect()
    });
    (run.code, found.collect())
}

#[tokio::test]
async fn what_blocks_loses_or_breaks_fails_the_check() {
    let cases: Vec<&str> = UNSAFE.iter().map(|(_, up)| *up).collect();
    let (code, found) = verdicts(&cases, &[]).await;
    assert_eq!((code, found.len()), (Some(3), UNSAFE.len()));
    for ((rule, up), findings) in UNSAFE.iter().zip(&found) {
        let wanted = ("error".to_owned(), (*rule).to_owned());
        assert!(findings.contains(&wanted), "{up}: {findings:?}");
    }
}

#[tokio::test]
async fn what_only_needs_a_look_is_told_and_passes() {
    let cases: Vec<&str> = TOLD.iter().map(|(_, up)| *up).collect();
    let (code, found) = verdicts(&cases, &[]).await;
    assert_eq!(code, Some(0), "{found:?}");
    for ((rule, up), findings) in TOLD.iter().zip(&found) {
        let wanted = ("warning".to_owned(), (*rule).to_owned());
        assert!(findings.contains(&wanted), "{up}: {findings:?}");
    }
    assert_eq!(verdicts(&cases, &["--fail-on", "warn"]).await.0, Some(3));
}

#[tokio::test]
async fn what_is_harmless_is_not_told() {
    let (code, found) = verdicts(&SAFE, &[]).await;
    assert_eq!(code, Some(0), "{found:?}");
    for (up, findings) in SAFE.iter().zip(&found) {
        assert!(findings.is_empty(), "{up}: {findings:?}");
    }
}

#[tokio::test]
async fn a_file_accepts_a_finding_with_its_reason() {
    let directory = tempfile::tempdir().unwrap();
    let up = "-- check-ignore round-trip: the old rows are gone for good\n-- contract: nobody reads it since May\n\
              ALTER TABLE people DROP COLUMN visits;\n\
              -- check-ignore trace/blocking-index-build: 40 rows\nCREATE INDEX people_team_idx ON people (team);";
    write(
        directory.path(),
        &[("1_base/up.sql", BASE), ("2_less/up.sql", up), ("2_less/down.sql", "SELECT 1")],
    );
    let dir = directory.path().to_str().unwrap();
    let arguments = ["migrate", "check", "--dir", dir, "--only", "2"];
    let run = dbctl(&[], &arguments).await;
    assert_eq!(run.code, Some(0), "{}{}", run.out, run.err);
    for reason in ["gone for good [round-trip]", "since May [trace/drop-column]", "accepted: 40 rows"] {
        assert!(run.out.contains(reason), "{reason}: {}", run.out);
    }
    write(directory.path(), &[("2_less/up.sql", &up.replace("check-ignore", "check-ignored"))]);
    let run = dbctl(&[], &arguments).await;
    assert_eq!(run.code, Some(3), "{}{}", run.out, run.err);
    assert_eq!(dbctl(&[], &[&arguments[..], &["--fail-on", "never"]].concat()).await.code, Some(0));
    write(directory.path(), &[("2_less/up.sql", &up.replace("blocking-index-build", "blocking-index"))]);
    let run = dbctl(&[], &arguments).await;
    assert!(run.out.contains("there is no rule trace/blocking-index"), "{}", run.out);
}

#[tokio::test]
async fn roles_that_come_from_elsewhere_are_made_before() {
    let directory = tempfile::tempdir().unwrap();
    let grant = "CREATE TABLE people (id int); GRANT SELECT ON people TO app_reader";
    let before = ("roles.txt", "CREATE ROLE app_reader NOLOGIN");
    write(
        directory.path(),
        &[("m/1_base/up.sql", grant), ("m/1_base/down.sql", "DROP TABLE people"), before],
    );
    let (dir, file) = (directory.path().join("m"), directory.path().join("roles.txt"));
    let arguments = ["migrate", "check", "--dir", dir.to_str().unwrap()];
    let without = dbctl(&[], &arguments).await;
    assert!(without.code == Some(3) && without.out.contains("--before"), "{}", without.out);
    let with = dbctl(&[], &[&arguments[..], &["--before", file.to_str().unwrap()]].concat()).await;
    assert_eq!(with.code, Some(0), "{}{}", with.out, with.err);
}

#[tokio::test]
async fn the_rules_are_listed_and_explained_as_on_their_page() {
    let all = dbctl(&[], &["migrate", "rules"]).await;
    assert!(all.out.lines().count() > 30 && all.out.contains("trace/whole-table-write"), "{}", all.out);
    let one = dbctl(&[], &["migrate", "rules", "trace/rename"]).await;
    assert!(one.out.contains("instead"), "{}", one.out);
    assert_eq!(dbctl(&[], &["migrate", "rules", "trace/nothing"]).await.code, Some(1));
    let page = dbctl(&[], &["migrate", "rules", "--markdown"]).await.out;
    let known = include_str!("../../../../docs/migration-rules.md");
    assert!(page == known, "write it anew: dbctl migrate rules --markdown > docs/migration-rules.md");
}

#[tokio::test]
async fn lint_reads_directories_and_standard_input() {
    use std::io::Write as _;
    let directory = tempfile::tempdir().unwrap();
    let index = "CREATE INDEX i ON people (id);\n";
    write(directory.path(), &[("m/1_a/up.sql", index), ("m/1_a/down.sql", "DROP TABLE people")]);
    let dir = directory.path().join("m");
    let read = dbctl(&[], &["migrate", "lint", dir.to_str().unwrap(), "--json"]).await;
    assert_eq!((read.code, json(&read).as_array().unwrap().len()), (Some(3), 1), "{}", read.out);
    let never = dbctl(&[], &["migrate", "lint", dir.to_str().unwrap(), "--fail-on", "error"]).await;
    assert_eq!(never.code, Some(0), "{}", never.out);
    let mut command = program(&[], &["migrate", "lint", "-"]);
    let output = tokio::task::spawn_blocking(move || {
        let piped = std::process::Stdio::piped;
        let mut child = command.stdin(piped()).stdout(piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"UPDATE people SET id = 1;").unwrap();
        child.wait_with_output().unwrap()
    })
    .await
    .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("standard input:1:") && text.contains("trace/whole-table-write"), "{text}");
}
