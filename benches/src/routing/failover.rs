//! The writer goes and its standby is promoted, again and again, while ours and a peer write to the same two
//! servers.
//!
//! The peer is what there is in Rust without a library: a deadpool whose URL names both servers and asks for
//! the one that takes writes (`target_session_attrs=read-write`), and callers that give up after a second and
//! try again after 10 ms.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use db_platform::retry::marker;
use db_platform::{Db, Error};
use db_testkit::{Cluster, Stop, until};
use diesel::sql_types::Bool;
use diesel::{QueryResult, QueryableByName, sql_query};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use tokio::task::JoinHandle;

use crate::peers::{self, Deadpool};
use crate::routing::{ours, urls};
use crate::server::two_threads;

const CONNECTIONS: usize = 4;
const CALLERS: usize = 4;
/// What a caller waits before it tries again, and between two writes.
const AGAIN: Duration = Duration::from_millis(10);
/// The longest that a caller waits for the peer: without it a frozen server would hold it for ever.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a server stays frozen before someone ends it.
const FROZEN: Duration = Duration::from_secs(3);
/// So many writes after another show that a side works.
const WORKS: usize = 20;

/// How the writer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Killed with all of its processes, as by the crash of its machine.
    Killed,
    /// Stopped in order, as for maintenance.
    Stopped,
    /// Frozen: its connections stay open and nothing answers. After three seconds it is killed.
    Frozen,
}

/// What one failover was to one side.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// From the command to promote to the end of the first good write, in milliseconds.
    pub first_write_millis: f64,
    /// Writes that failed for their callers.
    pub errors: usize,
    /// Those of them that may have been committed all the same, where that is told.
    pub unknown: usize,
}

/// One failover.
#[derive(Debug, Clone, Copy)]
pub struct Failover {
    /// What it was to ours.
    pub ours: Seen,
    /// What it was to the peer.
    pub peer: Seen,
    /// From the command to promote until the server itself says that it takes writes, in milliseconds: nobody
    /// can be faster.
    pub ideal_millis: f64,
}

/// So many failovers, to and fro between two servers.
pub fn measure(how: How, failovers: usize) -> Vec<Failover> {
    two_threads().block_on(async {
        let cluster = Cluster::builder().standbys(1).start().await.unwrap();
        let urls = urls(&cluster, 2);
        let db = ours(&urls, CONNECTIONS).await;
        db.transaction::<_, Error>(async |conn| {
            marker::apply(conn).await?;
            Ok(conn.batch_execute("CREATE TABLE written (at timestamptz NOT NULL)").await?)
        })
        .await
        .unwrap();
        let ours = Writers::start(&db);
        let peer = Writers::start(&peers::deadpool(&either(&urls), CONNECTIONS, CONNECTIONS).await);
        let mut seen = Vec::new();
        for _ in 0..failovers {
            warm(&db, &cluster).await;
            seen.push(one(how, &cluster, &ours, &peer).await);
        }
        seen
    })
}

/// A URL with the hosts of both, which leads to the one that takes writes.
fn either(urls: &[String]) -> String {
    let [first, second] = urls else { panic!("there are two servers") };
    let (first, path) = first.rsplit_once('/').unwrap();
    let (_, second) = second.rsplit_once('@').unwrap();
    let (second, _) = second.split_once('/').unwrap();
    format!("{first},{second}/{path}?target_session_attrs=read-write")
}

/// Waits until there are connections to the standby that only wait for its promotion.
async fn warm(db: &Db, cluster: &Cluster) {
    let standby = cluster.address_of(1 - cluster.primary()).unwrap();
    until("the connections to the standby are open", async || {
        let pools = db.pools();
        pools.iter().any(|pool| pool.endpoint.port() == standby.port() && pool.idle >= CONNECTIONS)
    })
    .await;
}

