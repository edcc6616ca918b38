//! What is refused, and with which words.

use db_core::Environment;
use db_seeds::{Error, Refusal, SeedOptions, Seeds, Status};

use crate::database::{connect, load, migrated, options, scaled, set, sets};

/// Opens a set with this one file and expects the error.
#[track_caller]
fn check(file: &str, content: &str, expected: &str) {
    let dir = set(&[(file, content)]);
    let error = Seeds::open(dir.path(), "made").unwrap_err().to_string();
    let prefix = format!("{}/", dir.path().join("made").display());
    assert_eq!(error.replace(&prefix, ""), expected);
}

#[test]
fn a_broken_csv_file_is_named_with_its_line() {
    check("10_users.csv", "id,email\n1,a\n2\n", "10_users.csv:3: 1 fields, where the header names 2 columns");
    check("10_users.csv", "id,id\n", "10_users.csv:1: column id is named twice");
    check(
        "10_users.csv",
        "id,E-Mail\n",
        "10_users.csv:1: \"E-Mail\" is no column name (lower case, digits, _)",
    );
    check("10_users.csv", "", "10_users.csv:1: the header that names the columns is missing");
    check(
        "10_users.txt",
        "",
        "10_users.txt: no seed file has such a name (allowed: seed.toml, prepare.sql, finish.sql, NN_table.csv and NN_table.toml)",
    );
}

#[test]
fn a_broken_spec_is_named_with_its_line_and_column() {
    let spec = |column: &str| format!("rows = 5\n[columns]\nid = {{ generator = \"id\" }}\n{column}\n");
    let check = |column: &str, expected: &str| {
        check("10_users.toml", &spec(column), &format!("10_users.toml:{expected}"))
    };
    check("a = { generator = \"integer\", min = 1 }", "4, column a: max is missing (a whole number)");
    check(
        "a = { generator = \"integer\", min = 1, max = \"x\" }",
        "4, column a: max is \"x\", not a whole number",
    );
    check(
        "a = { generator = \"integer\", min = 2, max = 1 }",
        "4, column a: the range ends before it begins",
    );
    check("a = { generator = \"id\", skew = 2 }", "4, column a: skew has no meaning here");
    check("a = { generator = \"id\", null = 2 }", "4, column a: null is 2, not a probability from 0 to 1");
    check("a = { generator = \"version\", of = \"b\" }", "4, column a: this table has no column b");
    check(
        "a = { generator = \"reference\", table = \"orgs\" }",
        "4, column a: orgs is no generated table with a lower number (rows of CSV files are not known here)",
    );
    check(
        "a = { generator = \"text\", template = \"${b}\" }",
        "4, column a: unknown placeholder ${b} (allowed: row, row:DIGITS, integer:MIN:MAX, word, words:N, given, \
         family, company, uuid, column:NAME, slug:NAME)",
    );
    check(
        "a = { generator = \"text\", template = \"${column:b}\" }\nb = { generator = \"text\", template = \"${column:a}\" }",
        "4, column a: is computed from itself, by way of other columns",
    );
    check(
        "a = { generator = \"guess\" }",
        "4, column a: unknown generator \"guess\" (allowed: id, uuid, reference, each, follow, aggregate, version, \
         one_of, integer, boolean, timestamp, date, text or bytes)",
    );
    check("a = { generator = ", "4: unclosed inline table, expected `}`");
}

#[test]
fn an_unknown_set_is_answered_with_those_that_exist() {
    let error = Seeds::open(sets(), "../migrations").unwrap_err().to_string();
    assert!(error.ends_with("(there are: dev, staging, test)"), "{error}");
}

#[tokio::test]
async fn production_is_refused() {
    let database = migrated().await;
    let client = connect(&database).await;
    let seeds = Seeds::open(sets(), "test").unwrap();
    let options = SeedOptions { environment: Some(Environment::Production), ..options() };
    let error = seeds.plan(&client, &options).await.unwrap_err();
    assert!(matches!(error, Error::Production { .. }));
    assert!(error.to_string().ends_with("there is no override"), "{error}");
}

#[tokio::test]
async fn another_seed_scale_or_content_is_refused_and_what_differs_is_said() {
    let database = migrated().await;
    let mut client = connect(&database).await;
    client.batch_execute("CREATE TABLE things (id uuid)").await.unwrap();
    let spec = "rows = 5\n[columns]\nid = { generator = \"id\" }\n";
    let dir = set(&[("10_things.toml", spec)]);
    let seeds = Seeds::open(dir.path(), "made").unwrap();
    load(&seeds, &mut client, &options()).await.unwrap();

    std::fs::write(dir.path().join("made/10_things.toml"), format!("{spec}# changed\n")).unwrap();
    let changed = Seeds::open(dir.path(), "made").unwrap();
    let other = SeedOptions { seed: Some(8), scale: 0.5, ..options() };
    let plan = changed.plan(&client, &other).await.unwrap();
    let Status::Refused(Refusal::Changed { differs, .. }) = &plan.status else { panic!("{plan}") };
    assert_eq!(differs, &["content", "seed 7 -> 8", "scale 1 -> 0.5"]);
    assert!(plan.to_string().contains("reset the database and seed again"), "{plan}");
    let error = changed.apply(&mut client, &plan, |_| {}).await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error}");
    // A plan does not carry over to changed files.
    let stale = seeds.plan(&client, &scaled(1.0)).await.unwrap();
    assert!(matches!(changed.apply(&mut client, &stale, |_| {}).await, Err(Error::StalePlan { .. })));
}

#[tokio::test]
async fn a_table_or_column_that_is_not_there_is_in_the_plan() {
    let database = migrated().await;
    let client = connect(&database).await;
    let dir = set(&[("10_nowhere.csv", "id\n1\n")]);
    let plan = Seeds::open(dir.path(), "made").unwrap().plan(&client, &options()).await.unwrap();
    assert!(matches!(plan.status, Status::Refused(Refusal::MissingTable { .. })), "{plan}");
    let dir = set(&[("10_users.csv", "id,shoe_size\n1,2\n")]);
    let plan = Seeds::open(dir.path(), "made").unwrap().plan(&client, &options()).await.unwrap();
    assert!(
        plan.to_string().contains("10_users.csv, column shoe_size: table users has no such column"),
        "{plan}"
    );
}

#[tokio::test]
async fn a_row_that_the_server_rejects_is_named_with_its_line_and_constraint() {
    let database = migrated().await;
    let mut client = connect(&database).await;
    let users = "email,name\nada@a.example,Ada\nnobody,Bob\n";
    let dir = set(&[("10_users.csv", users)]);
    let seeds = Seeds::open(dir.path(), "made").unwrap();
    let error = load(&seeds, &mut client, &options()).await.unwrap_err().to_string();
    assert!(error.contains("10_users.csv:3: "), "{error}");
    assert!(error.ends_with("(constraint users_email_check)"), "{error}");
}

#[tokio::test]
async fn a_prepare_script_that_commits_is_refused() {
    let database = migrated().await;
    let mut client = connect(&database).await;
    let dir = set(&[("prepare.sql", "COMMIT; BEGIN;"), ("10_users.csv", "email,name\na@a.example,Ada\n")]);
    let seeds = Seeds::open(dir.path(), "made").unwrap();
    let error = load(&seeds, &mut client, &options()).await.unwrap_err();
    assert!(matches!(error, Error::TransactionEnded { .. }), "{error}");
    assert_eq!(crate::database::count(&client, "users").await, 0);
}
