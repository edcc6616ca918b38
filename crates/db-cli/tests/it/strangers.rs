//! What `dbctl migrate` does on the sets and the servers of strangers.

use std::time::{Duration, Instant};

use db_testkit::{Cluster, TestDatabase};
use diesel_async::SimpleAsyncConnection;

use crate::run::{ask_on, dbctl, program};
use crate::write;

const ONE: (&str, &str) = ("1_one/up.sql", "CREATE TABLE one (id int)");
const ONE_DOWN: (&str, &str) = ("1_one/down.sql", "DROP TABLE one CASCADE");
const VIEW: (&str, &str) = ("R__view.sql", "CREATE OR REPLACE VIEW ones AS SELECT id FROM one");

/// A directory of migrations, and its name.
fn files(texts: &[(&str, &str)]) -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), texts);
    let name = directory.path().to_str().unwrap().to_owned();
    (directory, name)
}

#[tokio::test]
async fn repeatable_migrations_are_checked_and_compared_and_run_again_behind_a_redo() {
    let database = TestDatabase::empty().await.unwrap();
    let (directory, dir) = files(&[ONE, ONE_DOWN, VIEW]);
    let at = [("DATABASE_URL", database.url()), ("APP_ENV", "test")];
    let on =
        async |arguments: &[&str]| dbctl(&at, &[&["migrate"], arguments, &["--dir", &dir]].concat()).await;
    assert_eq!(on(&["apply"]).await.out, "2 applied\n");
    let clean = on(&["drift"]).await;
    assert_eq!(clean.code, Some(0), "{}{}", clean.out, clean.err);
    assert_eq!(on(&["redo"]).await.out, "1 undone, 2 applied\n");
    let clean = on(&["drift"]).await;
    assert_eq!(clean.code, Some(0), "the view is there again: {}{}", clean.out, clean.err);

    let mut conn = database.connect().await.unwrap();
    conn.batch_execute("CREATE OR REPLACE VIEW ones AS SELECT id FROM one WHERE id > 0").await.unwrap();
    let found = on(&["drift"]).await;
    assert!(found.code == Some(3) && found.out.contains("view public.ones"), "{}", found.out);

    std::fs::remove_file(directory.path().join("R__view.sql")).unwrap();
    let status = on(&["status"]).await;
    assert!(status.out.contains("unknown  R__view"), "{}", status.out);

    write(
        directory.path(),
        &[("R__again.sql", "CREATE VIEW ones AS SELECT id FROM one"), ("R__bad.sql", "SELECT nil")],
    );
    let checked = dbctl(&[], &["migrate", "check", "--dir", &dir]).await;
    assert_eq!(checked.code, Some(3), "{}", checked.out);
    for told in ["R__again", "when it runs again", "CREATE OR REPLACE", "column \"nil\" does not exist"] {
        assert!(checked.out.contains(told), "{told}: {}", checked.out);
    }
}

#[tokio::test]
async fn a_lost_change_of_a_function_is_told_beside_reordered_columns() {
    let function = |body: &str| {
        format!("CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$\nBEGIN\n{body}\nEND\n$$;")
    };
    let (before, after) = (function("x := 1;\ny := 2;\nRETURN x;"), function("y := 2;\nx := 1;\nRETURN x;"));
    let base = format!("CREATE TABLE one (a int, b int); SET check_function_bodies = off; {before}");
    let up = format!("SET check_function_bodies = off; {after} ALTER TABLE one DROP COLUMN a;");
    let down = "ALTER TABLE one ADD COLUMN a int";
    let (_directory, dir) =
        files(&[("1_one/up.sql", &base), ("2_two/up.sql", &up), ("2_two/down.sql", down)]);
    let found = dbctl(&[], &["migrate", "check", "--dir", &dir, "--only", "2"]).await;
    assert!(found.out.contains("changed: function public.f()"), "{}", found.out);
}

