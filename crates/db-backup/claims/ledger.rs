//! A load whose commits are known: a table of numbers, one commit each, beside writers that fill the log.

use db_backup::restore::Target;
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use rand::RngExt;
use rand::rngs::StdRng;

use crate::live::{Live, text};

/// One commit of the ledger, and each way of naming the point behind it.
#[derive(Debug, Clone)]
pub(crate) struct Commit {
    pub(crate) number: u64,
    pub(crate) targets: [Target; 4],
}

/// What a restored database must answer if it holds exactly the commits up to `number`.
pub(crate) fn expected(number: u64) -> String {
    format!("{number} {number} {}", number * (number + 1) / 2)
}

pub(crate) const ANSWER: &str =
    "SELECT count(*) || ' ' || coalesce(max(n), 0) || ' ' || coalesce(sum(n), 0) FROM ledger";

pub(crate) async fn create(live: &Live) {
    live.run("CREATE TABLE ledger (n bigint PRIMARY KEY, at timestamptz DEFAULT clock_timestamp())").await;
    live.run("CREATE TABLE noise (id bigint GENERATED ALWAYS AS IDENTITY, body text)").await;
}

/// Commits the numbers of `range`, with other work before each.
pub(crate) async fn write(live: &Live, range: std::ops::Range<u64>, random: &mut StdRng) -> Vec<Commit> {
    let (mut ledger, mut noise) = (live.connect().await, live.connect().await);
    let mut commits = Vec::new();
    for number in range {
        let rows = random.random_range(1..400);
        let work = format!(
            "INSERT INTO noise (body) SELECT repeat(md5(i::text), 8) FROM generate_series(1, {rows}) AS i"
        );
        noise.batch_execute(&work).await.unwrap();
        commits.push(commit(&mut ledger, number).await);
    }
    commits
}

async fn commit(conn: &mut AsyncPgConnection, number: u64) -> Commit {
    conn.batch_execute("BEGIN").await.unwrap();
    let xid = text(conn, "SELECT (pg_current_xact_id()::text::bigint & 4294967295)::text AS t").await;
    conn.batch_execute(&format!("INSERT INTO ledger (n) VALUES ({number}); COMMIT")).await.unwrap();
    let lsn = text(conn, "SELECT pg_current_wal_insert_lsn()::text AS t").await;
    let time = "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US+00') AS t";
    let time = text(conn, time).await;
    let name = format!("after {number}");
    text(conn, &format!("SELECT pg_create_restore_point('{name}')::text AS t")).await;
    let targets = [
        Target::at_time(&time).unwrap(),
        Target::Lsn(lsn.parse().unwrap()),
        Target::Xid(xid.parse().unwrap()),
        Target::Name(name),
    ];
    Commit { number, targets }
}
