//! COMMIT waits for a synchronous standby that is not there, and its answer is lost: nobody is told that it
//! has committed before the standby has it.
//!
//! The line to remove: `Answer::Committed if waits => replicated(…)` in `ask` of db-retry's resolve.rs, or
//! `Answered::Unreplicated` in `of_answer` of attempt.rs, or `wait_event IS DISTINCT FROM 'SyncRep'` in
//! `End`.

use std::sync::Arc;
use std::time::Duration;

use db_platform::{Resolve, RetryConfig};
use db_server::Stop;
use db_testkit::{Cluster, CommitCut, Proxy, until};
use diesel_async::AsyncPgConnection;
use tokio::task::JoinSet;

use super::failovers::Held;
use super::{Ledger, Outcome, Told, Writers, count, times};

/// How the answer is lost. The first two end the wait, so they go first, while nobody else waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// An operator cancels the wait: the server answers as if nothing were missing.
    Cancelled,
    /// An operator ends the session that waits.
    Terminated,
    /// The caller's own limit passes.
    TooLong,
    /// The connection is cut.
    Cut,
}

/// The sessions whose COMMIT waits for the standby.
const WAITING: &str =
    "SELECT count(*) AS n FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query LIKE '%; COMMIT'";

/// The longest that anything takes while the standby is away.
const SHORT: Duration = Duration::from_millis(300);

pub(super) async fn run(rounds: u32) -> Outcome {
    let builder = Cluster::builder().standbys(1).setting("synchronous_commit", "on");
    let cluster = builder.setting_of(0, "synchronous_standby_names", "*").start().await.unwrap();
    let ledger = Ledger::create(&cluster).await;
    let proxy = Arc::new(Proxy::start(cluster.address_of(0).unwrap()).unwrap());
    let writers = Writers::start(&proxy.through(&cluster.primary_url()).unwrap(), &ledger).await;
    let absent = Absent { conn: cluster.connect(0).await.unwrap(), cluster: cluster.clone(), proxy, writers };
    absent.play(rounds, &ledger).await
}

struct Absent {
    cluster: Cluster,
    proxy: Arc<Proxy>,
    writers: Writers,
    conn: AsyncPgConnection,
}

impl Absent {
    async fn play(mut self, rounds: u32, ledger: &Ledger) -> Outcome {
        let (mut lost_answers, mut unexpected, mut came_back) = (0, 0, 0);
        for _ in 0..rounds {
            // It stays away for longer than anybody asks.
            self.cluster.stop(1, Stop::Fast).await.unwrap();
            let mut told = Vec::new();
            for way in [Way::Cancelled, Way::Terminated, Way::TooLong, Way::Cut] {
                told.extend(self.lose(way, SHORT).await.join_all().await);
            }
            // Nothing of ours ended a wait: the standby gets all of it when it is back.
            unexpected += u32::from(count(&mut self.conn, WAITING).await != 4);
            self.come_back().await;
            unexpected += self.count_wrong(&told, Told::Unknown).await;
            lost_answers += told.len() as u64;

            // It comes back while callers still ask.
            self.cluster.stop(1, Stop::Fast).await.unwrap();
            let mut losing = Vec::new();
            for way in [Way::Terminated, Way::TooLong, Way::Cut] {
                losing.push(self.lose(way, Duration::from_secs(30)).await);
            }
            self.come_back().await;
            for one in losing {
                let told = one.join_all().await;
                unexpected += self.count_wrong(&told, Told::Committed).await;
                lost_answers += told.len() as u64;
                came_back += told.len() as u64;
            }
        }
        let unresolved = self.writers.db.lost_commits();
        let mut standby = self.cluster.connect(1).await.unwrap();
        Outcome {
            lost_answers,
            resolvable: came_back,
            unresolved: unresolved.unknown.saturating_sub(lost_answers - came_back),
            unexpected,
            met: vec![("resolved_when_the_standby_was_back", came_back)],
            ..ledger.compare(&mut standby).await
        }
    }

    /// Loses the answers to a COMMIT with a marker row and to one without, both of which wait for the
    /// standby.
    async fn lose(&mut self, way: Way, resolve_timeout: Duration) -> Held {
        let before = count(&mut self.conn, WAITING).await;
        if way == Way::Cut {
            self.proxy.cut_commits(2, CommitCut::Forwarded);
        }
        let mut losing = JoinSet::new();
        for resolve in [Resolve::ByMarker, Resolve::ByTransactionId] {
            let writers = self.writers.clone();
            losing.spawn(async move {
                let retry = RetryConfig { resolve_timeout, ..RetryConfig::operation() };
                let build = writers.db.build_transaction().resolve(resolve).retry(retry);
                writers.write_in(if way == Way::TooLong { build.timeout(SHORT) } else { build }).await
            });
        }
        let conn = &mut self.conn;
        until("they wait for the standby", async || count(conn, WAITING).await == before + 2).await;
        let end = match way {
            Way::Cancelled => "pg_cancel_backend",
            Way::Terminated => "pg_terminate_backend",
            Way::TooLong | Way::Cut => return losing,
        };
        let end = format!(
            "SELECT count({end}(pid)) AS n FROM ({}) AS waiting",
            WAITING.replace("count(*) AS n", "pid")
        );
        count(conn, &end).await;
        until("nobody waits", async || count(conn, WAITING).await == 0).await;
        losing
    }

    async fn come_back(&self) {
        self.cluster.start(1).await.unwrap();
        self.cluster.standbys_streaming().await.unwrap();
    }

    /// How many callers were told something else, or have a row that is not on the standby exactly once.
    async fn count_wrong(&self, told: &[(i32, Told)], expected: Told) -> u32 {
        self.cluster.wait_until_caught_up(1).await.unwrap();
        let mut standby = self.cluster.connect(1).await.unwrap();
        let mut wrong = 0;
        for (n, told) in told {
            let kept = times(&mut standby, *n).await;
            if *told != expected || kept != 1 {
                wrong += 1;
                eprintln!("transaction {n}: told {told:?}, {kept} kept, expected {expected:?}");
            }
        }
        wrong
    }
}