#[tokio::test]
async fn drift_is_clean_after_every_lawful_way() {
    let database = TestDatabase::empty().await.unwrap();
    let function = "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$\r\n SELECT 1\r\n$$;\r\n";
    let parts = "CREATE TABLE logs (at date NOT NULL) PARTITION BY RANGE (at);
        CREATE TABLE logs_2026_10 PARTITION OF logs FOR VALUES FROM ('2026-10-01') TO ('2026-11-01');";
    let (directory, dir) = files(&[ONE, ONE_DOWN, ("2_f/up.sql", function), ("3_parts/up.sql", parts)]);
    let at = [("DATABASE_URL", database.url()), ("APP_ENV", "test")];
    let on = async |arguments: &[&str]| {
        let run = dbctl(&at, &[&["migrate"], arguments, &["--dir", &dir]].concat()).await;
        assert_eq!(run.code, Some(0), "{arguments:?}: {}{}", run.out, run.err);
    };
    on(&["apply"]).await;
    // A checkout with other line ends, partitions that upkeep makes and takes out, our own tables.
    write(directory.path(), &[("2_f/up.sql", &function.replace("\r\n", "\n"))]);
    let mut conn = database.connect().await.unwrap();
    conn.batch_execute(
        "CREATE TABLE logs_2026_11 PARTITION OF logs FOR VALUES FROM ('2026-11-01') TO ('2026-12-01');
         DROP TABLE logs_2026_10; CREATE TABLE db_seeds (set text PRIMARY KEY); CREATE SCHEMA dbp;
         CREATE TABLE dbp.history (at timestamptz PRIMARY KEY)",
    )
    .await
    .unwrap();
    on(&["drift"]).await;
    on(&["reset", "--yes"]).await;
    on(&["drift"]).await;
    // By hand it is not.
    conn.batch_execute("CREATE INDEX by_hand ON one (id)").await.unwrap();
    let found = dbctl(&at, &["migrate", "drift", "--dir", &dir]).await;
    assert!(found.code == Some(3) && found.out.contains("by_hand"), "{}", found.out);
}

#[tokio::test]
async fn drift_is_clean_in_the_schema_of_a_tenant() {
    let database = TestDatabase::empty().await.unwrap();
    let mut conn = database.connect().await.unwrap();
    conn.batch_execute("CREATE SCHEMA tenant_42").await.unwrap();
    let name = ask_on(&mut conn, "current_database()").await;
    conn.batch_execute(&format!("ALTER DATABASE {name} SET search_path = tenant_42, public")).await.unwrap();
    let (_directory, dir) = files(&[ONE, ONE_DOWN]);
    let at = [("DATABASE_URL", database.url()), ("APP_ENV", "test")];
    for command in ["apply", "drift"] {
        let run = dbctl(&at, &["migrate", command, "--dir", &dir, "--ledger-schema", "tenant_42"]).await;
        assert_eq!(run.code, Some(0), "{command}: {}{}", run.out, run.err);
    }
    assert_eq!(ask_on(&mut conn, "to_regclass('tenant_42.one') IS NOT NULL").await, "true");
}

#[tokio::test]
async fn what_apply_would_refuse_is_refused_before_anything_runs() {
    let database = TestDatabase::empty().await.unwrap();
    let at = [("DATABASE_URL", database.url()), ("APP_ENV", "test")];
    for refused in ["COPY one FROM STDIN", "COPY one TO STDOUT"] {
        let (_directory, dir) = files(&[ONE, ("2_copy/up.sql", refused)]);
        for command in ["plan", "apply"] {
            let run = dbctl(&at, &["migrate", command, "--dir", &dir]).await;
            let named = run.err.contains("2_copy/up.sql:1") && run.err.contains("needs a client");
            assert!(run.code == Some(1) && named, "{command} {refused}: {}{}", run.out, run.err);
        }
        let mut conn = database.connect().await.unwrap();
        assert_eq!(ask_on(&mut conn, "to_regclass('one') IS NULL").await, "true", "nothing has run");
    }
}

#[tokio::test]
async fn a_label_named_end_ends_no_body() {
    let database = TestDatabase::empty().await.unwrap();
    let function = "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1 end; END; SELECT f();";
    let (_directory, dir) = files(&[("1_f/up.sql", function)]);
    let run = dbctl(&[("DATABASE_URL", database.url())], &["migrate", "apply", "--dir", &dir]).await;
    assert_eq!(run.code, Some(0), "{}{}", run.out, run.err);
}

#[tokio::test]
async fn errors_of_the_server_end_with_the_way_out() {
    let database = TestDatabase::empty().await.unwrap();
    let cases = [
        ("DO $$ BEGIN COMMIT; END $$", "run_in_transaction = false"),
        (
            "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (a int REFERENCES a DEFERRABLE INITIALLY DEFERRED); \
             INSERT INTO b VALUES (NULL); INSERT INTO a VALUES (1); INSERT INTO b VALUES (1); ALTER TABLE b ADD c int",
            "SET CONSTRAINTS ALL IMMEDIATE",
        ),
    ];
    // Whatever the language is that the server speaks.
    for (sql, way_out) in cases {
        let (_directory, dir) = files(&[("1_a/up.sql", sql)]);
        let run = dbctl(&[("DATABASE_URL", database.url())], &["migrate", "apply", "--dir", &dir]).await;
        assert!(run.code == Some(1) && run.err.contains(way_out), "{sql}: {}", run.err);
    }
    let (directory, dir) = files(&[ONE]);
    std::fs::write(directory.path().join("1_one/up.sql"), b"SELECT 1;\n-- caf\xe9\n").unwrap();
    let run = dbctl(&[("DATABASE_URL", database.url())], &["migrate", "plan", "--dir", &dir]).await;
    assert!(run.err.contains("line 2 is not UTF-8"), "{}", run.err);
}

