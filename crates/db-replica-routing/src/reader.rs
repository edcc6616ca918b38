//! Chooses which standby may answer a read.
//!
//! A standby qualifies when it is alive and its lag is known and small enough. Unknown lag counts as infinite: a
//! reader that cannot be sure reads from the primary.

use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use db_core::{Acquire, Endpoint, Error, Result, SqlState};
use diesel_async::AsyncPgConnection;
use rand::seq::IndexedRandom;

use crate::freshness::Freshness;
use crate::node::Node;
use crate::router::Router;

/// A place where connections for reads come from; each acquire chooses a node anew.
#[derive(Debug)]
pub struct Reader<'a, A> {
    router: &'a Router<A>,
    freshness: Freshness,
}

impl<'a, A> Reader<'a, A> {
    pub(crate) fn new(router: &'a Router<A>, freshness: Freshness) -> Self {
        Reader { router, freshness }
    }

    /// The standbys that may answer; empty where only the primary may.
    fn candidates(&self) -> Vec<&'a Arc<Node<A>>> {
        let allowed = match self.freshness {
            Freshness::Primary => return Vec::new(),
            Freshness::Default => self.router.config().max_lag,
            Freshness::Within(lag) => lag,
            Freshness::Any => Duration::MAX,
        };
        self.router.standbys().iter().filter(|node| node.is_fresh(allowed)).collect()
    }
}

/// Of two random candidates the one with fewer reads under way (the power of two choices: Mitzenmacher, 2001).
fn choose<A>(candidates: &[&Arc<Node<A>>]) -> Option<usize> {
    let picks: Vec<usize> = (0..candidates.len()).collect();
    picks
        .sample(&mut rand::rng(), 2)
        .copied()
        .min_by_key(|&index| candidates[index].in_flight.load(Ordering::Relaxed))
}

impl<A: Acquire + Send> Acquire for Reader<'_, A> {
    type Conn = Routed<A>;

    #[track_caller]
    fn acquire(&self) -> impl Future<Output = Result<Routed<A>>> + Send {
        self.acquire_at(Location::caller())
    }

    async fn acquire_at(&self, site: &'static Location<'static>) -> Result<Routed<A>> {
        let mut candidates = self.candidates();
        while let Some(index) = choose(&candidates) {
            let node = candidates.swap_remove(index);
            let acquired = tokio::select! {
                acquired = node.source.acquire_at(site) => acquired,
                () = node.went_down() => Err(Error::ConnectionLost { reason: "the node went down".to_owned() }),
            };
            match acquired {
                Ok(conn) => return Ok(Routed::new(conn, node)),
                // It is busy, not gone, and the caller has waited for as long as it was willing to.
                Err(error @ Error::PoolTimeout { .. }) => return Err(error),
                Err(error) => {
                    tracing::debug!(endpoint = %node.endpoint, %error, "trying another node");
                }
            }
        }
        let primary = self.router.primary();
        Ok(Routed::new(primary.source.acquire_at(site).await?, primary))
    }

    /// The next attempt goes to another node: this one's pool may be full of connections that are just as dead.
    fn evict(&self, conn: &mut Routed<A>) {
        conn.node.source.evict(&mut conn.conn);
        conn.node.suspect();
        self.router.alarm().raise();
    }

    fn failed_with(&self, conn: &Routed<A>) -> Option<SqlState> {
        conn.node.source.failed_with(&conn.conn)
    }
}

/// A connection for reads, and the node that it leads to.
pub struct Routed<A: Acquire> {
    conn: A::Conn,
    node: Arc<Node<A>>,
}

impl<A: Acquire> Routed<A> {
    fn new(conn: A::Conn, node: &Arc<Node<A>>) -> Self {
        node.in_flight.fetch_add(1, Ordering::Relaxed);
        node.reads.fetch_add(1, Ordering::Relaxed);
        Routed { conn, node: Arc::clone(node) }
    }

    /// The node that answers.
    pub fn endpoint(&self) -> &Endpoint {
        &self.node.endpoint
    }
}

impl<A: Acquire> Drop for Routed<A> {
    fn drop(&mut self) {
        self.node.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<A: Acquire> Deref for Routed<A> {
    type Target = AsyncPgConnection;

    fn deref(&self) -> &AsyncPgConnection {
        &self.conn
    }
}

impl<A: Acquire> DerefMut for Routed<A> {
    fn deref_mut(&mut self) -> &mut AsyncPgConnection {
        &mut self.conn
    }
}
