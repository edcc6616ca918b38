//! Chooses which node may answer a read.
//!
//! A standby qualifies when it is alive and its lag is known and small enough. Unknown lag counts as
//! infinite: a reader that cannot be sure reads from the primary.

use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use db_core::{Acquire, Class, Classify, Endpoint, Error, Facts, Opening, Report, Result, Role, Site};

use crate::balance::{Set, choose};
use crate::cluster::Cluster;
use crate::config::Fallback;
use crate::counts::Reason;
use crate::freshness::Freshness;
use crate::node::Node;
use crate::purpose::Purpose;
use crate::routed::{Routed, UnderWay};
use crate::rule::Rule;
use crate::token::Token;

/// So many connections at most are taken to find one to a server that may answer, where a name leads to
/// several.
const TRIES: usize = 4;

/// A place where connections for reads come from; each acquire chooses a node anew.
///
/// Make one for each read, and use it for all attempts at that read: it remembers which standbys are to be
/// avoided after a [conflict](Report::Conflict).
pub struct Reader<'a, A> {
    cluster: &'a Cluster<A>,
    freshness: Freshness,
    waits: bool,
    avoided: AtomicU64,
}

impl<'a, A> Reader<'a, A> {
    pub(crate) fn new(cluster: &'a Cluster<A>, freshness: Freshness) -> Self {
        Reader { cluster, freshness, waits: true, avoided: AtomicU64::new(0) }
    }

    /// Waits for no standby to catch up with a token: where none has, the primary answers at once.
    ///
    /// For a read that few make and many wait for, such as the load of a value that was changed a moment ago.
    pub fn without_waiting(mut self) -> Self {
        self.waits = false;
        self
    }

    fn avoided(&self) -> Set {
        Set::from_bits(AtomicU64::load(&self.avoided, Ordering::Relaxed))
    }

    fn rule(&self, freshness: Freshness) -> Option<Rule> {
        Rule::of(freshness, self.cluster.config.max_lag)
    }

    /// The standbys that may answer now, those in `without` left out.
    fn candidates(&self, rule: &Rule, without: Set) -> Set {
        let nodes = self.cluster.nodes.now();
        let may = |node: &&Arc<Node<A>>| node.is_standby() && !without.contains(node.number);
        let mut standbys = nodes.iter().filter(may).peekable();
        let (mut all, mut in_favour) = (Set::default(), Set::default());
        if standbys.peek().is_none() {
            return all;
        }
        let rule = rule.now();
        for node in standbys {
            if rule.admits(node) {
                all.add(node.number);
                if !node.ejection.is_active() {
                    in_favour.add(node.number);
                }
            }
        }
        // Never all: where every candidate is out of favour, they are used as they are.
        if in_favour.is_empty() { all } else { in_favour }
    }

    /// One of the standbys that may answer now, those in `without` left out.
    fn choose(&self, rule: &Rule, without: Set) -> Option<Arc<Node<A>>> {
        let candidates = self.candidates(rule, without);
        let zone_bias = self.cluster.config.zone_bias.get() as f32;
        choose(&self.cluster.nodes.now(), candidates, zone_bias).cloned()
    }
}

