//! What clients were told to be written, and its comparison with what the cluster holds in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Instant;

use db_platform::Lsn;
use diesel::sql_types::{BigInt, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

/// Writes that were acknowledged, by number: when, and how far the server's log was.
#[derive(Debug, Default)]
pub(crate) struct Ledger(Mutex<BTreeMap<i64, (Instant, Lsn)>>);

/// What became of them.
#[derive(Debug)]
pub(crate) struct Compared {
    pub(crate) kept: BTreeSet<i64>,
    pub(crate) doubled: usize,
    /// Written before the promotion, behind what the new primary had received.
    pub(crate) lost_by_replication: usize,
    /// Acknowledged, missing, and for no good reason.
    pub(crate) lost: usize,
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

#[derive(QueryableByName)]
struct Word {
    #[diesel(sql_type = Text)]
    word: String,
}

impl Ledger {
    pub(crate) fn acknowledge(&self, id: i64, position: &str) {
        self.0.lock().unwrap().insert(id, (Instant::now(), position.parse().unwrap()));
    }

    /// How many were acknowledged after this moment.
    pub(crate) fn since(&self, moment: Instant) -> usize {
        self.0.lock().unwrap().values().filter(|(at, _)| *at > moment).count()
    }

    /// Against what this server holds, which was promoted at that time, if it was.
    pub(crate) async fn compare(
        &self,
        table: &str,
        conn: &mut AsyncPgConnection,
        promoted: Option<Instant>,
    ) -> Compared {
        let rows = sql_query(format!("SELECT id AS n FROM {table}")).load::<Number>(conn).await.unwrap();
        let kept: BTreeSet<i64> = rows.iter().map(|row| row.n).collect();
        let received = match promoted {
            Some(at) => Some((at, received(conn).await)),
            None => None,
        };
        let ledger = self.0.lock().unwrap();
        let missing: Vec<_> = ledger.iter().filter(|(id, _)| !kept.contains(id)).collect();
        let explained = |(at, position): &(Instant, Lsn)| {
            received.is_some_and(|(promoted, up_to)| *at < promoted && *position > up_to)
        };
        let lost_by_replication = missing.iter().filter(|(_, write)| explained(write)).count();
        let lost = missing.len() - lost_by_replication;
        Compared { doubled: rows.len() - kept.len(), kept, lost_by_replication, lost }
    }
}

/// How much of the old primary's log the new one had: the last line of its timeline's history.
async fn received(conn: &mut AsyncPgConnection) -> Lsn {
    let history = "SELECT pg_read_file('pg_wal/' || left(pg_walfile_name(pg_current_wal_lsn()), 8) || '.history') AS word";
    let history = sql_query(history).get_result::<Word>(conn).await.unwrap().word;
    let last = history.lines().rfind(|line| !line.trim().is_empty()).unwrap();
    last.split('\t').nth(1).unwrap().parse().unwrap()
}