#[tokio::test]
async fn locks_of_rows_do_not_send_a_data_migration_back_to_its_beginning() {
    let database = TestDatabase::empty().await.unwrap();
    let mut conn = database.connect().await.unwrap();
    conn.batch_execute(
        "CREATE TABLE counted (id int PRIMARY KEY, n bigint); CREATE SEQUENCE tries; \
         INSERT INTO counted SELECT n, 0 FROM generate_series(1, 2000) n",
    )
    .await
    .unwrap();
    // Six others lock a row for three times as long as a table is waited for, one after the other.
    let mut holders = Vec::new();
    for row in 1..=6 {
        let mut holder = database.connect().await.unwrap();
        holder
            .batch_execute(&format!("BEGIN; SELECT FROM counted WHERE id = {} FOR UPDATE", row * 300))
            .await
            .unwrap();
        holders.push(holder);
    }
    let (_directory, dir) = files(&[("1_fill/up.sql", "UPDATE counted SET n = nextval('tries')")]);
    let mut child = tokio::process::Command::from(program(
        &[("DATABASE_URL", database.url())],
        &["migrate", "apply", "--dir", &dir],
    ))
    .spawn()
    .unwrap();
    for mut holder in holders {
        let waits = "(SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock' \
                     AND query LIKE 'UPDATE counted SET n = nextval%' AND clock_timestamp() - query_start > '250 ms')";
        let began = Instant::now();
        while ask_on(&mut conn, waits).await != "true" {
            assert!(began.elapsed() < Duration::from_secs(20), "it does not wait for a row");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        holder.batch_execute("COMMIT").await.unwrap();
    }
    assert!(child.wait().await.unwrap().success());
    assert_eq!(ask_on(&mut conn, "(SELECT last_value FROM tries)").await, "2000", "it ran once");
}

#[tokio::test]
async fn a_schema_of_thousands_of_tables_is_reset() {
    let cluster = Cluster::builder()
        .setting("max_locks_per_transaction", "10")
        .setting("max_connections", "20")
        .start();
    let cluster = cluster.await.unwrap();
    let mut conn = cluster.connect(cluster.primary()).await.unwrap();
    for from in (1..=2000).step_by(50) {
        let to = from + 49;
        let make = format!(
            "DO $$ BEGIN FOR n IN {from}..{to} LOOP EXECUTE format('CREATE TABLE t%s (id int PRIMARY KEY)', n); \
             END LOOP; END $$"
        );
        conn.batch_execute(&make).await.unwrap();
    }
    let url = cluster.primary_url();
    let (_directory, dir) = files(&[ONE]);
    let at = [("DATABASE_URL", url.as_str()), ("APP_ENV", "test")];
    let run = dbctl(&at, &["migrate", "reset", "--yes", "--dir", &dir]).await;
    assert_eq!((run.code, run.out.as_str()), (Some(0), "1 applied\n"), "{}", run.err);
    let left = "(SELECT count(*) FROM pg_tables WHERE schemaname = 'public' AND tablename LIKE 't%')";
    assert_eq!(ask_on(&mut conn, left).await, "0");
    let said = "obj_description('public'::regnamespace, 'pg_namespace')";
    assert_eq!(ask_on(&mut conn, said).await, "standard public schema");
}

#[tokio::test]
async fn a_role_with_one_connection_migrates() {
    let database = TestDatabase::empty().await.unwrap();
    let mut conn = database.connect().await.unwrap();
    let name = ask_on(&mut conn, "current_database()").await;
    let role = format!("single_{name}");
    conn.batch_execute(&format!(
        "CREATE ROLE {role} LOGIN PASSWORD 'single' CONNECTION LIMIT 1; GRANT ALL ON SCHEMA public TO {role}"
    ))
    .await
    .unwrap();
    let (_, rest) = database.url().rsplit_once('@').unwrap();
    let url = format!("postgres://{role}:single@{rest}");
    let (_directory, dir) = files(&[ONE]);
    let run = dbctl(&[("DATABASE_URL", url.as_str())], &["migrate", "apply", "--dir", &dir]).await;
    conn.batch_execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await.unwrap();
    assert_eq!(run.code, Some(0), "{}{}", run.out, run.err);
    assert!(run.err.contains("CONNECTION LIMIT"), "{}", run.err);
}

#[tokio::test]
async fn an_interrupted_check_leaves_no_database() {
    let database = TestDatabase::empty().await.unwrap();
    let (_directory, dir) = files(&[("1_slow/up.sql", "SELECT pg_sleep(600)")]);
    let arguments = ["--database-url", database.url(), "migrate", "check", "--dir", &dir];
    let mut child = tokio::process::Command::from(program(&[], &arguments)).spawn().unwrap();
    let pid = child.id().unwrap();
    let mut conn = database.connect().await.unwrap();
    let (made, sleeps) = (
        format!("(SELECT count(*) FROM pg_database WHERE datname LIKE 'db_migrations_check_{pid}_%')"),
        "(SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(600)%' \
          AND datname LIKE 'db_migrations_check_%')",
    );
    let began = Instant::now();
    while ask_on(&mut conn, sleeps).await == "0" {
        assert!(began.elapsed() < Duration::from_secs(30), "the check does not begin");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_ne!(ask_on(&mut conn, &made).await, "0");
    let told = std::process::Command::new("kill").args(["-INT", &pid.to_string()]).status().unwrap();
    assert!(told.success());
    assert_eq!(child.wait().await.unwrap().code(), Some(130));
    assert_eq!(ask_on(&mut conn, &made).await, "0");
}

#[tokio::test]
async fn notices_and_warnings_of_a_migration_are_shown() {
    let database = TestDatabase::empty().await.unwrap();
    let up = "DO $$ BEGIN RAISE NOTICE 'three rows are odd'; RAISE WARNING 'look at them'; END $$";
    let (_directory, dir) = files(&[("1_a/up.sql", up)]);
    let run = dbctl(&[("DATABASE_URL", database.url())], &["migrate", "apply", "--dir", &dir]).await;
    assert!(run.err.contains("NOTICE: three rows are odd\nWARNING: look at them"), "{}", run.err);
    assert!(!run.err.contains("no transaction in progress"), "our own are not: {}", run.err);
}

#[tokio::test]
async fn the_difference_to_schema_rs_knows_keys_joins_views_and_the_order_of_drops() {
    let database = TestDatabase::empty().await.unwrap();
    let mut conn = database.connect().await.unwrap();
    conn.batch_execute(
        "CREATE TABLE parents (id int PRIMARY KEY); CREATE TABLE children (id int PRIMARY KEY, parent int REFERENCES \
         parents); CREATE TABLE teams (id int PRIMARY KEY); CREATE TABLE people (id int PRIMARY KEY, nr int NOT NULL, \
         team int); CREATE MATERIALIZED VIEW counted AS SELECT id FROM people",
    )
    .await
    .unwrap();
    let schema = "#[diesel(postgres_type(name = \"mood\"))] pub struct Mood;
        diesel::table! { people (nr) { id -> Int4, nr -> Int4, team -> Nullable<Int4>, feels -> Nullable<Mood>, } }
        diesel::table! { teams (id) { id -> Int4, } }
        diesel::table! { counted (id) { id -> Nullable<Int4>, } }
        diesel::joinable!(people -> teams (team));";
    let (directory, _) = files(&[("schema.rs", schema)]);
    let (file, dir) = (directory.path().join("schema.rs"), directory.path().join("m"));
    let (file, dir) = (file.to_str().unwrap(), dir.to_str().unwrap());
    let at = [("DATABASE_URL", database.url()), ("APP_ENV", "test")];
    let new = ["migrate", "new", "change", "--dir", dir, "--diff-schema", file];
    let made = dbctl(&at, &new).await;
    assert_eq!(made.code, Some(0), "{}", made.err);
    let up = std::fs::read_to_string(std::path::Path::new(made.out.trim()).join("up.sql")).unwrap();
    assert!(up.contains("DROP TABLE children, parents;") && !up.contains("counted"), "{up}");
    for command in [&["apply"][..], &["undo"], &["apply"]] {
        let run = dbctl(&at, &[&["migrate"], command, &["--dir", dir]].concat()).await;
        assert_eq!(run.code, Some(0), "{command:?}: {}{up}", run.err);
    }
    let again = dbctl(&at, &new).await;
    assert!(
        again.code == Some(1) && again.err.contains("no migration is needed"),
        "{}{}",
        again.out,
        again.err
    );
    let key = "(SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'people'::regclass AND contype = 'p')";
    assert_eq!(ask_on(&mut conn, key).await, "PRIMARY KEY (nr)");
}