impl<A: Acquire + Send> Reader<'_, A> {
    /// A connection to one of the standbys that may answer; none where no standby may.
    ///
    /// # Errors
    /// Where those that may answer have too much to do: nobody else is asked in their place, because that
    /// would pile their reads on the primary.
    async fn on_standby(
        &self,
        freshness: Freshness,
        reason: Reason,
        site: Site,
    ) -> Result<Option<Routed<A>>> {
        let Some(rule) = self.rule(freshness) else { return Ok(None) };
        let (mut without, mut overloaded) = (self.avoided(), None);
        loop {
            let Some(node) = self.choose(&rule, without) else { return overloaded.map_or(Ok(None), Err) };
            without.add(node.number);
            // A caller that waits for a connection is load, too.
            let under_way = UnderWay::on(Arc::clone(&node));
            match acquire_from(&node, site).await {
                Ok(acquired) => {
                    let conn = match self.fit(&rule, &node, &acquired) {
                        Fit::Fits => Some(acquired.conn),
                        Fit::NotThisNode => None,
                        // Few reads come here, and all would carry the room for it.
                        Fit::AnotherServer => Box::pin(self.search(&rule, &node, acquired.conn, site)).await,
                    };
                    if let Some(conn) = conn {
                        node.vitals.succeeded();
                        node.reads.count(reason);
                        return Ok(Some(Routed::new(conn, under_way, Purpose::Plain)));
                    }
                }
                // The caller has waited for as long as it was willing to.
                Err(error @ Error::PoolTimeout { .. }) => return Err(error),
                Err(error) if is_overload(&error) => overloaded = Some(error),
                Err(error) => {
                    tracing::debug!(endpoint = %node.endpoint(), %error, "trying another node");
                    // A server that has no place for our first connection cannot serve us, and is well.
                    if error.class() != Class::Overloaded {
                        self.failed(&node);
                    }
                }
            }
        }
    }

    /// A connection that lies idle at the node that would be chosen.
    fn idle(&self, site: Site) -> Option<Routed<A>> {
        let cluster = self.cluster;
        if cluster.is_stopped() {
            return None;
        }
        let reasons = self.asks();
        let chosen =
            self.rule(self.freshness).and_then(|rule| Some((rule, self.choose(&rule, self.avoided())?)));
        if let Some((rule, node)) = chosen {
            let acquired = Acquired { conn: node.plain.acquire_now(site)?, waited: false };
            if self.fit(&rule, &node, &acquired) != Fit::Fits {
                return None;
            }
            node.vitals.succeeded();
            node.reads.count(reasons.at_once);
            return Some(Routed::new(acquired.conn, UnderWay::on(node), Purpose::Plain));
        }
        // Where there are standbys, one may be waited for, or the primary may not take their place.
        let is_settled = match self.freshness {
            Freshness::Primary => true,
            Freshness::AtLeast(token) => !cluster.has_standbys() && !cluster.is_outdated_by(&token),
            _ => !cluster.has_standbys(),
        };
        let conn = is_settled.then(|| cluster.on_writer_now(Purpose::ReadOnly, site)).flatten()?;
        conn.node().reads.count(reasons.in_vain);
        self.avoided.store(0, Ordering::Relaxed);
        Some(conn)
    }

    /// Notes what is asked for, and as what the reads are counted that get it.
    fn asks(&self) -> Reasons {
        if let Freshness::Within(lag) = self.freshness {
            self.cluster.demand.ask(lag);
        }
        let (at_once, after_wait, in_vain) = match self.freshness {
            Freshness::Primary => (Reason::Asked, Reason::Asked, Reason::Asked),
            Freshness::AtLeast(_) | Freshness::Since(_) => {
                (Reason::Token, Reason::TokenAfterWait, Reason::TokenFallback)
            }
            _ => (Reason::Fresh, Reason::Fresh, Reason::Fallback),
        };
        Reasons { at_once, after_wait, in_vain }
    }

    /// Whether the node may still answer now that there is a connection, and on this one.
    fn fit(&self, rule: &Rule, node: &Node<A>, acquired: &Acquired<A::Conn>) -> Fit {
        let still = match acquired.waited {
            true => rule.now().admits(node),
            false => rule.still_admits(node),
        };
        if !still {
            return Fit::NotThisNode;
        }
        if self.is_admitted(rule, node, &acquired.conn) {
            // It may be a new one.
            if acquired.waited {
                self.look_at(node, &acquired.conn);
            }
            return Fit::Fits;
        }
        match node.leads_to_several() && !self.cluster.config.pooled {
            true => Fit::AnotherServer,
            false => Fit::NotThisNode,
        }
    }

    /// Another connection, to a server behind the node's name that may answer. Those that lead to others are
    /// kept until then, so that the source gives none of them again.
    async fn search(&self, rule: &Rule, node: &Node<A>, first: A::Conn, site: Site) -> Option<A::Conn> {
        let _place = node.searches.enter().ok()?;
        let mut others = vec![first];
        let searching = async {
            while others.len() < TRIES {
                let conn = node.plain.acquire_at(site).await.ok()?;
                if self.is_admitted(rule, node, &conn) {
                    return Some(conn);
                }
                others.push(conn);
            }
            None
        };
        tokio::time::timeout(self.cluster.config.token_wait, searching).await.ok().flatten()
    }

    /// Whether the server that this connection leads to may answer: the node's name may lead to several, and
    /// what is known of one holds for that one alone.
    fn is_admitted(&self, rule: &Rule, node: &Node<A>, conn: &A::Conn) -> bool {
        let several = node.leads_to_several();
        if !several && !rule.is_about_one_server() {
            return true;
        }
        // A pooler in transaction mode leads each transaction of a connection to a server of its own choice.
        if several && self.cluster.config.pooled {
            return !rule.is_about_one_server();
        }
        let server = node.plain.facts(conn).server.filter(|server| server.started.is_some());
        match server.map(|server| (server, node.told_by(server))) {
            // The node was asked through this very server, and the rule holds of that; else of what it told
            // itself: others behind the name are asked before it is known to lead to several.
            Some((server, Some(told))) => {
                (!several && node.was_asked_of(server)) || rule.now().admits_server(&told)
            }
            Some((_, None)) => {
                node.meet_stranger();
                self.is_admitted_unknown(rule, node)
            }
            None => {
                if rule.is_about_one_server() && !node.nameless.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        endpoint = %node.endpoint(),
                        "connections do not tell which server they lead to: reads with a token go to the primary"
                    );
                }
                self.is_admitted_unknown(rule, node)
            }
        }
    }

    /// Notes where it leads to a server that nobody has asked.
    fn look_at(&self, node: &Node<A>, conn: &A::Conn) {
        let server = node.plain.facts(conn).server.filter(|server| server.started.is_some());
        if server.is_some_and(|server| node.told_by(server).is_none()) {
            node.meet_stranger();
        }
    }

    /// Whether a server of which nothing is known may answer: an ordinary read, as the one that was asked.
    fn is_admitted_unknown(&self, rule: &Rule, node: &Node<A>) -> bool {
        let asked = node.seen.borrow().up();
        !rule.is_about_one_server() && asked.is_some_and(|asked| rule.now().admits_server(&asked))
    }

    fn failed(&self, node: &Node<A>) {
        let limit = self.cluster.config.ejection.consecutive_failures;
        if node.vitals.failed() >= limit && !node.ejection.is_active() {
            node.vitals.succeeded();
            self.cluster.eject(node, "too many failures in a row");
        }
    }

    /// Waits until some standby has replayed the token, but not for long, and not where that is known to be
    /// in vain.
    async fn caught_up(&self, token: Token) -> bool {
        let (cluster, wait) = (self.cluster, self.cluster.config.token_wait);
        let Some(rule) = self.rule(self.freshness) else { return false };
        let may_catch_up = |node: &Arc<Node<A>>| {
            let sighting = node.seen.borrow().up();
            node.catches_up_within(wait) && sighting.is_some_and(|sighting| sighting.is_of(&token))
        };
        let any_may = || cluster.nodes.now().iter().any(may_catch_up);
        if !cluster.may_have_written(&token) || !any_may() {
            return false;
        }
        let Ok(_place) = cluster.for_token.enter() else { return false };
        cluster.awaited.send_modify(|count| *count += 1);
        let is_there = || !self.candidates(&rule, self.avoided()).is_empty();
        let decided = cluster.until(|| is_there() || !any_may());
        tokio::time::timeout(wait, decided).await.is_ok() && is_there()
    }

    /// Waits for the writer that the token comes from, where another one has told its holder of a failover
    /// that we have not seen: the writer that we know has not what was written since.
    async fn succeeded(&self, token: Token) {
        let cluster = self.cluster;
        if !cluster.is_outdated_by(&token) {
            return;
        }
        let Ok(_place) = cluster.for_token.enter() else { return };
        cluster.signals.raise();
        let succeeded = cluster.until(|| !cluster.is_outdated_by(&token));
        let _ = tokio::time::timeout(cluster.config.token_wait, succeeded).await;
    }

    /// The primary in the place of a standby, or what the configuration says.
    async fn fall_back(&self, reason: Reason, site: Site) -> Result<Routed<A>> {
        let cluster = self.cluster;
        if reason != Reason::Asked && cluster.writer().is_none() && self.freshness == Freshness::Default {
            // Nobody knows of anything newer: what a standby has is the best there is.
            if let Some(conn) = self.on_standby(Freshness::Any, Reason::Fresh, site).await? {
                return Ok(conn);
            }
        }
        if reason == Reason::Fallback && cluster.config.fallback == Fallback::Error && cluster.has_standbys()
        {
            let reason =
                "no standby is up and fresh enough, and reads may not fall back to the primary".to_owned();
            return Err(Error::NoServer { role: Role::Standby, reason, waited: Duration::ZERO });
        }
        if let Freshness::AtLeast(token) = self.freshness {
            self.succeeded(token).await;
        }
        let conn = cluster.on_writer(Purpose::ReadOnly, site).await?;
        conn.node().reads.count(reason);
        // All standbys were tried: the next round starts anew.
        self.avoided.store(0, Ordering::Relaxed);
        Ok(conn)
    }
}

