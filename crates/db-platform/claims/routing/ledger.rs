//! Writers that keep a ledger of what was acknowledged to them, and its comparison with what a failover left.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use db_platform::replica_routing::Token;
use db_platform::{Db, Error, Lsn, Session};
use diesel::sql_query;
use diesel::sql_types::BigInt;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use tokio::task::JoinSet;

use crate::routing::{Ids, Number, Word, number};

const WRITERS: usize = 8;

/// Its rows have no key, so that what is written twice is there twice.
pub(crate) const TABLE: &str = "CREATE TABLE ledger (id int8 NOT NULL)";

/// What there is to find out with what became of a COMMIT without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    /// The transaction's id, which another server says nothing of.
    Id,
    /// A row that goes wherever the data goes.
    Marker,
}

/// A write that was acknowledged.
#[derive(Debug, Clone, Copy)]
struct Acknowledged {
    at: Instant,
    /// The position before COMMIT was sent.
    before: Option<Token>,
    /// That behind COMMIT; none where its answer was lost.
    behind: Option<Token>,
}

type Ledger = Arc<Mutex<BTreeMap<i64, Acknowledged>>>;

/// Tasks that write one row after another.
pub(crate) struct Writers {
    stop: Arc<AtomicBool>,
    ledger: Ledger,
    tasks: JoinSet<(u64, Vec<String>)>,
}

/// What writers were told.
pub(crate) struct Told {
    ledger: Ledger,
    /// Commits of which nobody could tell.
    pub(crate) unknown: u64,
    pub(crate) errors: Vec<String>,
}

/// What a failover made of the rows.
#[derive(Debug)]
pub(crate) struct Compared {
    /// Rows that are there more than once.
    pub(crate) doubled: i64,
    /// Acknowledged, and behind the position up to which the new primary had received the old one's log.
    pub(crate) lost_by_replication: usize,
    /// Acknowledged and lost for no good reason.
    pub(crate) lost: usize,
}

impl Writers {
    pub(crate) fn start(db: &Db, proof: Proof) -> Self {
        let (stop, ledger, ids) =
            (Arc::new(AtomicBool::new(false)), Ledger::default(), Arc::new(Ids::default()));
        let mut tasks = JoinSet::new();
        for _ in 0..WRITERS {
            let (db, stop, ledger, ids) =
                (db.clone(), Arc::clone(&stop), Arc::clone(&ledger), Arc::clone(&ids));
            tasks.spawn(async move {
                let (mut unknown, mut errors) = (0, Vec::new());
                while !AtomicBool::load(&stop, Ordering::Relaxed) {
                    let id = i64::try_from(ids.next()).unwrap();
                    match write(&db, proof, id).await {
                        Ok(acknowledged) => drop(ledger.lock().unwrap().insert(id, acknowledged)),
                        Err(Error::CommitUnknown(_)) => unknown += 1,
                        Err(error) => errors.push(error.to_string()),
                    }
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                (unknown, errors)
            });
        }
        Writers { stop, ledger, tasks }
    }

    pub(crate) fn acknowledged(&self) -> usize {
        self.ledger.lock().unwrap().len()
    }

    pub(crate) fn first_since(&self, since: Instant) -> Option<Instant> {
        self.ledger.lock().unwrap().values().map(|write| write.at).filter(|at| *at > since).min()
    }

    pub(crate) async fn finish(self) -> Told {
        self.stop.store(true, Ordering::Relaxed);
        let mut told = Told { ledger: self.ledger, unknown: 0, errors: Vec::new() };
        for (unknown, errors) in self.tasks.join_all().await {
            told.unknown += unknown;
            told.errors.extend(errors);
        }
        told
    }
}

async fn write(db: &Db, proof: Proof, id: i64) -> Result<Acknowledged, Error> {
    let session = Session::new();
    let work = async |conn: &mut AsyncPgConnection| {
        sql_query("INSERT INTO ledger VALUES ($1)").bind::<BigInt, _>(id).execute(conn).await?;
        Token::read(conn).await
    };
    let transaction = db.build_transaction().session(&session);
    let transaction = match proof {
        Proof::Id => transaction,
        Proof::Marker => transaction.marked(),
    };
    let before = transaction.run(work).await?;
    Ok(Acknowledged { at: Instant::now(), before, behind: session.token() })
}

impl Told {
    /// Compares what was acknowledged with what is there, on the new primary, whose promotion began at
    /// `promoting`.
    pub(crate) async fn compare(&self, conn: &mut AsyncPgConnection, promoting: Instant) -> Compared {
        let doubled = number(conn, "SELECT count(*) - count(DISTINCT id) AS n FROM ledger").await.unwrap();
        let rows = sql_query("SELECT id AS n FROM ledger").load::<Number>(conn).await.unwrap();
        let kept: BTreeSet<i64> = rows.into_iter().map(|row| row.n).collect();
        let received = Received::read(conn).await;
        let ledger = self.ledger.lock().unwrap();
        let missing = ledger.iter().filter(|(id, _)| !kept.contains(id));
        let (explained, unexplained): (Vec<_>, Vec<_>) =
            missing.partition(|(_, write)| write.at < promoting && received.lacks(write));
        if !unexplained.is_empty() {
            eprintln!("lost, although the new primary had {received:?}: {unexplained:?}");
        }
        Compared { doubled, lost_by_replication: explained.len(), lost: unexplained.len() }
    }
}

/// How much of the old primary's log the new one had when it was promoted.
#[derive(Debug, Clone, Copy)]
struct Received {
    timeline: u32,
    up_to: Lsn,
}

impl Received {
    /// The last line of the new timeline's history: the one that it branched off from, and where.
    async fn read(conn: &mut AsyncPgConnection) -> Self {
        let history = "SELECT pg_read_file('pg_wal/' || left(pg_walfile_name(pg_current_wal_lsn()), 8) || '.history') AS word";
        let history = sql_query(history).get_result::<Word>(conn).await.unwrap().word;
        let mut last = history.lines().rfind(|line| !line.trim().is_empty()).unwrap().split('\t');
        Received {
            timeline: last.next().unwrap().parse().unwrap(),
            up_to: last.next().unwrap().parse().unwrap(),
        }
    }

    /// Whether the write's COMMIT can have been missing from it.
    ///
    /// The token lies behind COMMIT: where even that was received, COMMIT was. Without one, the position
    /// before COMMIT must show it.
    fn lacks(self, write: &Acknowledged) -> bool {
        let shown = write.behind.or(write.before);
        shown.is_some_and(|token| token.timeline == self.timeline && token.position > self.up_to)
    }
}
