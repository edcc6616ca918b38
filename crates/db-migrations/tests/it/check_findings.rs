//! What a check says: findings from the trace and the text, what silences them, and in which shapes they
//! come.

use db_migrations::check::{
    CheckConfig, CheckReport, LintConfig, annotations, check, human, lint, markdown, sarif,
};
use db_migrations::{Stats, TableStats, Version};
use serde_json::json;

use crate::check_corpus::shared;
use crate::fixture::migrations;

const PEOPLE: (&str, &str) =
    ("1_people/up.sql", "CREATE TABLE people (id int, visits int, name varchar(20), email text NOT NULL)");
const ROWS: &str = "INSERT INTO people SELECT n, n, n, n FROM generate_series(1, 1000) n";

async fn checked(files: &[(&str, &str)], config: CheckConfig) -> CheckReport {
    let config = CheckConfig { seed: Some(ROWS.to_owned()), ..config };
    let files = [&[PEOPLE], files].concat();
    check(&shared().await, &migrations(&files), &config, |_| ()).await.unwrap()
}

fn only(version: &str) -> CheckConfig {
    CheckConfig { only: vec![version.to_owned()], ..CheckConfig::default() }
}

/// One line a finding.
fn told(report: &CheckReport) -> String {
    let findings = report.migrations.iter().flat_map(|one| &one.findings);
    let line = findings.map(|one| {
        format!("{:?} {:?} {}: {}", one.severity, one.line.unwrap_or_default(), one.rule, one.message)
    });
    line.collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn what_was_seen_overrules_what_the_text_suggests() {
    let up = "ALTER TABLE people ALTER name TYPE text;\nALTER TABLE people ALTER visits TYPE bigint;\n\
              CREATE TABLE fresh (id int);\nCREATE INDEX fresh_idx ON fresh (id);";
    let down = "DROP TABLE fresh; ALTER TABLE people ALTER visits TYPE int, ALTER name TYPE varchar(20);";
    let report = checked(&[("2_change/up.sql", up), ("2_change/down.sql", down)], only("2")).await;
    insta::assert_snapshot!(told(&report), @"Error 2 trace/rewrite: writes people anew under ACCESS EXCLUSIVE: readers and writers wait");
    let read_alone: Vec<String> =
        lint("up.sql", up, LintConfig::default()).into_iter().map(|one| one.finding.rule).collect();
    assert_eq!(
        read_alone,
        ["lint/changing-column-type", "lint/changing-column-type", "lint/require-concurrent-index-creation"]
    );
}

#[tokio::test]
async fn sizes_of_production_decide_what_a_lock_means() {
    let up = "ALTER TABLE people ALTER visits TYPE bigint";
    let stats = |rows: i64| {
        let table = TableStats { table: "public.people".to_owned(), rows, bytes: 0, index_bytes: 0 };
        Some(Stats { server_version: "15".to_owned(), tables: vec![table] })
    };
    let with = async |rows: i64| {
        let config = CheckConfig { stats: stats(rows), ..only("2") };
        checked(
            &[("2_big/up.sql", up), ("2_big/down.sql", "ALTER TABLE people ALTER visits TYPE int")],
            config,
        )
        .await
    };
    let (few, many) = (with(500).await, with(12_000_000).await);
    insta::assert_snapshot!(told(&few), @"Note 1 trace/rewrite: writes people anew under ACCESS EXCLUSIVE: readers and writers wait; 500 rows in production: about 2 ms (at 200000 rows a second)");
    insta::assert_snapshot!(told(&many), @"Error 1 trace/rewrite: writes people anew under ACCESS EXCLUSIVE: readers and writers wait; 12000000 rows in production: about 60 s (at 200000 rows a second)");
    assert!(few.summary.passes && !many.summary.passes);
}

#[tokio::test]
async fn work_under_an_earlier_lock_and_locks_on_several_tables_are_told() {
    let orders = ("2_orders/up.sql", "CREATE TABLE orders (person int)");
    let up = "ALTER TABLE people ADD COLUMN age int;\nUPDATE orders SET person = 1;\nALTER TABLE orders ADD COLUMN note text;";
    let report = checked(&[orders, ("3_both/up.sql", up)], only("3")).await;
    insta::assert_snapshot!(told(&report), @r"
    Note 0 round-trip: there is no down.sql: it cannot be undone
    Error 2 trace/whole-table-write: changes every row of orders in one transaction: whoever writes one of them waits for its end
    Error 2 trace/work-under-lock: works through rows while an earlier statement's ACCESS EXCLUSIVE on people is held
    Warning 3 trace/several-tables: takes ACCESS EXCLUSIVE on orders while ACCESS EXCLUSIVE on people is held: whoever uses both tables waits for all of it, or deadlocks
    ");
    let [_, update, _] = report.migrations[0].statements.as_slice() else { panic!("{report:?}") };
    assert!(update.while_holding.iter().any(|lock| lock.relation == "people"), "{update:?}");
}

#[tokio::test]
async fn a_comment_or_a_start_silences_findings_but_not_the_round_trip() {
    let up = "-- check-ignore trace/blocking-index-build: it has few rows\nCREATE INDEX people_idx ON people (id);\n\
              CREATE INDEX people_visits ON people (visits);";
    let files = [("2_index/up.sql", up), ("2_index/down.sql", "DROP INDEX people_idx")];
    let report = checked(&files, only("2")).await;
    insta::assert_snapshot!(told(&report), @r#"
    Error 0 round-trip: down.sql does not undo up.sql: left over: index public.people_visits: CREATE INDEX people_visits ON public.people USING btree (visits); up.sql fails after down.sql: CREATE INDEX people_visits ON people (visits): relation "people_visits" already exists
    Error 3 trace/blocking-index-build: builds an index on people while writers wait
    "#);
    let report = checked(&files, CheckConfig { start_after: Some("2".to_owned()), ..only("2") }).await;
    insta::assert_snapshot!(told(&report), @r#"Error 0 round-trip: down.sql does not undo up.sql: left over: index public.people_visits: CREATE INDEX people_visits ON public.people USING btree (visits); up.sql fails after down.sql: CREATE INDEX people_visits ON people (visits): relation "people_visits" already exists"#);
}

#[tokio::test]
async fn one_bad_migration_stops_none_of_the_others() {
    let files = [
        ("2_bad/up.sql", "CREATE TABLE half ();\nSELECT no_such_function();"),
        ("2_bad/down.sql", "DROP TABLE half"),
        ("3_refused/up.sql", "COPY people FROM STDIN;"),
        ("4_down/up.sql", "CREATE TABLE more ();"),
        ("4_down/down.sql", "DROP TABLE no_such_table;"),
        ("5_good/up.sql", "CREATE TABLE most ();"),
        ("5_good/down.sql", "DROP TABLE most;"),
    ];
    let all = migrations(&[&[PEOPLE], files.as_slice()].concat());
    let report = check(&shared().await, &all, &CheckConfig::default(), |_| ()).await.unwrap();
    let text: Vec<String> =
        human(&report).lines().filter(|line| !line.contains("checked on")).map(str::to_owned).collect();
    insta::assert_snapshot!(text.join("\n"), @r#"
    ok    1_people: up ok, down missing, round trip not checked
    wrong 2_bad: up error, down not checked, round trip not checked
            up.sql:2: SELECT no_such_function(): function no_such_function() does not exist (hint: No function matches the given name and argument types. You might need to add explicit type casts.)
    wrong 3_refused: up error, down not checked, round trip not checked
            up.sql:1: COPY people FROM STDIN: COPY FROM STDIN needs a client that sends rows; write INSERT, or load the rows as a seed
    wrong 4_down: up ok, down error, round trip not checked
            down.sql:1: DROP TABLE no_such_table: table "no_such_table" does not exist
    ok    5_good: up ok, down ok, round trip same
    "#);
    let summary = &report.summary;
    assert_eq!((summary.up_errors, summary.down_errors, summary.checked, summary.passes), (2, 1, 5, false));
}

#[tokio::test]
async fn the_report_has_every_shape_that_is_promised() {
    let files =
        [("2_index/up.sql", "\nCREATE INDEX people_idx ON people (id);"), ("2_index/down.sql", "SELECT 1")];
    let report = checked(&files, only("2")).await;
    let value = serde_json::to_value(&report).unwrap();
    let one = &value["migrations"][0];
    assert_eq!(
        [&one["version"], &one["name"], &one["up"], &one["down"], &one["round_trip"]],
        ["2", "index", "ok", "ok", "differs"]
    );
    assert_eq!(
        one["statements"][0]["locks"],
        json!([{ "relation": "people", "mode": "ShareLock", "existed_before": true }])
    );
    assert_eq!(one["statements"][0]["scans"], json!([{ "relation": "people", "rows": 1000 }]));
    assert_eq!(one["statements"][0]["blocking_index_build"], json!(["people"]));
    assert!(one["lost"][0].as_str().unwrap().starts_with("left over: index public.people_idx"));
    let page = markdown(&report);
    assert!(page.contains("| 2_index | ok | ok | differs | SHARE on people |"), "{page}");
    let found = report.file_findings();
    let scan = sarif(&found);
    assert_eq!(scan["runs"][0]["results"].as_array().unwrap().len(), found.len());
    let noted = annotations(&found);
    assert!(noted.contains("/2_index/up.sql,line=2,title=trace/blocking-index-build::"), "{noted}");
}

#[tokio::test]
async fn code_that_still_runs_must_find_its_columns() {
    let old = "diesel::table! { people (id) { id -> Int4, visits -> Int4, email -> Text, } }";
    let config = || CheckConfig { old_schema: Some(old.to_owned()), past: vec![], ..only("2") };
    let drop = "ALTER TABLE people DROP COLUMN email;";
    let report = checked(&[("2_drop/up.sql", drop)], config()).await;
    assert_eq!(report.missing_for_old_code, ["column people.email"]);
    assert!(!report.summary.passes);
    let contract = format!("-- contract: nobody reads it since last month\n{drop}");
    let report = checked(&[("2_drop/up.sql", &contract)], config()).await;
    assert!(report.missing_for_old_code.is_empty() && report.summary.passes, "{report:?}");
}

#[tokio::test]
async fn what_ran_before_is_applied_first_whatever_its_version() {
    let late = ("3_late/up.sql", "CREATE TABLE late ()");
    let new = [
        ("2_new/up.sql", "ALTER TABLE late ADD COLUMN n int"),
        ("2_new/down.sql", "ALTER TABLE late DROP COLUMN n"),
    ];
    let all = migrations(&[PEOPLE, late, new[0], new[1]]);
    let past: Vec<Version> =
        all.iter().map(|one| one.version.clone()).filter(|version| version.as_str() != "2").collect();
    let config = CheckConfig { past, seed: Some(ROWS.to_owned()), ..CheckConfig::default() };
    let report = check(&shared().await, &all, &config, |_| ()).await.unwrap();
    let versions: Vec<&str> = report.migrations.iter().map(|one| one.version.as_str()).collect();
    assert_eq!((versions, report.summary.applied_unchecked), (vec!["2"], 2));
    assert!(report.summary.passes, "{report:?}");
}