impl<'a, A: Acquire + Send> Acquire for Reader<'a, A> {
    type Conn = Routed<A>;

    async fn acquire_at(&self, site: Site) -> Result<Routed<A>> {
        self.cluster.check_running()?;
        let Reasons { at_once, after_wait, in_vain } = self.asks();
        // No rule admits a standby to a read that asks for the primary.
        if let Some(conn) = self.on_standby(self.freshness, at_once, site).await? {
            return Ok(conn);
        }
        if let Freshness::AtLeast(token) = self.freshness
            && self.waits
            && self.caught_up(token).await
            && let Some(conn) = self.on_standby(self.freshness, after_wait, site).await?
        {
            return Ok(conn);
        }
        self.fall_back(in_vain, site).await
    }

    fn acquire_now(&self, site: Site) -> Option<Routed<A>> {
        self.idle(site)
    }

    /// A reader leads to whichever node it chooses.
    fn endpoint(&self) -> Option<&Endpoint> {
        None
    }

    fn facts(&self, conn: &Routed<A>) -> Facts {
        conn.facts(self.cluster)
    }

    fn report(&self, conn: &mut Routed<A>, what: Report) {
        conn.report(self.cluster, what);
        let node = conn.node();
        match what {
            // The next attempt goes to another node: this one's pool may be full of connections that are just
            // as dead.
            Report::ServerGone => {
                // Writes do not wait for what a read ran into: the alarm alone finds out whether the primary
                // is gone.
                if node.seen.borrow().primary().is_none() {
                    self.failed(node);
                    node.suspect();
                }
                self.cluster.signals.raise();
            }
            // The next attempt goes to another standby, and after the last one to the primary.
            Report::Conflict => {
                self.avoided.fetch_or(1 << node.number, Ordering::Relaxed);
            }
            // A read has no COMMIT that matters.
            Report::CommitUnanswered => {}
        }
    }

