//! Which nodes there are, how they are watched, and how stale a read may be.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::time::Duration;

use db_core::Endpoint;

use crate::consistency::ReadConsistency;

/// One node: a place where a server of the cluster listens. Which role it plays is found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeConfig {
    /// Where it listens.
    pub endpoint: Endpoint,
    /// The zone it stands in, else that of [`RouterConfig::zones`]; reads prefer nodes of
    /// [`RouterConfig::zone`].
    pub zone: Option<String>,
    /// How many reads it gets, relative to the others, when all are equally fast.
    pub weight: NonZeroU32,
    /// Whether the name leads to one server at a time. It does not where it is a load balancer's, or the
    /// reader name of a managed service; a name that is seen to lead to several is treated alike. Each server
    /// behind it is asked, and each read goes by the server that its connection leads to. A read with a token
    /// does not wait for one of them to catch up, because its connection may lead to another one.
    pub one_server: bool,
    /// Whether it answers reads while it is a standby. It does not where it is kept for backups or reports;
    /// it may become the writer all the same.
    pub reads: bool,
}

impl From<Endpoint> for NodeConfig {
    fn from(endpoint: Endpoint) -> Self {
        NodeConfig { endpoint, zone: None, weight: NonZeroU32::MIN, one_server: true, reads: true }
    }
}

/// Who answers a read that no standby may answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Fallback {
    /// The primary.
    #[default]
    Primary,
    /// Nobody: the caller gets [`NoServer`](db_core::Error::NoServer), and the primary is spared.
    Error,
}

/// What is done about something that an operator may have meant, and may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Policy {
    /// It is gone along with, and said once.
    Follow,
    /// It is refused until an operator has seen to it; errors say so.
    Refuse,
}

/// How nodes are watched, and how stale a read may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouterConfig {
    /// The lag up to which a standby answers ordinary reads.
    pub max_lag: Duration,
    /// What a read sees that does not say how fresh it must be.
    pub consistency: ReadConsistency,
    /// Who answers when no standby may.
    pub fallback: Fallback,
    /// The pause between two probes of one node; at most a quarter of `max_lag`, because a lag is known as of
    /// a probe.
    ///
    /// With `probe_timeout` it bounds how long a node that says nothing goes unnoticed; one that closes its
    /// connections is noticed at once.
    pub probe_interval: Duration,
    /// The least time that a probe is given; a node that does not answer in time counts as down. More is
    /// given as the measured round trip to the node demands, and twice as much to open the probe's own
    /// connection.
    pub probe_timeout: Duration,
    /// The most that a probe is given, however far away the node is.
    pub probe_timeout_max: Duration,
    /// How often the probe's own connection is opened anew: a name, or a load balancer's address, may lead to
    /// another server by now, while the old one still answers.
    pub resolve_interval: Duration,
    /// The pause between two probes when the search for a writer begins; it grows while nobody is found.
    pub search_interval: Duration,
    /// The longest pause between two probes of a standby while a read waits for it to catch up; the first
    /// ones come sooner. However many reads wait, they share the probes.
    pub token_interval: Duration,
    /// Whether a pooler in transaction mode (PgBouncer) stands before each node: probes then run in a
    /// transaction each, at the price of two round trips.
    pub pooled: bool,
    /// How long a caller waits for a writer where there is none.
    ///
    /// Longer than a planned switchover takes, so that it costs no error; shorter than callers' own
    /// deadlines.
    pub writer_wait: Duration,
    /// What is done when another cluster (one with another system identifier) answers where the writer was: a
    /// blue/green deployment, a rebuild, or a mistake. Following it needs its server to be a primary, and no
    /// primary of the old cluster to answer.
    pub new_cluster: Policy,
    /// What is done when a standby was promoted while the old primary still answers as one. Refusing gives
    /// writes to neither, until one of the two is gone: a standby that was cut off may lack what was
    /// acknowledged.
    pub second_primary: Policy,
    /// How many callers may wait for a writer at once; the next one is refused.
    pub max_waiting: usize,
    /// How long a read with a token waits for a standby to catch up, before the primary answers.
    pub token_wait: Duration,
    /// The zone that this process runs in.
    pub zone: Option<String>,
    /// The zones of nodes by `host:port` or `host`, also of those that are learned of later.
    pub zones: BTreeMap<String, String>,
    /// The weights of nodes by `host:port` or `host`, also of those that are learned of later.
    pub weights: BTreeMap<String, NonZeroU32>,
    /// Nodes by `host:port` or `host` whose name leads to several servers: as [`NodeConfig::one_server`]
    /// without it.
    pub balanced: BTreeSet<String>,
    /// Nodes by `host:port` or `host` that answer no reads: as [`NodeConfig::reads`] without it.
    pub without_reads: BTreeSet<String>,
    /// A node of another zone answers when it is this many times less loaded than the best of our own.
    pub zone_bias: NonZeroU32,
    /// How long a node that came back gets fewer reads than its share, growing from a tenth: its caches are
    /// cold.
    pub slow_start: Duration,
    /// When a standby that is up gets no reads for a while.
    pub ejection: EjectionConfig,
}

