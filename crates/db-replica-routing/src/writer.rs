//! Where connections for writes come from: whichever node is the writer, and where there is none, a wait for
//! one.
//!
//! Only work that has not begun waits here: a transaction that was under way failed with its connection. So a
//! planned switchover costs time and no error.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use db_core::{Acquire, Class, Classify, Endpoint, Error, Facts, Opening, Report, Result, Role, Site};

use crate::cluster::{Cluster, Leader};
use crate::node::Node;
use crate::purpose::Purpose;
use crate::routed::{Routed, UnderWay};

/// A place where connections for writes come from; each acquire goes to the node that takes writes then.
pub struct Writer<'a, A> {
    cluster: &'a Cluster<A>,
}

impl<A> Clone for Writer<'_, A> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<A> Copy for Writer<'_, A> {}

impl<'a, A> Writer<'a, A> {
    pub(crate) fn new(cluster: &'a Cluster<A>) -> Self {
        Writer { cluster }
    }
}

impl<'a, A: Acquire + Send> Acquire for Writer<'a, A> {
    type Conn = Routed<A>;

    /// # Errors
    /// [`Error::NoServer`] where there was no writer for as long as
    /// [`writer_wait`](crate::RouterConfig::writer_wait), or two claim to be it; [`Error::QueueFull`] where
    /// too many wait already.
    async fn acquire_at(&self, site: Site) -> Result<Routed<A>> {
        self.cluster.check_running()?;
        self.cluster.on_writer(Purpose::Plain, site).await
    }

    fn acquire_now(&self, site: Site) -> Option<Routed<A>> {
        self.cluster.on_writer_now(Purpose::Plain, site)
    }

    /// A writer leads to whichever node takes writes.
    fn endpoint(&self) -> Option<&Endpoint> {
        None
    }

    fn facts(&self, conn: &Routed<A>) -> Facts {
        conn.facts(self.cluster)
    }

    fn report(&self, conn: &mut Routed<A>, what: Report) {
        conn.report(self.cluster, what);
        // Work that was to write failed: until the node has been asked, nobody gets a connection to it.
        if what != Report::Conflict {
            conn.node().vitals.doubt(Instant::now());
            self.cluster.signals.raise();
        }
    }

    fn begin_with(&self, conn: &mut Routed<A>, opening: &Opening) -> bool {
        conn.begin_with(self.cluster, opening)
    }

    fn server_down(&self, conn: &Routed<A>) -> impl Future<Output = ()> + Send + use<'a, A> {
        let (node, mut leader) = (Arc::clone(conn.node()), self.cluster.leader.subscribe());
        async move {
            let number = node.number;
            let other =
                leader.wait_for(|leader| matches!(leader, Leader::Node(node) if node.number != number));
            tokio::select! {
                () = node.went_down() => {}
                Ok(_) = other => {}
            }
        }
    }
}

impl<A: Acquire + Send> Cluster<A> {
    /// A connection to the writer that lies idle; none where anything has to be waited for.
    pub(crate) fn on_writer_now(&self, purpose: Purpose, site: Site) -> Option<Routed<A>> {
        if self.is_stopped() {
            return None;
        }
        let node = self.trusted_writer()?;
        let conn = self.source(&node, purpose).acquire_now(site)?;
        Some(Routed::new(conn, UnderWay::on(node), purpose))
    }

    /// Takes a connection to the writer; waits while there is none.
    pub(crate) async fn on_writer(&self, purpose: Purpose, site: Site) -> Result<Routed<A>> {
        let mut search = None;
        loop {
            self.check_running()?;
            let Some(node) = self.trusted_writer() else {
                search.get_or_insert_with(Instant::now);
                self.await_writer(&mut search).await?;
                continue;
            };
            let source = self.source(&node, purpose);
            let acquired = tokio::select! {
                biased;
                acquired = source.acquire_at(site) => acquired,
                () = self.lost(&node) => continue,
            };
            match acquired {
                // It was handed over before it was known that another node takes the writes.
                Ok(_) if !self.is_led_by(&node) => {}
                Ok(conn) => return Ok(Routed::new(conn, UnderWay::on(node), purpose)),
                Err(error) if error.class() == Class::Unavailable => {
                    tracing::debug!(endpoint = %node.endpoint(), %error, "no connection to the writer");
                    let started = *search.get_or_insert_with(Instant::now);
                    if started.elapsed() >= self.config.writer_wait {
                        return Err(error);
                    }
                    node.vitals.doubt(Instant::now());
                    self.signals.raise();
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The writer, unless it must be asked first whether it still is.
    fn trusted_writer(&self) -> Option<Arc<Node<A>>> {
        self.writer().filter(|node| !node.vitals.is_doubted())
    }

    async fn await_writer(&self, search: &mut Option<Instant>) -> Result<()> {
        let started = *search.get_or_insert_with(Instant::now);
        let _place = self.for_writer.enter().map_err(|waiting| match self.nodes.now().iter().next() {
            Some(node) => Error::QueueFull {
                endpoint: node.endpoint().clone(),
                waiting,
                limit: self.for_writer.limit(),
            },
            None => self.no_writer(started.elapsed()),
        })?;
        let is_conflict = || matches!(&*self.leader.borrow(), Leader::Conflict(_));
        let found = self.until(|| self.trusted_writer().is_some() || is_conflict());
        let left = self.config.writer_wait.saturating_sub(started.elapsed());
        let waited = tokio::time::timeout(left, found).await;
        self.check_running()?;
        match waited {
            Ok(()) if !is_conflict() => Ok(()),
            Ok(()) | Err(_) => Err(self.no_writer(started.elapsed())),
        }
    }

    fn no_writer(&self, waited: Duration) -> Error {
        Error::NoServer { role: Role::Primary, reason: self.why_nobody(), waited }
    }

    fn is_led_by(&self, node: &Node<A>) -> bool {
        matches!(&*self.leader.borrow(), Leader::Node(leader) if leader.number == node.number)
    }

    /// Waits until the node is no longer the writer.
    async fn lost(&self, node: &Node<A>) {
        let mut leader = self.leader.subscribe();
        let number = node.number;
        let other = leader.wait_for(|leader| !matches!(leader, Leader::Node(node) if node.number == number));
        if other.await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl<A> fmt::Debug for Writer<'_, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Writer").field(self.cluster).finish()
    }
}