    fn begin_with(&self, conn: &mut Routed<A>, opening: &Opening) -> bool {
        conn.begin_with(self.cluster, opening)
    }

    #[expect(refining_impl_trait_reachable, reason = "a stream watches its server from a task of its own")]
    fn server_down(&self, conn: &Routed<A>) -> impl Future<Output = ()> + Send + use<A> {
        let node = Arc::clone(conn.node());
        async move { node.went_down().await }
    }
}

/// A connection, and whether it had to be waited for.
struct Acquired<C> {
    conn: C,
    waited: bool,
}

/// As what a read is counted: that got a standby at once, after a wait for one, and in vain.
#[derive(Debug, Clone, Copy)]
struct Reasons {
    at_once: Reason,
    after_wait: Reason,
    in_vain: Reason,
}

/// Whether a read may use a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fit {
    Fits,
    /// Another one to this node may do: its name leads to several servers, and not all of them may answer.
    AnotherServer,
    NotThisNode,
}

/// Whether there is too much to do for the connections that the pool has, or the service is about to end: no
/// failure of the node, and nothing for another role to take over.
fn is_overload(error: &Error) -> bool {
    let no_connection = matches!(error, Error::Connect(_) | Error::TooManyConnections(_));
    (error.class() == Class::Overloaded && !no_connection) || matches!(error, Error::PoolClosed { .. })
}

/// A connection of the node's own source, unless the node goes while it is waited for.
async fn acquire_from<A: Acquire>(node: &Node<A>, site: Site) -> Result<Acquired<A::Conn>> {
    let mut acquiring = pin!(node.plain.acquire_at(site));
    // Most often there is one at once, and nothing has to be set up to hear of the node.
    if let Poll::Ready(acquired) = poll_fn(|context| Poll::Ready(acquiring.as_mut().poll(context))).await {
        return acquired.map(|conn| Acquired { conn, waited: false });
    }
    tokio::select! {
        biased;
        acquired = acquiring => acquired.map(|conn| Acquired { conn, waited: true }),
        () = node.left() => Err(Error::ConnectionLost { reason: "the node went down".to_owned() }),
    }
}

impl<A> fmt::Debug for Reader<'_, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Reader").field(self.cluster).field(&self.freshness).finish()
    }
}
