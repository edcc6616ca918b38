//! The loader against async-graphql's own with its defaults, and against a hand-written `= ANY`.

use std::collections::HashMap;
use std::sync::Arc;

use async_graphql::dataloader::{DataLoader, Loader as PeerLoader};
use async_graphql::runtime::{TokioSpawner, TokioTimer};
use db_core::Error;
use db_loader::{Loader, Query};
use db_testkit::Source;
use diesel::prelude::*;
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use futures_util::future::join_all;
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::pairs::{Compared, Took, compare};
use crate::server::{OnOneProcessor, on_one_thread};

/// Callers of the chain, each of whom needs one level before it can ask for the next.
pub const CALLERS: i64 = 100;

/// Levels of the chain.
pub const DEPTH: usize = 5;

/// Keys that are asked for at once, where there is one level.
pub const KEYS: i64 = 1_000;

mod schema {
    diesel::table! { nodes (id) { id -> BigInt, parent -> BigInt, } }
}
use schema::nodes;

/// One level of a chain.
trait Level {
    async fn next(&self, id: i64) -> i64;
}

impl Level for Loader<i64, i64> {
    async fn next(&self, id: i64) -> i64 {
        self.get(id).await.unwrap().unwrap()
    }
}

impl<L: PeerLoader<i64, Value = i64, Error: std::fmt::Debug>> Level for DataLoader<L> {
    async fn next(&self, id: i64) -> i64 {
        self.load_one(id).await.unwrap().unwrap()
    }
}

/// Answers from memory.
struct Memory;

impl PeerLoader<i64> for Memory {
    type Value = i64;
    type Error = ();

    async fn load(&self, keys: &[i64]) -> Result<HashMap<i64, i64>, ()> {
        Ok(parents(keys))
    }
}

fn parents(keys: &[i64]) -> HashMap<i64, i64> {
    keys.iter().map(|key| (*key, parent(*key))).collect()
}

fn parent(key: i64) -> i64 {
    key % KEYS + 1
}

/// Answers from the server, on the one connection that both sides use.
struct Server(Arc<Mutex<AsyncPgConnection>>);

impl PeerLoader<i64> for Server {
    type Value = i64;
    type Error = Arc<diesel::result::Error>;

    async fn load(&self, keys: &[i64]) -> Result<HashMap<i64, i64>, Self::Error> {
        select(&mut *self.0.lock().await, keys.to_vec()).await.map(HashMap::from_iter).map_err(Arc::new)
    }
}

async fn select(conn: &mut AsyncPgConnection, keys: Vec<i64>) -> QueryResult<Vec<(i64, i64)>> {
    nodes::table.filter(nodes::id.eq_any(keys)).load(conn).await
}

fn memory() -> Loader<i64, i64> {
    Loader::new("memory", |keys: Vec<i64>| async move { Ok::<_, Error>(parents(&keys)) })
}

fn peer<L: PeerLoader<i64>>(loader: L) -> DataLoader<L> {
    DataLoader::new(loader, TokioSpawner::current(), TokioTimer::default())
}

/// The connection, and what is loaded on it.
async fn connected(url: &str) -> (Arc<Mutex<AsyncPgConnection>>, Query<i64, i64>) {
    let mut conn = AsyncPgConnection::establish(url).await.unwrap();
    let schema = format!(
        "CREATE TABLE nodes AS SELECT n AS id, n % {KEYS} + 1 AS parent FROM generate_series(1, {KEYS}::bigint) AS n;
        ALTER TABLE nodes ADD PRIMARY KEY (id); ANALYZE nodes"
    );
    conn.batch_execute(&schema).await.unwrap();
    let query =
        Query::new("nodes", async |conn: &mut AsyncPgConnection, ids: Vec<i64>| select(conn, ids).await);
    (Arc::new(Mutex::new(conn)), query)
}

/// This one connection as a place where connections come from.
fn one(conn: &Arc<Mutex<AsyncPgConnection>>) -> Source<OwnedMutexGuard<AsyncPgConnection>> {
    let conn = Arc::clone(conn);
    Source::new(move |_| {
        let conn = Arc::clone(&conn);
        async move { Ok(conn.lock_owned().await) }
    })
}

/// Every caller walks up the chain, one level after the other; each level has a loader of its own.
async fn walk<L: Level>(levels: &[L]) -> Took {
    Took::of(1, async {
        let callers = (1..=CALLERS).map(async |id| {
            let mut at = id;
            for level in levels {
                at = level.next(at).await;
            }
            assert_eq!(at, (0..DEPTH).fold(id, |at, _| parent(at)));
        });
        join_all(callers).await;
    })
    .await
}

/// A chain whose loads answer from memory, against async-graphql's loader.
pub fn chain_in_memory(pairs: usize) -> Compared {
    on_one_thread(async |_| {
        let ours: Vec<_> = (0..DEPTH).map(|_| memory()).collect();
        let theirs: Vec<_> = (0..DEPTH).map(|_| peer(Memory)).collect();
        compare(pairs, async || walk(&ours).await, async || walk(&theirs).await).await
    })
}

/// A chain whose loads ask a server, against async-graphql's loader.
pub fn chain_on_a_server(pairs: usize) -> Compared {
    on_one_thread(async |url| {
        let _pinned = OnOneProcessor::keep(url).await;
        let (conn, query) = connected(url).await;
        let ours: Vec<_> = (0..DEPTH).map(|_| query.on(one(&conn))).collect();
        let theirs: Vec<_> = (0..DEPTH).map(|_| peer(Server(Arc::clone(&conn)))).collect();
        compare(pairs, async || walk(&ours).await, async || walk(&theirs).await).await
    })
}

async fn many<L: Level>(loader: &L) -> Took {
    Took::of(1, async {
        let parents = join_all((1..=KEYS).map(|id| loader.next(id))).await;
        assert_eq!(parents.len() as i64, KEYS);
    })
    .await
}

/// A thousand keys at once from memory, against async-graphql's loader.
pub fn many_in_memory(pairs: usize) -> Compared {
    on_one_thread(async |_| {
        let (ours, theirs) = (memory(), peer(Memory));
        compare(pairs, async || many(&ours).await, async || many(&theirs).await).await
    })
}

/// A thousand keys at once from a server, against async-graphql's loader.
pub fn many_on_a_server(pairs: usize) -> Compared {
    on_one_thread(async |url| {
        let _pinned = OnOneProcessor::keep(url).await;
        let (conn, query) = connected(url).await;
        let ours = query.on(one(&conn));
        let theirs = peer(Server(conn));
        compare(pairs, async || many(&ours).await, async || many(&theirs).await).await
    })
}

/// A thousand keys at once from a server, against one statement that is written by hand.
pub fn many_by_hand(pairs: usize) -> Compared {
    on_one_thread(async |url| {
        let _pinned = OnOneProcessor::keep(url).await;
        let (conn, query) = connected(url).await;
        let ours = query.on(one(&conn));
        let by_hand = async || {
            Took::of(1, async {
                let rows = select(&mut *conn.lock().await, (1..=KEYS).collect()).await.unwrap();
                let found: HashMap<i64, i64> = rows.into_iter().collect();
                let parents: Vec<_> = (1..=KEYS).map(|id| found[&id]).collect();
                assert_eq!(parents.len() as i64, KEYS);
            })
            .await
        };
        compare(pairs, async || many(&ours).await, by_hand).await
    })
}
