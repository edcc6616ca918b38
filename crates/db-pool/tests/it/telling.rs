//! Errors tell the truth: every code is the server's own, in whatever language it speaks.

use std::collections::BTreeSet;
use std::process::Command;

use db_core::{Class, Classify, Error, Evidence, SqlState};
use db_pool::Pool;
use db_testkit::TestDatabase;
use diesel::sql_query;
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

use crate::{open, pool_config, word};

const SETUP: &str = "
    CREATE TABLE parent (id int PRIMARY KEY, name varchar(3) UNIQUE, CHECK (id < 100));
    CREATE TABLE child (id int NOT NULL, parent int REFERENCES parent);
    CREATE TABLE booking (during int4range, EXCLUDE USING gist (during WITH &&));
    CREATE TABLE plain (a int, b text);
    CREATE TYPE mood AS ENUM ('good');
    CREATE SEQUENCE numbers;
    CREATE SCHEMA taken;
    CREATE FUNCTION twice(a int) RETURNS int LANGUAGE sql AS 'SELECT a * 2';
    CREATE FUNCTION twice(a point) RETURNS point LANGUAGE sql AS 'SELECT a + a';
    INSERT INTO parent VALUES (1, 'one');
    INSERT INTO child VALUES (1, 1);
    INSERT INTO booking VALUES ('[1,5)');
";

