//! The drill: a full backup, load, the log archived, the server killed, a restore to a chosen second, and a
//! comparison.
//!
//! `cargo xtask backup drill` runs it at length and says what it measured.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use db_testkit::Restored;
use diesel::sql_types::{Integer, Timestamptz};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use crate::server::Live;

#[derive(QueryableByName)]
struct Commit {
    #[diesel(sql_type = Integer)]
    id: i32,
    #[diesel(sql_type = Timestamptz)]
    at: DateTime<Utc>,
}

/// A number from the environment, as the drill's command gives it.
fn wish(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Inserts rows, each in a transaction of its own, until it is told to end.
async fn write(mut conn: AsyncPgConnection, next: Arc<AtomicU32>, end: Arc<AtomicBool>) {
    while !AtomicBool::load(&end, Ordering::Relaxed) {
        let id = i32::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap();
        let row =
            sql_query("INSERT INTO ledger VALUES ($1, repeat(md5($1::text), 20))").bind::<Integer, _>(id);
        row.execute(&mut conn).await.unwrap();
    }
}

/// Every commit of the ledger and its time, as the server that is about to be killed knows it.
async fn commits(live: &Live) -> BTreeMap<i32, DateTime<Utc>> {
    let mut conn = live.server.connect(live.server.primary()).await.unwrap();
    let all = sql_query("SELECT id, pg_xact_commit_timestamp(xmin) AS at FROM ledger");
    let all: Vec<Commit> = all.load(&mut conn).await.unwrap();
    all.into_iter().map(|commit| (commit.id, commit.at)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_comes_back_with_exactly_what_was_committed_by_the_chosen_second() {
    let (seconds, back) = (wish("DRILL_SECONDS", 4), wish("DRILL_BACK", 2));
    let live = Live::start_with("", &[("track_commit_timestamp", "on"), ("archive_timeout", "1s")]).await;
    live.json(&["backup", "init"]).await;
    live.run("CREATE TABLE ledger (id int PRIMARY KEY, filler text)").await;
    let began = Instant::now();
    let taken = live.json(&["backup", "take"]).await;
    eprintln!("backup    {} in {:.1?}", taken["backup"]["id"].as_str().unwrap(), began.elapsed());

    let (next, end) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let conn = live.server.connect(live.server.primary()).await.unwrap();
        writers.spawn(write(conn, Arc::clone(&next), Arc::clone(&end)));
    }
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    end.store(true, Ordering::Relaxed);
    while let Some(writer) = writers.join_next().await {
        writer.unwrap();
    }
    let commits = commits(&live).await;
    live.archive().await;
    live.server.kill(live.server.primary()).await.unwrap();
    let last = *commits.values().max().unwrap();
    let target = last - TimeDelta::seconds(i64::try_from(back).unwrap());
    eprintln!("load      {} commits until {last}; the server is killed", commits.len());

    let copy = live.path("copy");
    let time = target.to_rfc3339_opts(SecondsFormat::Micros, true);
    let began = Instant::now();
    let restore = ["backup", "restore", "--to", copy.to_str().unwrap(), "--time", &time, "--yes"];
    live.json(&restore).await;
    let files = began.elapsed();
    let mut server = Restored::start(&copy, "app");
    let there = server.text("SELECT string_agg(id::text, ' ' ORDER BY id) FROM ledger");
    eprintln!("restore   to {time}: files in {files:.1?}, the first answer after {:.1?}", began.elapsed());

    let there: Vec<i32> = there.split_whitespace().map(|id| id.parse().unwrap()).collect();
    let expected: Vec<i32> = commits.iter().filter(|(_, at)| **at <= target).map(|(id, _)| *id).collect();
    assert!(!expected.is_empty() && expected.len() < commits.len(), "the target lies within the load");
    assert_eq!(there.len(), expected.len(), "commits that are there, and those that must be");
    assert_eq!(there, expected);
    eprintln!("compared  {} of {} commits, exactly those until the target", there.len(), commits.len());
}
