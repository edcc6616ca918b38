//! Every attempt fails, after days on which all went well: once for each reason, through each verb of a
//! service.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use db_platform::{Config, Db, Environment, Error, Result, RetryConfig};
use db_testkit::{Cluster, CommitCut, Proxy};
use diesel::sql_types::Integer;
use diesel_async::SimpleAsyncConnection;
use futures_util::TryStreamExt;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::MOST;

/// Of the calls of a case, the share that must fail for its reason: others may find the server out of use for
/// a moment.
const AS_MEANT: f64 = 0.25;

/// Callers at one time: they share the wait for a server that has just cut a connection.
const CALLERS: i64 = 32;

/// Good calls before each case: as many as fill the budget.
const GOOD: i64 = 2_500;

/// A case in which each attempt takes a new connection has so many times fewer calls, and twice as many times
/// fewer good ones before it: an answer that ends a call pays for retries, too.
const DEAR: i64 = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Read,
    Transaction,
    Stream,
}

/// What was seen of one reason and one verb.
pub(super) struct Case {
    reason: &'static str,
    verb: Verb,
    /// The most attempts that a call may cost.
    most: f64,
    pub(super) attempts_a_call: f64,
    /// Of the calls, the share that failed for this reason.
    failed_so: f64,
    seconds: f64,
}

impl Case {
    pub(super) fn is_right(&self) -> bool {
        self.attempts_a_call <= self.most && self.failed_so >= AS_MEANT
    }

    pub(super) fn name(&self) -> String {
        format!("{} {:?}", self.reason, self.verb)
    }

    pub(super) fn detail(&self) -> Value {
        json!({ "attempts_a_call": self.attempts_a_call, "failed_so": self.failed_so, "seconds": self.seconds })
    }
}

/// Why attempts fail: what they send, what that ends with, and how often one call may try.
const REASONS: [(&str, &str, &str, f64); 6] = [
    // The proxy cuts the connection at this one, and nobody says why.
    ("connection_lost", "SELECT 1; COMMIT", LOST, MOST),
    ("terminated", "SELECT pg_terminate_backend(pg_backend_pid())", "57P01", MOST),
    ("conflict", "DO $$ BEGIN RAISE EXCEPTION 'planted' USING ERRCODE = '40001'; END $$", "40001", MOST),
    ("statement_timeout", "SELECT pg_sleep(1)", "57014", MOST),
    ("lock_not_available", NOWAIT, "55P03", 1.0),
    ("lock_not_available_and_tried_again", NOWAIT, "55P03", MOST),
];

/// No code came with it.
const LOST: &str = "";

/// Without a transaction of its own: a transaction of the caller's is in its place.
const NOWAIT: &str = "DO $$ BEGIN LOCK TABLE locked IN ACCESS SHARE MODE NOWAIT; END $$";

pub(super) async fn measure(calls: i64) -> Vec<Case> {
    let cluster = Cluster::builder().start().await.unwrap();
    let mut owner = cluster.connect(0).await.unwrap();
    owner.batch_execute("CREATE TABLE locked (n int)").await.unwrap();
    owner.batch_execute("BEGIN; LOCK TABLE locked").await.unwrap();
    let proxy = Proxy::start(cluster.address_of(0).unwrap()).unwrap();
    let mut config =
        Config::new(Environment::Test, proxy.through(&cluster.primary_url()).unwrap().parse().unwrap());
    config.pool.max = 40.try_into().unwrap();
    config.read_pool.max = 40.try_into().unwrap();
    config.router.writer_wait = Duration::from_millis(50);
    config.connect.statement_timeout = Some(Duration::from_millis(20));
    let db = Db::connect(config).await.unwrap();
    let mut cases = Vec::new();
    for (reason, sql, code, most) in REASONS {
        let db = match reason {
            "lock_not_available_and_tried_again" => {
                db.with_retry(RetryConfig { lock_timeouts: true, ..RetryConfig::operation() })
            }
            _ => db.clone(),
        };
        for verb in [Verb::Read, Verb::Transaction] {
            let share = if matches!(reason, "connection_lost" | "terminated") { DEAR } else { 1 };
            good_days(&db, if share == 1 { GOOD } else { GOOD / share / 2 }).await;
            if reason == "connection_lost" {
                proxy.cut_commits(u64::MAX, CommitCut::Withheld);
            }
            cases.push(case(&db, &Reason { reason, sql, code, most }, verb, calls / share).await);
            proxy.heal();
        }
    }
    let refused = Reason { reason: "refused", sql: "SELECT 1", code: LOST, most: MOST };
    for verb in [Verb::Read, Verb::Transaction, Verb::Stream] {
        good_days(&db, GOOD).await;
        proxy.refuse();
        proxy.cut();
        cases.push(case(&db, &refused, verb, calls).await);
        proxy.heal();
    }
    cases
}