/// What provokes a code, as text; the last statement of a batch is the one that fails.
const CORPUS: &[(&str, &str)] = &[
    ("0A000", "SELECT * FROM elsewhere.public.plain"),
    ("21000", "SELECT (SELECT generate_series(1, 2))"),
    ("22001", "INSERT INTO parent VALUES (2, 'three')"),
    ("22003", "SELECT 2147483647 + 1"),
    ("22004", "SELECT array_fill(1, NULL)"),
    ("22007", "SELECT 'soon'::date"),
    ("22008", "SELECT '2000-13-45'::date"),
    ("22011", "SELECT substring('abc' FROM 1 FOR -1)"),
    ("22012", "SELECT 1 / 0"),
    ("2201B", "SELECT 'a' ~ '('"),
    ("2201E", "SELECT ln(0)"),
    ("2201F", "SELECT power(-1, 0.5)"),
    ("2201W", "SELECT 1 LIMIT -1"),
    ("2201X", "SELECT 1 OFFSET -1"),
    ("22021", "SELECT convert_from('\\xff', 'UTF8')"),
    ("22023", "SELECT set_config('statement_timeout', '-5', false)"),
    ("22033", "SELECT jsonb_path_query('[1]', 'strict $[5]')"),
    ("2203A", "SELECT jsonb_path_query('{}', 'strict $.a')"),
    ("22P02", "SELECT 'x'::int"),
    ("23502", "INSERT INTO child VALUES (NULL, 1)"),
    ("23503", "INSERT INTO child VALUES (1, 99)"),
    ("23505", "INSERT INTO parent VALUES (1, 'two')"),
    ("23514", "INSERT INTO parent VALUES (100, 'big')"),
    ("23P01", "INSERT INTO booking VALUES ('[4,6)')"),
    ("25001", "BEGIN; VACUUM"),
    ("25006", "BEGIN READ ONLY; INSERT INTO plain VALUES (1)"),
    ("25P01", "SAVEPOINT nowhere"),
    ("26000", "EXECUTE nothing"),
    ("2BP01", "DROP TABLE parent"),
    ("34000", "FETCH nothing"),
    ("3B001", "BEGIN; ROLLBACK TO nowhere"),
    ("3D000", "DROP DATABASE nowhere"),
    ("3F000", "CREATE TABLE nowhere.t ()"),
    ("42501", "SET ROLE pg_monitor; SELECT * FROM plain"),
    ("42601", "SELEC"),
    ("42701", "CREATE TABLE t (a int, a int)"),
    ("42702", "SELECT a FROM plain x, plain y"),
    ("42703", "SELECT nothing FROM plain"),
    ("42704", "SELECT 1::nothing"),
    ("42710", "ALTER TABLE plain ADD CONSTRAINT c CHECK (true), ADD CONSTRAINT c CHECK (true)"),
    ("42712", "SELECT 1 FROM plain, plain"),
    ("42723", "CREATE FUNCTION twice(a int) RETURNS int LANGUAGE sql AS 'SELECT 1'"),
    ("42725", "SELECT twice(NULL)"),
    ("42803", "SELECT a, count(*) FROM plain"),
    ("42804", "SELECT CASE WHEN 1 THEN 2 END"),
    ("42809", "DROP VIEW plain"),
    ("42830", "CREATE TABLE t (a int REFERENCES plain (a))"),
    ("42846", "SELECT now()::int"),
    ("42883", "SELECT nothing(1)"),
    ("42939", "CREATE SCHEMA pg_mine"),
    ("42P01", "SELECT * FROM nothing"),
    ("42P02", "SELECT $1"),
    ("42P04", "CREATE DATABASE postgres"),
    ("42P05", "PREPARE p AS SELECT 1; PREPARE p AS SELECT 1"),
    ("42P06", "CREATE SCHEMA taken"),
    ("42P07", "CREATE TABLE plain ()"),
    ("42P10", "INSERT INTO plain VALUES (1) ON CONFLICT (a) DO NOTHING"),
    ("42P13", "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$ SELECT 'x'::text $$"),
    ("42P16", "CREATE TABLE t (a int PRIMARY KEY, b int PRIMARY KEY)"),
    ("42P17", "CREATE INDEX ON plain ((random()))"),
    ("42P18", "SELECT ARRAY[]"),
    ("42P19", "WITH RECURSIVE r AS (SELECT 1 WHERE EXISTS (SELECT 1 FROM r)) SELECT 1 FROM r"),
    ("42P20", "SELECT 1 FROM plain WHERE row_number() OVER () > 1"),
    ("55000", "SELECT currval('numbers')"),
    ("55P02", "SET shared_buffers = '1MB'"),
    ("55P04", "BEGIN; ALTER TYPE mood ADD VALUE 'bad'; SELECT 'bad'::mood"),
    ("57014", "SET statement_timeout = 20; SELECT pg_sleep(60)"),
    ("58P01", "SELECT pg_read_file('nothing')"),
    ("P0001", "DO $$ BEGIN RAISE 'no'; END $$"),
    ("P0002", "DO $$ DECLARE x int; BEGIN SELECT a INTO STRICT x FROM plain; END $$"),
    ("P0003", "DO $$ DECLARE x int; BEGIN SELECT n INTO STRICT x FROM generate_series(1, 2) n; END $$"),
    ("P0004", "DO $$ BEGIN ASSERT false; END $$"),
    ("AB123", "DO $$ BEGIN RAISE 'of our own' USING ERRCODE = 'AB123'; END $$"),
    // An error whose words are tokio-postgres's own for a lost connection.
    ("AB124", "DO $$ BEGIN RAISE 'connection closed' USING ERRCODE = 'AB124'; END $$"),
    ("57P01", "SELECT pg_terminate_backend(pg_backend_pid())"),
];

#[tokio::test]
async fn every_code_is_the_servers_own() {
    let database = TestDatabase::empty().await.unwrap();
    database.connect().await.unwrap().batch_execute(SETUP).await.unwrap();
    check_corpus(&database, &open(database.url(), pool_config(3))).await;
}

#[tokio::test]
async fn every_code_is_the_servers_own_in_german() {
    let database = TestDatabase::empty().await.unwrap();
    database.connect().await.unwrap().batch_execute(SETUP).await.unwrap();
    let mut owner = database.connect().await.unwrap();
    // Behind ` on ` stands what compiled it.
    let packaged = "SELECT split_part(version(), ' on ', 1) AS word";
    let debian = word(&mut owner, packaged).await.contains("Debian");
    install_german();
    let german = format!("{}&options=-c%20lc_messages%3Dde_DE.UTF-8", with_query(database.url()));
    let pool = open(&german, pool_config(3));
    if !debian && pool.get().await.is_err() {
        eprintln!("this server was built without translations");
        return;
    }
    let zero = pool.get().await.unwrap().batch_execute("SELECT 1 / 0").await.unwrap_err();
    if !debian && zero.to_string() == "division by zero" {
        eprintln!("this server was built without translations");
        return;
    }
    assert_eq!(zero.to_string(), "Division durch Null");
    check_corpus(&database, &pool).await;
}