/// When a standby that answers its probes gets no reads for a while. Never all of them, and never the writer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EjectionConfig {
    /// So many failures in a row to get a connection, or to keep one.
    pub consecutive_failures: u32,
    /// So many times slower than the median of the other standbys, at eight probes in a row.
    pub latency_ratio: NonZeroU32,
    /// Differences below this are no reason.
    pub latency_floor: Duration,
    /// How long the first ejection lasts; the nth in a row lasts n times that, give or take a quarter.
    pub base: Duration,
    /// The longest that one lasts.
    pub max: Duration,
}

impl RouterConfig {
    /// A node with what is said here of its name, as far as it says nothing itself.
    pub(crate) fn completed(&self, node: NodeConfig) -> NodeConfig {
        let weight = if node.weight == NonZeroU32::MIN { named(&self.weights, &node.endpoint) } else { None };
        NodeConfig {
            zone: node.zone.clone().or_else(|| named(&self.zones, &node.endpoint).cloned()),
            weight: weight.copied().unwrap_or(node.weight),
            one_server: node.one_server && !is_named(&self.balanced, &node.endpoint),
            reads: node.reads && !is_named(&self.without_reads, &node.endpoint),
            ..node
        }
    }
}

/// What is said of a node by its host and port, else by its host.
fn named<'m, T>(map: &'m BTreeMap<String, T>, endpoint: &Endpoint) -> Option<&'m T> {
    map.get(&endpoint.to_string()).or_else(|| map.get(endpoint.host()))
}

fn is_named(set: &BTreeSet<String>, endpoint: &Endpoint) -> bool {
    set.contains(&endpoint.to_string()) || set.contains(endpoint.host())
}

impl Default for RouterConfig {
    fn default() -> Self {
        RouterConfig {
            max_lag: Duration::from_secs(10),
            consistency: ReadConsistency::default(),
            fallback: Fallback::default(),
            probe_interval: Duration::from_millis(250),
            probe_timeout: Duration::from_millis(500),
            probe_timeout_max: Duration::from_secs(5),
            resolve_interval: Duration::from_secs(20),
            search_interval: Duration::from_millis(10),
            token_interval: Duration::from_millis(50),
            pooled: false,
            writer_wait: Duration::from_secs(5),
            new_cluster: Policy::Refuse,
            second_primary: Policy::Follow,
            max_waiting: 1_000,
            token_wait: Duration::from_millis(100),
            zone: None,
            zones: BTreeMap::new(),
            weights: BTreeMap::new(),
            balanced: BTreeSet::new(),
            without_reads: BTreeSet::new(),
            zone_bias: NonZeroU32::new(4).unwrap_or(NonZeroU32::MIN),
            slow_start: Duration::from_secs(2),
            ejection: EjectionConfig::default(),
        }
    }
}

impl Default for EjectionConfig {
    fn default() -> Self {
        EjectionConfig {
            consecutive_failures: 5,
            latency_ratio: NonZeroU32::new(4).unwrap_or(NonZeroU32::MIN),
            latency_floor: Duration::from_millis(50),
            base: Duration::from_secs(2),
            max: Duration::from_secs(30),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_stands_in_its_own_zone_else_in_that_of_its_name() {
        let zones =
            [("a", "east"), ("a:6000", "west")].map(|(name, zone)| (name.to_owned(), zone.to_owned()));
        let config = RouterConfig { zones: zones.into(), ..RouterConfig::default() };
        let check = |host, port, own: Option<&str>, expected: Option<&str>| {
            let node = NodeConfig { zone: own.map(str::to_owned), ..Endpoint::new(host, port).into() };
            assert_eq!(config.completed(node).zone.as_deref(), expected, "{host}:{port}");
        };
        check("a", 5432, None, Some("east"));
        check("a", 6000, None, Some("west"));
        check("a", 5432, Some("south"), Some("south"));
        check("b", 5432, None, None);
    }

    #[test]
    fn what_is_said_of_a_name_holds_for_its_node_unless_that_says_otherwise() {
        let three = NonZeroU32::new(3).unwrap();
        let config = RouterConfig {
            weights: [("a".to_owned(), three)].into(),
            balanced: ["b:6000".to_owned()].into(),
            without_reads: ["a".to_owned()].into(),
            ..RouterConfig::default()
        };
        let check = |node: NodeConfig, weight, one_server, reads| {
            let node = config.completed(node);
            assert_eq!(
                (node.weight.get(), node.one_server, node.reads),
                (weight, one_server, reads),
                "{node:?}"
            );
        };
        check(Endpoint::new("a", 5432).into(), 3, true, false);
        check(Endpoint::new("b", 6000).into(), 1, false, true);
        check(Endpoint::new("b", 5432).into(), 1, true, true);
        let two = NonZeroU32::new(2).unwrap();
        check(NodeConfig { weight: two, ..Endpoint::new("a", 5432).into() }, 2, true, false);
    }
}
