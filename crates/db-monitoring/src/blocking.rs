//! Who waits for whose lock: a tree with the sessions that block others and wait for nobody at its roots.
//!
//! A session is blocked by those that hold a conflicting lock, and by those that queue ahead of it for one (a
//! soft block). It stands in the tree below one that holds, if there is one, and names all others. A prepared
//! transaction has no session: it stands there by its name. A circle, which the deadlock check will break, is
//! cut at the session that waits longest.

mod read;
mod snapshot;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::shown;

pub(crate) use read::BlockingRead;

/// Who a lock belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LockOwner {
    /// A session, by its process number.
    Pid(i32),
    /// A prepared transaction, by its name.
    PreparedTransaction(String),
}

/// Why one waits for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BlockedHow {
    /// The other one holds a lock that conflicts.
    Holds,
    /// The other one waits ahead in the queue for a lock that conflicts.
    Queues,
}

/// One that is in the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Blocker {
    /// Who.
    #[serde(flatten)]
    pub owner: LockOwner,
    /// Whether it holds the lock or queues ahead for it.
    pub how: BlockedHow,
}

/// The lock that a session waits for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WaitsFor {
    /// The mode, such as `AccessExclusiveLock`.
    pub mode: String,
    /// What kind of object: `relation`, `transactionid`, `tuple`, `advisory` …
    pub locktype: String,
    /// The table or index, qualified; its number where it lies in another database.
    pub relation: Option<String>,
    /// For how many seconds it has waited; none right at the beginning.
    pub seconds: Option<f64>,
    /// When it began to wait, in the server's time.
    pub since: Option<String>,
}

/// One session or prepared transaction, with those that wait for it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BlockingNode {
    /// Who.
    #[serde(flatten)]
    pub owner: LockOwner,
    /// Its database.
    pub database: Option<String>,
    /// Its role.
    pub user: Option<String>,
    /// What it calls itself.
    pub application: Option<String>,
    /// `active`, `idle in transaction` …
    pub state: Option<String>,
    /// For how many seconds its transaction has been open.
    pub transaction_seconds: Option<f64>,
    /// Its statement in the normal form: no constants.
    pub statement: Option<String>,
    /// What it waits for; none for a root.
    pub waits_for: Option<WaitsFor>,
    /// All that are in its way.
    pub blocked_by: Vec<Blocker>,
    /// How many sessions wait for it, directly or behind others.
    pub victims: usize,
    /// Whether the tree was cut here because the waits run in a circle.
    pub deadlock: bool,
    /// Those that wait for it.
    pub blocks: Vec<BlockingNode>,
}

/// All waits for locks of a server.
///
/// ```
/// let tree = db_monitoring::BlockingTree::default();
/// assert_eq!(tree.to_string(), "nobody waits for a lock");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct BlockingTree {
    /// Those who block others and wait for nobody, the one with the most victims first.
    pub roots: Vec<BlockingNode>,
}

/// One session as it was seen, before it has a place in the tree.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Participant {
    pub(crate) database: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) application: Option<String>,
    pub(crate) state: Option<String>,
    pub(crate) transaction_seconds: Option<f64>,
    pub(crate) statement: Option<String>,
    pub(crate) waits_for: Option<WaitsFor>,
    pub(crate) blocked_by: Vec<Blocker>,
}