/// Fills what retries may cost, in both budgets.
async fn good_days(db: &Db, calls: i64) {
    db_testkit::until("the server is there", async || db.primary().await.is_ok()).await;
    each(calls, CALLERS, |_| {
        let db = db.clone();
        async move {
            let read: Result<()> =
                db.read(async |conn| conn.batch_execute("SELECT 1").await.map_err(Error::from)).await;
            read.is_ok()
        }
    })
    .await;
}

async fn case(db: &Db, why: &Reason, verb: Verb, calls: i64) -> Case {
    let &Reason { reason, sql, code, most } = why;
    let (before, runs, started) = (db.retries().total(), Arc::new(AtomicU64::new(0)), Instant::now());
    let counted = Arc::clone(&runs);
    let failed_so = each(calls, CALLERS, move |_| {
        let (db, runs) = (db.clone(), Arc::clone(&counted));
        async move {
            let work = async |conn: &mut diesel_async::AsyncPgConnection| {
                runs.fetch_add(1, Ordering::Relaxed);
                Ok::<_, Error>(conn.batch_execute(sql).await?)
            };
            let answer = match verb {
                Verb::Read => db.read(work).await,
                Verb::Transaction => db.transaction(work).await,
                Verb::Stream => {
                    let one = diesel::select(diesel::dsl::sql::<Integer>("1"));
                    db.stream::<i32>(one, 1).try_collect::<Vec<_>>().await.map(drop)
                }
            };
            answer
                .is_err_and(|error| error.sqlstate().map_or(LOST.to_owned(), |code| code.to_string()) == code)
        }
    })
    .await;
    // Attempts that came so far as to run the work, or those that the service's own metric counts.
    let counted = calls.unsigned_abs() + db.retries().total() - before;
    let attempts = counted.max(AtomicU64::load(&runs, Ordering::Relaxed));
    Case {
        reason,
        verb,
        most,
        attempts_a_call: attempts as f64 / calls as f64,
        failed_so: failed_so as f64 / calls as f64,
        seconds: started.elapsed().as_secs_f64(),
    }
}

/// Why every attempt of a case fails.
struct Reason {
    reason: &'static str,
    /// What an attempt sends.
    sql: &'static str,
    /// The code of the error that its caller gets.
    code: &'static str,
    most: f64,
}

/// Makes so many calls from so many callers; says of how many it was true.
pub(super) async fn each<F>(calls: i64, callers: i64, call: impl Fn(i64) -> F + Send + Sync) -> u64
where
    F: Future<Output = bool> + Send + 'static,
{
    let (mut begun, mut so_many, mut under_way) = (0, 0, JoinSet::new());
    loop {
        while begun < calls && (under_way.len() as i64) < callers {
            begun += 1;
            under_way.spawn(call(begun));
        }
        match under_way.join_next().await {
            Some(answer) => so_many += u64::from(answer.unwrap()),
            None => return so_many,
        }
    }
}