fn with_query(url: &str) -> String {
    if url.contains('?') { url.to_owned() } else { format!("{url}?sslmode=disable") }
}

/// Makes the German locale, where the machine lets us: the server asks the system for it.
fn install_german() {
    let known = Command::new("locale").arg("-a").output();
    if known.is_ok_and(|known| String::from_utf8_lossy(&known.stdout).contains("de_DE.utf8")) {
        return;
    }
    let made = Command::new("localedef").args(["-i", "de_DE", "-f", "UTF-8", "de_DE.UTF-8"]).output();
    if !made.is_ok_and(|made| made.status.success()) {
        eprintln!("localedef could not make de_DE.UTF-8");
    }
}

async fn check_corpus(database: &TestDatabase, pool: &Pool) {
    let mut seen = BTreeSet::new();
    for (code, sql) in CORPUS {
        let mut conn = pool.get().await.unwrap();
        let Err(error) = conn.batch_execute(sql).await else { panic!("no error: {sql}") };
        check(&mut seen, code, error.into());
    }
    // Also where the statement is prepared, and where it was prepared before.
    for _ in 0..2 {
        let mut conn = pool.get().await.unwrap();
        check(&mut seen, "22012", sql_query("SELECT 1 / 0").execute(&mut conn).await.unwrap_err().into());
        let missing = sql_query("SELECT * FROM nothing").execute(&mut conn).await;
        check(&mut seen, "42P01", missing.unwrap_err().into());
    }
    failed_transaction(&mut seen, pool).await;
    between_two(&mut seen, database, pool).await;
    assert!(seen.len() >= 78, "{} codes", seen.len());
}

#[track_caller]
fn check(seen: &mut BTreeSet<String>, code: &str, error: Error) {
    let expected: SqlState = code.parse().unwrap();
    assert_eq!(error.sqlstate(), Some(expected), "{error}");
    assert_eq!(error.report().unwrap().evidence, Some(Evidence::Server), "{error}");
    assert_eq!(error.class(), expected.class(), "{error}");
    seen.insert(code.to_owned());
}

/// An error that the caller swallowed, and what follows from it.
async fn failed_transaction(seen: &mut BTreeSet<String>, pool: &Pool) {
    let mut conn = pool.get().await.unwrap();
    conn.batch_execute("BEGIN").await.unwrap();
    conn.batch_execute("SELECT 'x'::int").await.unwrap_err();
    let swallowed = conn.batch_execute("SELECT 1").await.unwrap_err();
    assert_eq!(conn.failed_with(), Some(SqlState::INVALID_TEXT_REPRESENTATION), "the first cause");
    check(seen, "25P02", swallowed.into());
}