async fn one(how: How, cluster: &Cluster, ours: &Writers, peer: &Writers) -> Failover {
    let (old, new) = (cluster.primary(), 1 - cluster.primary());
    cluster.wait_until_caught_up(new).await.unwrap();
    let mut standby = cluster.connect(new).await.unwrap();
    let before = Instant::now();
    for side in [ours, peer] {
        side.works_since(before).await;
        side.forget();
    }
    match how {
        How::Killed => cluster.kill(old).await.unwrap(),
        How::Stopped => cluster.stop(old, Stop::Fast).await.unwrap(),
        How::Frozen => cluster.pause(old).await.unwrap(),
    }
    let promoting = Instant::now();
    let (promoted, ideal) = tokio::join!(cluster.promote(new), out_of_recovery(&mut standby));
    promoted.unwrap();
    if how == How::Frozen {
        tokio::time::sleep_until((promoting + FROZEN).into()).await;
        cluster.kill(old).await.unwrap();
    }
    for side in [ours, peer] {
        side.works_since(promoting).await;
    }
    // What the return of the old server does to callers counts, too.
    cluster.rejoin(old).await.unwrap();
    Failover {
        ours: ours.seen_since(promoting),
        peer: peer.seen_since(promoting),
        ideal_millis: millis(ideal - promoting),
    }
}

async fn out_of_recovery(conn: &mut AsyncPgConnection) -> Instant {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Bool)]
        over: bool,
    }
    while !sql_query("SELECT NOT pg_is_in_recovery() AS over").get_result::<Row>(conn).await.unwrap().over {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Instant::now()
}

/// How a write ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Good,
    Failed,
    Unknown,
}

/// Whatever takes writes.
trait Writes: Clone + Send + Sync + 'static {
    fn write(&self) -> impl Future<Output = End> + Send;
}

impl Writes for Db {
    /// With a marker row, as it is meant to be where failovers are to cost no error.
    async fn write(&self) -> End {
        let insert = async |conn: &mut AsyncPgConnection| Ok::<_, Error>(insert(conn).await?);
        match self.build_transaction().marked().run(insert).await {
            Ok(()) => End::Good,
            Err(Error::CommitUnknown(_)) => End::Unknown,
            Err(_) => End::Failed,
        }
    }
}

impl Writes for Deadpool {
    async fn write(&self) -> End {
        let written = tokio::time::timeout(PATIENCE, async {
            let mut conn = self.get().await.ok()?;
            conn.transaction(async |conn| insert(conn).await).await.ok()
        });
        if let Ok(Some(())) = written.await { End::Good } else { End::Failed }
    }
}

async fn insert(conn: &mut AsyncPgConnection) -> QueryResult<()> {
    sql_query("INSERT INTO written VALUES (now())").execute(conn).await.map(drop)
}

/// Callers that write again and again, until this is dropped.
struct Writers {
    log: Arc<Mutex<Vec<(Instant, End)>>>,
    callers: Vec<JoinHandle<()>>,
}

impl Writers {
    fn start(writes: &impl Writes) -> Self {
        let log: Arc<Mutex<Vec<(Instant, End)>>> = Arc::default();
        let callers = (0..CALLERS).map(|_| {
            let (writes, log) = (writes.clone(), Arc::clone(&log));
            tokio::spawn(async move {
                loop {
                    let end = writes.write().await;
                    log.lock().unwrap().push((Instant::now(), end));
                    tokio::time::sleep(AGAIN).await;
                }
            })
        });
        Writers { callers: callers.collect(), log }
    }

    fn forget(&self) {
        self.log.lock().unwrap().clear();
    }

    async fn works_since(&self, since: Instant) {
        until("writes are good again", async || {
            let log = self.log.lock().unwrap();
            log.iter().filter(|(at, end)| *at > since && *end == End::Good).count() >= WORKS
        })
        .await;
    }

    fn seen_since(&self, promoting: Instant) -> Seen {
        let log = self.log.lock().unwrap();
        let first = log.iter().find(|(at, end)| *at > promoting && *end == End::Good).unwrap();
        Seen {
            first_write_millis: millis(first.0 - promoting),
            errors: log.iter().filter(|(_, end)| *end != End::Good).count(),
            unknown: log.iter().filter(|(_, end)| *end == End::Unknown).count(),
        }
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        self.callers.iter().for_each(JoinHandle::abort);
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
