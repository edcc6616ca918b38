//! A connection, and the node that it leads to.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use db_core::{Acquire, Endpoint, Facts, Opening, Report};
use diesel_async::AsyncPgConnection;

use crate::cluster::Cluster;
use crate::node::Node;
use crate::purpose::Purpose;

/// A connection, and the node that it leads to.
pub struct Routed<A: Acquire> {
    pub(crate) conn: A::Conn,
    under_way: UnderWay<A>,
    /// Which of the node's sources it came from.
    purpose: Purpose,
}

/// Counts one piece of work on a node for as long as it lives.
pub(crate) struct UnderWay<A> {
    node: Arc<Node<A>>,
}

impl<A> UnderWay<A> {
    pub(crate) fn on(node: Arc<Node<A>>) -> Self {
        node.in_flight.fetch_add(1, Ordering::Relaxed);
        UnderWay { node }
    }
}

impl<A: Acquire> Routed<A> {
    pub(crate) fn new(conn: A::Conn, under_way: UnderWay<A>, purpose: Purpose) -> Self {
        Routed { conn, under_way, purpose }
    }

    /// The node that answers.
    pub fn endpoint(&self) -> &Endpoint {
        self.node().endpoint()
    }

    /// The connection alone, which no longer counts as work on its node.
    pub fn into_inner(self) -> A::Conn {
        self.conn
    }

    /// What its own source knows of it.
    pub(crate) fn facts(&self, cluster: &Cluster<A>) -> Facts {
        cluster.source(self.node(), self.purpose).facts(&self.conn)
    }

    /// Has its own source send BEGIN with the next request.
    pub(crate) fn begin_with(&mut self, cluster: &Cluster<A>, opening: &Opening) -> bool {
        let node = Arc::clone(self.node());
        cluster.source(&node, self.purpose).begin_with(&mut self.conn, opening)
    }

    /// Tells its own source what it ran into.
    pub(crate) fn report(&mut self, cluster: &Cluster<A>, what: Report) {
        let node = Arc::clone(self.node());
        cluster.source(&node, self.purpose).report(&mut self.conn, what);
    }

    pub(crate) fn node(&self) -> &Arc<Node<A>> {
        &self.under_way.node
    }
}

impl<A> Drop for UnderWay<A> {
    fn drop(&mut self) {
        AtomicUsize::fetch_sub(&self.node.in_flight, 1, Ordering::Relaxed);
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