/// What it takes two sessions to provoke.
async fn between_two(seen: &mut BTreeSet<String>, database: &TestDatabase, pool: &Pool) {
    let (mut one, mut two) = (pool.get().await.unwrap(), pool.get().await.unwrap());
    one.batch_execute("INSERT INTO plain VALUES (1), (2)").await.unwrap();
    one.batch_execute("BEGIN; UPDATE plain SET b = 'x' WHERE a = 1").await.unwrap();
    let nowait = two.batch_execute("SELECT * FROM plain WHERE a = 1 FOR UPDATE NOWAIT").await;
    check(seen, "55P03", nowait.unwrap_err().into());
    let timed_out =
        two.batch_execute("SET lock_timeout = 20; SELECT * FROM plain WHERE a = 1 FOR UPDATE").await;
    check(seen, "55P03", timed_out.unwrap_err().into());

    two.batch_execute("SET lock_timeout = 0; BEGIN; UPDATE plain SET b = 'y' WHERE a = 2").await.unwrap();
    let update = async |conn: &mut AsyncPgConnection, row: u8| {
        conn.batch_execute(&format!("UPDATE plain SET b = 'z' WHERE a = {row}")).await
    };
    let (first, second) = tokio::join!(update(&mut one, 2), update(&mut two, 1));
    let victim = first.err().or(second.err()).unwrap();
    check(seen, "40P01", victim.into());
    for conn in [&mut one, &mut two] {
        conn.batch_execute("ROLLBACK").await.unwrap();
    }

    one.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM plain").await.unwrap();
    two.batch_execute("UPDATE plain SET b = 'w'").await.unwrap();
    check(seen, "40001", one.batch_execute("UPDATE plain SET b = 'v'").await.unwrap_err().into());

    let name = word(&mut two, "SELECT current_database()::text AS word").await;
    let mut owner = open(&database.url().replace(&name, "postgres"), pool_config(1)).get().await.unwrap();
    let in_use = owner.batch_execute(&format!("DROP DATABASE \"{name}\"")).await;
    check(seen, "55006", in_use.unwrap_err().into());
}

#[tokio::test]
async fn what_was_violated_is_named() {
    let database = TestDatabase::empty().await.unwrap();
    database.connect().await.unwrap().batch_execute(SETUP).await.unwrap();
    let pool = open(database.url(), pool_config(1));
    let mut conn = pool.get().await.unwrap();
    let mut provoke = async |sql: &str| Error::from(conn.batch_execute(sql).await.unwrap_err());
    let what = match provoke("INSERT INTO parent VALUES (2, 'one')").await {
        Error::UniqueViolation(report) => (report.constraint, report.table, report.detail),
        other => panic!("{other}"),
    };
    let detail = "Key (name)=(one) already exists.".to_owned();
    assert_eq!(what, (Some("parent_name_key".to_owned()), Some("parent".to_owned()), Some(detail)));
    let foreign = provoke("INSERT INTO child VALUES (1, 99)").await;
    assert!(
        matches!(foreign, Error::ForeignKeyViolation(_)) && foreign.constraint() == Some("child_parent_fkey")
    );
    let null = provoke("INSERT INTO child VALUES (NULL, 1)").await;
    assert_eq!(null.report().unwrap().column.as_deref(), Some("id"));
    let typo = provoke("SELECT nam FROM parent").await;
    assert!(typo.report().unwrap().hint.is_some() && typo.report().unwrap().position == Some(8), "{typo:?}");
}

#[tokio::test]
async fn pipelined_statements_keep_each_its_own_error() {
    let database = TestDatabase::empty().await.unwrap();
    let pool = open(database.url(), pool_config(1));
    let conn = pool.get().await.unwrap();
    let fails = async |sql: &str| {
        let mut shared = &*conn;
        Error::from(shared.batch_execute(sql).await.unwrap_err())
    };
    for _ in 0..50 {
        // The same words twice, with different codes in the details that the server sends.
        let (zero, table, own, other) = tokio::join!(
            fails("SELECT 1 / 0"),
            fails("SELECT * FROM nothing"),
            fails("DO $$ BEGIN RAISE 'same words' USING ERRCODE = 'AB001', DETAIL = 'one'; END $$"),
            fails("DO $$ BEGIN RAISE 'same words' USING ERRCODE = 'AB002', DETAIL = 'two'; END $$"),
        );
        let codes = [zero, table, own, other].map(|error| error.sqlstate().unwrap().to_string());
        assert_eq!(codes, ["22012", "42P01", "AB001", "AB002"]);
    }
}

#[tokio::test]
async fn a_server_that_refuses_a_login_says_its_code_too() {
    let database = TestDatabase::empty().await.unwrap();
    let url = database.url().replace("postgres://", "postgres://nobody_at_all_");
    let error = open(&url, pool_config(1)).get().await.unwrap_err();
    let code = error.sqlstate().unwrap().to_string();
    assert!(["28000", "28P01"].contains(&code.as_str()) && error.class() == Class::Permanent, "{error}");
}
