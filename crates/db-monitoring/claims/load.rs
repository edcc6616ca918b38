//! Average active sessions against a load that is known, and history over a restart.

use std::time::Duration;

use db_monitoring::server::{Collector, CollectorConfig, HistoryConfig, HistoryPoint, Resolution};
use db_testkit::{Cluster, until};
use diesel_async::SimpleAsyncConnection;
use serde_json::json;

use crate::{Figure, Size, cost, runtime};

/// So many sessions sleep, and so many wait for a lock that one of the sleepers holds.
const SLEEPERS: usize = 5;
const WAITERS: usize = 3;

pub(crate) fn measure(size: Size) -> Figure {
    let times = if size == Size::Nightly { 3 } else { 1 };
    runtime().block_on(async {
        let mut worst = (0.0_f64, json!(null), true);
        for _ in 0..times {
            let (off, detail, survived) = once().await;
            worst = (worst.0.max(off), detail, worst.2 && survived);
        }
        Figure { value: worst.0, unit: "% off", holds: worst.0 <= 5.0 && worst.2, detail: worst.1 }
    })
}

async fn once() -> (f64, serde_json::Value, bool) {
    let cluster = Cluster::builder().standbys(0).start().await.unwrap();
    let mut setup = cluster.connect(0).await.unwrap();
    setup
        .batch_execute("CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t VALUES (1, 0)")
        .await
        .unwrap();
    let mut sessions = Vec::new();
    for number in 0..SLEEPERS + WAITERS {
        let mut conn = cluster.connect(0).await.unwrap();
        let statement = match number {
            0 => "BEGIN; UPDATE t SET n = n + 1 WHERE id = 1; SELECT pg_sleep(200)",
            number if number < SLEEPERS => "SELECT pg_sleep(200)",
            _ => "UPDATE t SET n = n + 1 WHERE id = 1",
        };
        sessions.push(tokio::spawn(async move { conn.batch_execute(statement).await }));
        if number == 0 {
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }
    let keep = || CollectorConfig { history: Some(HistoryConfig::default()), ..CollectorConfig::default() };
    let collector = Collector::new(cost::open(&cluster.primary_url(), None), keep());
    let task = tokio::spawn(collector.clone().run());
    let whole =
        |points: &[std::sync::Arc<HistoryPoint>]| points.iter().map(|point| point.seconds).sum::<f64>();
    tokio::time::sleep(Duration::from_secs(60)).await;
    until("sixty seconds were seen, and a minute is over", async || {
        whole(&collector.history(Resolution::TenSeconds)) >= 60.0
            && !collector.history(Resolution::Minute).is_empty()
    })
    .await;
    let points = collector.history(Resolution::TenSeconds);
    let average = |wait: &str| {
        let sum = |point: &HistoryPoint| {
            let parts = point.load.iter().filter(|part| wait.is_empty() || part.wait == wait);
            parts.map(|part| part.sessions).sum::<f64>() * point.seconds
        };
        points.iter().map(|point| sum(point)).sum::<f64>() / whole(&points)
    };
    let (sleeping, waiting, all) = (average("Timeout:PgSleep"), average("Lock:transactionid"), average(""));
    let waits = average("Lock:tuple") + waiting;
    let off = |seen: f64, known: usize| (seen / known as f64 - 1.0).abs() * 100.0;
    let worst = off(sleeping, SLEEPERS).max(off(waits, WAITERS)).max(off(all, SLEEPERS + WAITERS));
    // What was finished is in the database; another process has it.
    let minutes = collector.history(Resolution::Minute);
    tokio::time::sleep(Duration::from_secs(2)).await;
    task.abort();
    let _ = task.await;
    let second = Collector::new(cost::open(&cluster.primary_url(), None), keep());
    let runs = tokio::spawn(second.clone().run());
    until("it is read again", async || !second.history(Resolution::Minute).is_empty()).await;
    let again = second.history(Resolution::Minute);
    let survived = again.first().is_some_and(|point| {
        // A double's last digit may differ after JSON.
        let (seen, kept) = (point.active_sessions(), minutes[0].active_sessions());
        (point.at - minutes[0].at).abs() < 0.001
            && (seen - kept).abs() < 1e-6
            && point.server == minutes[0].server
    });
    runs.abort();
    sessions.iter().for_each(tokio::task::JoinHandle::abort);
    let detail = json!({
        "known": { "sleeping": SLEEPERS, "waiting": WAITERS }, "sleeping": sleeping, "waiting": waits,
            "all": all,
        "seconds": whole(&points), "history_survived": survived,
    });
    (worst, detail, survived)
}