impl BlockingTree {
    /// Puts every participant in its place.
    pub(crate) fn of(participants: &BTreeMap<LockOwner, Participant>) -> Self {
        let waiting = |owner: &LockOwner| participants.get(owner).is_some_and(|one| one.waits_for.is_some());
        let mut children: BTreeMap<&LockOwner, Vec<&LockOwner>> = BTreeMap::new();
        let mut placed: BTreeSet<&LockOwner> = BTreeSet::new();
        for (owner, one) in participants {
            let known = one.blocked_by.iter().filter(|blocker| participants.contains_key(&blocker.owner));
            // One that holds comes before one that queues, and of those one that itself waits for nobody.
            let parent = known.min_by_key(|blocker| (blocker.how, waiting(&blocker.owner)));
            if let Some(parent) = parent {
                children.entry(&parent.owner).or_default().push(owner);
                placed.insert(owner);
            }
        }
        let mut done = BTreeSet::new();
        let free =
            participants.keys().filter(|owner| !placed.contains(*owner) && children.contains_key(*owner));
        let mut roots: Vec<_> =
            free.map(|owner| node(owner, false, participants, &children, &mut done)).collect();
        // What is left runs in circles.
        let waited = |owner: &LockOwner| {
            participants.get(owner).and_then(|one| one.waits_for.as_ref()?.seconds).unwrap_or(0.0)
        };
        let mut left: Vec<&LockOwner> = placed.into_iter().filter(|owner| !done.contains(*owner)).collect();
        left.sort_by(|a, b| waited(b).total_cmp(&waited(a)).then(a.cmp(b)));
        for owner in left {
            if !done.contains(owner) {
                roots.push(node(owner, true, participants, &children, &mut done));
            }
        }
        roots.sort_by(|a, b| b.victims.cmp(&a.victims).then(a.owner.cmp(&b.owner)));
        BlockingTree { roots }
    }

    /// How many sessions wait.
    pub fn waiting(&self) -> usize {
        self.roots.iter().map(|root| root.victims + usize::from(root.deadlock)).sum()
    }
}

fn node<'a>(
    owner: &'a LockOwner,
    deadlock: bool,
    participants: &BTreeMap<LockOwner, Participant>,
    children: &BTreeMap<&'a LockOwner, Vec<&'a LockOwner>>,
    done: &mut BTreeSet<&'a LockOwner>,
) -> BlockingNode {
    // Chains are as long as the server has sessions, so the recursion is bounded by max_connections.
    done.insert(owner);
    let mut blocks = Vec::new();
    for child in children.get(owner).into_iter().flatten() {
        if !done.contains(*child) {
            blocks.push(node(child, false, participants, children, done));
        }
    }
    let one = participants.get(owner).cloned().unwrap_or_default();
    let longest = |node: &BlockingNode| node.waits_for.as_ref().and_then(|wait| wait.seconds).unwrap_or(0.0);
    blocks.sort_by(|a, b| longest(b).total_cmp(&longest(a)).then(a.owner.cmp(&b.owner)));
    BlockingNode {
        owner: owner.clone(),
        database: one.database,
        user: one.user,
        application: one.application,
        state: one.state,
        transaction_seconds: one.transaction_seconds,
        statement: one.statement,
        waits_for: one.waits_for,
        blocked_by: one.blocked_by,
        victims: blocks.iter().map(|child| child.victims + 1).sum(),
        deadlock,
        blocks,
    }
}

impl BlockingNode {
    /// The longest wait of those below it, in seconds.
    pub fn longest_wait(&self) -> f64 {
        let below = |node: &BlockingNode| {
            let own = node.waits_for.as_ref().and_then(|wait| wait.seconds).unwrap_or(0.0);
            own.max(node.longest_wait())
        };
        self.blocks.iter().map(below).fold(0.0, f64::max)
    }

    fn lines(&self, depth: usize, to: &mut Vec<String>) {
        let mut line = format!("{}{}", "  ".repeat(depth), self.owner);
        let words = [&self.user, &self.database, &self.application, &self.state];
        for word in words.into_iter().flatten().filter(|word| !word.is_empty()) {
            line.push_str(&format!("  {}", shown(word)));
        }
        if let Some(wait) = &self.waits_for {
            let waited = wait.seconds.map_or(String::new(), |seconds| format!(" for {seconds:.1} s"));
            let on = wait.relation.as_deref().unwrap_or(&wait.locktype);
            line.push_str(&format!("  waits{waited} for {} on {}", wait.mode, shown(on)));
        }
        let others: Vec<String> = self.blocked_by.iter().map(ToString::to_string).collect();
        if others.len() > 1 {
            line.push_str(&format!("  behind {}", others.join(", ")));
        }
        if self.deadlock {
            line.push_str("  (in a circle: the server will break it)");
        }
        if self.victims > 0 && depth == 0 {
            let longest = self.longest_wait();
            line.push_str(&format!("  blocks {} for up to {longest:.1} s", self.victims));
        }
        to.push(line);
        if let Some(statement) = &self.statement {
            to.push(format!("{}  | {}", "  ".repeat(depth), shown(statement)));
        }
        for child in &self.blocks {
            child.lines(depth + 1, to);
        }
    }
}

