//! Which share of reads standbys answer when sessions must see their own writes, and how that is seen to.
//!
//! Sessions of every policy run at the same time on the same servers. Who answered a read is what the server
//! itself says.

use std::time::{Duration, Instant};

use db_platform::{Db, Error, Freshness, Session};
use db_testkit::Cluster;
use diesel::sql_types::{BigInt, Bool};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use rand::RngExt;
use tokio::task::JoinSet;

use crate::routing::{SLICE, ours, slices, urls};
use crate::server::two_threads;

const STANDBYS: usize = 2;
const CONNECTIONS: usize = 10;
/// Of each policy.
const SESSIONS: usize = 300;
/// A session pauses twice this at most, and this on average.
const PAUSE: Duration = Duration::from_secs(2);
/// How many writes there are for each read.
const WRITES: f64 = 0.05;
/// The longest that a standby waits before it replays a commit.
const MOST_DELAY_MILLIS: u64 = 500;
/// After this long as many sessions stick to the primary as ever will.
const WARM_UP: Duration = Duration::from_secs(32);

/// How it is seen to that a session sees its own writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Ours: a token of what the session wrote.
    Tokens,
    /// All reads of a session go to the primary for this long after each of its writes.
    Sticking(Duration),
    /// Not at all.
    Nothing,
}

/// The reads of all sessions of one policy, each second's by themselves.
#[derive(Debug)]
pub struct Answers {
    /// What was done.
    pub policy: Policy,
    /// Each second: which share of the reads standbys answered.
    pub shares: Vec<f64>,
    /// How many reads there were.
    pub reads: usize,
    /// How many of them standbys answered.
    pub by_standbys: usize,
    /// How many of them did not see what their session had written.
    pub stale: usize,
}

/// Measures so many seconds of each policy.
pub fn measure(policies: &[Policy], seconds: usize) -> Vec<Answers> {
    two_threads().block_on(async {
        let cluster = Cluster::builder().standbys(STANDBYS).start().await.unwrap();
        let db = ours(&urls(&cluster, 1 + STANDBYS), CONNECTIONS).await;
        let create = format!(
            "CREATE TABLE register (id int8 PRIMARY KEY, n int8 NOT NULL); \
             INSERT INTO register SELECT id, 0 FROM generate_series(1, {}) AS id",
            SESSIONS * policies.len()
        );
        db.transaction::<_, Error>(async |conn| Ok(conn.batch_execute(&create).await?)).await.unwrap();
        for standby in 1..=STANDBYS {
            cluster.wait_until_caught_up(standby).await.unwrap();
        }
        let delays = tokio::spawn(vary_delays(cluster.clone()));
        let start = Instant::now() + WARM_UP;
        let end = start + SLICE * u32::try_from(seconds).unwrap();
        let mut ids = 1..;
        let mut running = Vec::new();
        for policy in policies {
            let mut sessions = JoinSet::new();
            for id in ids.by_ref().take(SESSIONS) {
                sessions.spawn(session(db.clone(), id, *policy, end));
            }
            running.push((*policy, sessions));
        }
        let mut answers = Vec::new();
        for (policy, sessions) in running {
            answers.push(Answers::of(policy, &slices(&sessions.join_all().await.concat(), start, seconds)));
        }
        delays.abort();
        answers
    })
}

impl Answers {
    fn of(policy: Policy, seconds: &[Vec<Answer>]) -> Self {
        let by_standbys = |answers: &Vec<Answer>| answers.iter().filter(|answer| answer.by_standby).count();
        let share = |answers: &Vec<Answer>| by_standbys(answers) as f64 / answers.len() as f64;
        Answers {
            policy,
            shares: seconds.iter().map(share).collect(),
            reads: seconds.iter().map(Vec::len).sum(),
            by_standbys: seconds.iter().map(by_standbys).sum(),
            stale: seconds.iter().flatten().filter(|answer| answer.stale).count(),
        }
    }

    /// The share of all reads that standbys answered.
    pub fn share(&self) -> f64 {
        self.by_standbys as f64 / self.reads as f64
    }
}

#[derive(Debug, Clone, Copy)]
struct Answer {
    by_standby: bool,
    stale: bool,
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = BigInt)]
    n: i64,
    #[diesel(sql_type = Bool)]
    by_standby: bool,
}

/// One session: it reads its own row again and again, sometimes after a write, and knows what it has written.
async fn session(db: Db, id: i64, policy: Policy, end: Instant) -> Vec<(Instant, Answer)> {
    let (session, mut written, mut wrote, mut seen) = (Session::new(), 0, None::<Instant>, Vec::new());
    loop {
        let pause = PAUSE.mul_f64(rand::rng().random_range(0.0..2.0));
        tokio::time::sleep(pause).await;
        if Instant::now() > end {
            return seen;
        }
        // Whoever has written looks at the result at once, as a browser does that is sent on after a form.
        if rand::rng().random_bool(WRITES) {
            let update = sql_query("UPDATE register SET n = n + 1 WHERE id = $1").bind::<BigInt, _>(id);
            let update = async |conn: &mut AsyncPgConnection| {
                update.execute(conn).await?;
                Ok::<_, Error>(())
            };
            let transaction = match policy {
                Policy::Tokens => db.build_transaction().session(&session),
                Policy::Sticking(_) | Policy::Nothing => db.build_transaction(),
            };
            transaction.run(update).await.unwrap();
            (written, wrote) = (written + 1, Some(Instant::now()));
        }
        let freshness = match policy {
            Policy::Tokens => session.freshness(),
            Policy::Sticking(time) if wrote.is_some_and(|wrote| wrote.elapsed() < time) => Freshness::Primary,
            Policy::Sticking(_) | Policy::Nothing => Freshness::Default,
        };
        let select = "SELECT n, pg_is_in_recovery() AS by_standby FROM register WHERE id = $1";
        let select = sql_query(select).bind::<BigInt, _>(id);
        let read = async |conn: &mut AsyncPgConnection| select.get_result::<Row>(conn).await;
        let Row { n, by_standby } = db.read_within(freshness, read).await.unwrap();
        seen.push((Instant::now(), Answer { by_standby, stale: n < written }));
    }
}

/// Gives each standby another delay four times a second.
async fn vary_delays(cluster: Cluster) {
    let mut standbys = Vec::new();
    for standby in 1..=STANDBYS {
        standbys.push(cluster.connect(standby).await.unwrap());
    }
    loop {
        for conn in &mut standbys {
            let delay = rand::rng().random_range(0..=MOST_DELAY_MILLIS);
            let set = format!("ALTER SYSTEM SET recovery_min_apply_delay = '{delay}ms'");
            conn.batch_execute(&set).await.unwrap();
            conn.batch_execute("SELECT pg_reload_conf()").await.unwrap();
        }
        tokio::time::sleep(SLICE / 4).await;
    }
}
