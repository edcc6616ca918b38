//! What a load is asked for, and what it says of where its value comes from.

use std::time::Duration;

use crate::position::{Floor, History, Position};
use crate::scope::Scope;
use crate::tag::Tag;

/// Which server may answer a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadFrom {
    /// The primary: a transaction that touches the entry is in doubt, or nobody knows what a standby must
    /// have replayed.
    Primary,
    /// Any server that has replayed up to here.
    Replayed(Floor),
}

/// Where a load read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadAt {
    /// On the primary, in a snapshot taken after the load was asked for. The position is what the primary's
    /// log was at during the load, where it was asked.
    Primary(Option<Position>),
    /// On a standby, in a snapshot taken when it had replayed up to here or further.
    Standby(Position),
    /// In a snapshot that may be older than the load, or nobody knows where: the value is served and not
    /// kept.
    Elsewhere,
}

/// What a load came to.
///
/// ```
/// use db_cache::{Loaded, ReadAt};
///
/// let found = Loaded::new(Some("Ada".to_owned()), ReadAt::Primary(None));
/// assert!(found.value.is_some());
/// ```
#[derive(Debug, Clone)]
pub struct Loaded<V> {
    /// The value; none where there is none, which is remembered for the keyspace's `negative_ttl`.
    pub value: Option<V>,
    /// Where it was read.
    pub read_at: ReadAt,
    /// What it is made from, besides the keyspace's and the key's tags.
    pub tags: Vec<Tag>,
    /// For how long it is fresh, where the load knows better than the policy.
    pub ttl: Option<Duration>,
    /// What it depended on: where that is another scope than the key's, the value is served and not kept.
    pub scope: Option<Scope>,
}

impl<V> Loaded<V> {
    /// A value, or that there is none, and where that was read.
    pub fn new(value: Option<V>, read_at: ReadAt) -> Self {
        Loaded { value, read_at, tags: Vec::new(), ttl: None, scope: None }
    }

    pub(crate) fn is_from_standby(&self) -> bool {
        matches!(self.read_at, ReadAt::Standby(_))
    }
}

impl LoadFrom {
    /// What a load that brings both asks for.
    pub(crate) fn and(self, other: LoadFrom) -> LoadFrom {
        match (self, other) {
            (LoadFrom::Replayed(one), LoadFrom::Replayed(two)) => match one.and(two) {
                Floor::Unknown => LoadFrom::Primary,
                floor @ Floor::At(_) => LoadFrom::Replayed(floor),
            },
            _ => LoadFrom::Primary,
        }
    }

    /// Whether a value that was read there may be kept.
    pub fn accepts(self, read_at: ReadAt) -> bool {
        match (self, read_at) {
            (_, ReadAt::Elsewhere) => false,
            (_, ReadAt::Primary(_)) => true,
            (LoadFrom::Primary, ReadAt::Standby(_)) => false,
            (LoadFrom::Replayed(floor), ReadAt::Standby(replayed)) => floor.is_covered_by(replayed),
        }
    }
}

impl ReadAt {
    /// The history that the value comes from, where it is known.
    pub fn history(self) -> Option<History> {
        match self {
            ReadAt::Primary(position) => position.map(|position| position.history),
            ReadAt::Standby(position) => Some(position.history),
            ReadAt::Elsewhere => None,
        }
    }
}