impl std::fmt::Display for LockOwner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LockOwner::Pid(pid) => write!(f, "{pid}"),
            LockOwner::PreparedTransaction(name) => write!(f, "prepared {:?}", name),
        }
    }
}

impl std::fmt::Display for Blocker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.how {
            BlockedHow::Holds => write!(f, "{}", self.owner),
            BlockedHow::Queues => write!(f, "{} (queues)", self.owner),
        }
    }
}

impl std::fmt::Display for BlockingTree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut lines = Vec::new();
        for root in &self.roots {
            root.lines(0, &mut lines);
        }
        if lines.is_empty() { f.write_str("nobody waits for a lock") } else { f.write_str(&lines.join("\n")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiter(blockers: &[(i32, BlockedHow)], seconds: f64) -> Participant {
        let blocker = |(pid, how): &(i32, BlockedHow)| Blocker { owner: LockOwner::Pid(*pid), how: *how };
        let waits_for = WaitsFor {
            mode: "ShareLock".to_owned(),
            locktype: "transactionid".to_owned(),
            relation: None,
            seconds: Some(seconds),
            since: None,
        };
        Participant {
            waits_for: Some(waits_for),
            blocked_by: blockers.iter().map(blocker).collect(),
            ..Participant::default()
        }
    }

    fn tree(all: &[(i32, Participant)]) -> BlockingTree {
        BlockingTree::of(&all.iter().map(|(pid, one)| (LockOwner::Pid(*pid), one.clone())).collect())
    }

    fn shape(nodes: &[BlockingNode]) -> String {
        let one = |node: &BlockingNode| match node.blocks.as_slice() {
            [] => node.owner.to_string(),
            blocks => format!("{}({})", node.owner, shape(blocks)),
        };
        nodes.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    fn check(all: &[(i32, Participant)], expected: &str) {
        let tree = tree(all);
        assert_eq!(shape(&tree.roots), expected);
    }

    #[test]
    fn one_that_holds_stands_above_one_that_queues() {
        use BlockedHow::{Holds, Queues};
        let idle = Participant::default();
        check(&[(1, idle.clone()), (2, waiter(&[(1, Holds)], 2.0))], "1(2)");
        let queue = [
            (1, idle.clone()),
            (2, waiter(&[(1, Holds)], 3.0)),
            (3, waiter(&[(2, Queues), (1, Holds)], 2.0)),
            (4, waiter(&[(2, Queues)], 1.0)),
        ];
        check(&queue, "1(2(4) 3)");
    }

    #[test]
    fn those_who_block_nobody_are_not_in_the_tree() {
        check(&[(1, Participant::default())], "");
    }

    #[test]
    fn a_circle_is_cut_at_the_longest_wait() {
        let circle =
            [(1, waiter(&[(2, BlockedHow::Holds)], 1.0)), (2, waiter(&[(1, BlockedHow::Holds)], 2.0))];
        check(&circle, "2(1)");
        let tree = tree(&circle);
        assert!(tree.roots[0].deadlock);
        assert_eq!(tree.waiting(), 2);
    }

    #[test]
    fn a_blocker_that_is_gone_already_leaves_no_trace() {
        check(&[(2, waiter(&[(1, BlockedHow::Holds)], 1.0))], "");
    }
}
