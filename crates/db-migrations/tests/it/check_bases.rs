//! What a check spares the server, and that it finds the same.

use db_migrations::Migrations;
use db_migrations::check::{CheckConfig, CheckReport, check};
use db_testkit::Cluster;

use crate::check_server::Server;
use crate::fixture::{lines, migrations};

/// Sixty tables, of which one has a down.sql that forgets a column's default, and one an up.sql that fails
/// half-way.
fn sixty(first: &str) -> Migrations {
    let mut files = Vec::new();
    for number in 10..70 {
        let (mut up, mut down) =
            (format!("CREATE TABLE t{number} (id int)"), format!("DROP TABLE t{number}"));
        if number == 40 {
            up = "ALTER TABLE t39 ALTER id SET DEFAULT 7".to_owned();
            down = "SELECT 1".to_owned();
        } else if number == 55 {
            up = format!("{up}; ALTER TABLE t50 RENAME TO renamed; ALTER TABLE t12 RENAME id TO number");
            down = format!("ALTER TABLE renamed RENAME TO t50; ALTER TABLE t12 RENAME number TO id; {down}");
        } else if number == 10 {
            up = format!("{up}; {first}");
        }
        files.push((format!("{number}_t/up.sql"), up));
        files.push((format!("{number}_t/down.sql"), down));
    }
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    migrations(&files)
}

/// What was found, without how long it took.
fn found(report: &CheckReport) -> Vec<String> {
    let one = |check: &db_migrations::check::MigrationCheck| {
        let locks: Vec<_> = check.statements.iter().map(|statement| &statement.locks).collect();
        format!(
            "{} {:?} {:?} {:?} {:?} {locks:?}",
            check.version, check.up, check.down, check.lost, check.error
        )
    };
    report.migrations.iter().map(one).collect()
}

#[tokio::test]
async fn two_halves_find_what_one_check_finds() {
    let cluster = Cluster::builder().start().await.unwrap();
    let server = Server::new(cluster.primary_url());
    let mut heard = Vec::new();
    let check_all = async |first: &str, heard: &mut Vec<String>| {
        let hear = |one: &db_migrations::check::MigrationCheck| heard.push(one.version.clone());
        check(&server, &sixty(first), &CheckConfig::default(), hear).await.unwrap()
    };
    let halves = check_all("SELECT 1", &mut heard).await;
    assert_eq!(heard.len(), 60);
    assert_eq!((halves.summary.checked, halves.summary.differ), (60, 1), "{:?}", halves.summary);
    // What the databases of a server share is made once only.
    let whole = check_all("CREATE ROLE only_once; DROP ROLE only_once", &mut heard).await;
    assert_eq!(found(&halves)[1..], found(&whole)[1..]);
    // What the first half left half-way is not what the second half makes of it.
    let fails = "SELECT nil";
    let (halves, whole) = (
        check_all(fails, &mut heard).await,
        check_all(&format!("CREATE ROLE only_once; {fails}"), &mut heard).await,
    );
    assert_eq!((halves.summary.up_errors, found(&halves).len()), (1, 60));
    assert_eq!(found(&halves)[1..], found(&whole)[1..]);
}

#[tokio::test]
async fn a_base_that_is_kept_is_begun_with() {
    let cluster = Cluster::builder().start().await.unwrap();
    let server = Server::new(cluster.primary_url());
    let mut conn = cluster.connect(cluster.primary()).await.unwrap();
    let bases =
        "SELECT datname AS line FROM pg_database WHERE datname LIKE 'db_migrations_base_%' ORDER BY 1";
    let one =
        |only: &str| CheckConfig { only: vec![only.to_owned()], keep_base: true, ..CheckConfig::default() };
    let set = sixty("SELECT 1");
    let first = check(&server, &set, &one("40"), |_| ()).await.unwrap();
    let kept = lines(&mut conn, bases).await;
    let again = check(&server, &set, &one("40"), |_| ()).await.unwrap();
    assert_eq!(found(&first), found(&again));
    assert_eq!(first.summary.applied_unchecked, again.summary.applied_unchecked);
    assert_eq!((kept.len(), lines(&mut conn, bases).await), (1, kept));
    for only in ["20", "21", "22", "23"] {
        check(&server, &set, &one(only), |_| ()).await.unwrap();
    }
    assert_eq!(lines(&mut conn, bases).await.len(), 3, "the last three are kept");
    // Another text before it is another base.
    check(&server, &sixty("SELECT 2"), &one("40"), |_| ()).await.unwrap();
    let left = "SELECT datname AS line FROM pg_database WHERE datname LIKE 'db_migrations_check_%'";
    assert_eq!(lines(&mut conn, left).await, Vec::<String>::new());
}

#[tokio::test]
async fn what_a_check_does_not_read_again_is_as_it_was() {
    let cluster = Cluster::builder().start().await.unwrap();
    let server = Server::new(cluster.primary_url());
    let set = migrations(&[
        (
            "1_forget/up.sql",
            "CREATE FUNCTION forget() RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'DEALLO' || 'CATE ALL'; END $$",
        ),
        ("1_forget/down.sql", "DROP FUNCTION forget()"),
        (
            "2_tables/up.sql",
            "CREATE TABLE a (x int UNIQUE, y int UNIQUE, z int); CREATE TABLE b (x int REFERENCES a (x))",
        ),
        ("2_tables/down.sql", "DROP TABLE b; DROP TABLE a"),
        // It takes away what the check has prepared, and does not say so.
        ("3_forgets/up.sql", "SELECT forget(); CREATE TABLE c (); CREATE TABLE d ()"),
        ("3_forgets/down.sql", "DROP TABLE c"),
        // No name came and none went, and yet a foreign key elsewhere reads otherwise.
        (
            "4_swaps/up.sql",
            "ALTER TABLE a RENAME x TO w; ALTER TABLE a RENAME y TO x; ALTER TABLE a RENAME w TO y",
        ),
        ("4_swaps/down.sql", "SELECT 1"),
        // The server does not count what it writes.
        ("5_uncounted/up.sql", "SET track_counts = off; COMMENT ON TABLE a IS 'is read'"),
        ("5_uncounted/down.sql", "SELECT 1"),
        // A row of a catalog is gone that was a relation's, and no lock on that tells.
        ("6_by_hand/up.sql", "DELETE FROM pg_description WHERE objoid = 'a'::regclass"),
        ("6_by_hand/down.sql", "SELECT 1"),
        ("7_right/up.sql", "SELECT forget(); ALTER TABLE a ADD v int"),
        ("7_right/down.sql", "ALTER TABLE a DROP v"),
    ]);
    let report = check(&server, &set, &CheckConfig::default(), |_| ()).await.unwrap();
    let lost: Vec<String> = report.migrations.iter().map(|one| one.lost.join("; ")).collect();
    let said = ["", "", "table public.d", "b_x_fkey", "is read", "is read", ""];
    for (lost, said) in lost.iter().zip(said) {
        assert!(lost.contains(said) && lost.is_empty() == said.is_empty(), "{said}: {lost}");
    }
    assert_eq!(report.summary.up_errors, 0, "{:?}", report.summary);
}
