//! Locks by type and mode, and who waits for whom.

use std::collections::BTreeMap;

use super::connections::{session, waits_for};
use super::{count, known, some_seconds};
use crate::panel::{Column, Item, Node, Panel, Table, Tree, Value};
use crate::server::{Backend, Snapshot};
use crate::{BlockingNode, BlockingTree, LockOwner};

/// A chain of waits is shown to this depth.
const DEEPEST: usize = 32;

/// Locks by type and mode, and which of them are waited for.
pub(crate) fn locks(snapshot: &Snapshot) -> Panel {
    let panel = Panel::new("locks", "Locks by type and mode");
    let (locks, panel) = match known(&snapshot.locks, panel) {
        Ok(known) => known,
        Err(panel) => return panel,
    };
    let mut kinds = BTreeMap::<(&str, &str), (i64, i64)>::new();
    for lock in locks {
        let of = kinds.entry((&lock.locktype, &lock.mode)).or_default();
        if lock.granted { of.0 += lock.count } else { of.1 += lock.count }
    }
    let (held, awaited) = kinds.values().fold((0, 0), |(h, a), kind| (h + kind.0, a + kind.1));
    let mut kinds: Vec<_> = kinds.into_iter().collect();
    kinds.sort_by_key(|(_, (held, awaited))| std::cmp::Reverse((*awaited, *held)));
    let columns = [
        Column::new("type", "Type"),
        Column::new("mode", "Mode"),
        Column::new("held", "Held"),
        Column::new("awaited", "Waited for"),
    ];
    let table = kinds.iter().fold(
        Table::new("kinds", columns).when_empty("Nobody holds a lock."),
        |table, ((kind, mode), (held, awaited))| {
            table.row([Value::text(*kind), Value::text(*mode), count(*held), count(*awaited)])
        },
    );
    panel.figure("held", "Held", count(held)).figure("awaited", "Waited for", count(awaited)).table(table)
}

/// Who waits for whom, as a tree: at its roots those who hold what others want, and wait for nobody.
pub(crate) fn blocking(snapshot: &Snapshot) -> Panel {
    let panel = Panel::new("blocking", "Who waits for whom")
        .note("At the top who holds what others want. What is below goes on when that ends.");
    let (backends, panel) = match known(&snapshot.activity, panel) {
        Ok(known) => known,
        Err(panel) => return panel,
    };
    let waits = snapshot.lock_waits.get().map_or(&[][..], Vec::as_slice);
    let prepared = snapshot.prepared.get().map_or(&[][..], Vec::as_slice);
    let forest = BlockingTree::in_snapshot(backends, waits, prepared);
    let by_pid: Backends<'_> = backends.iter().map(|backend| (backend.pid, backend)).collect();
    let longest = forest.roots.iter().map(BlockingNode::longest_wait).reduce(f64::max);
    let roots = forest.roots.iter().map(|root| node(root, &by_pid, DEEPEST)).collect();
    let tree = Tree::of("tree", roots, "Nobody waits for a lock.");
    panel
        .figure("blocked", "Waiting sessions", Value::Count(forest.waiting() as u64))
        .figure("longest_seconds", "Longest wait", some_seconds(longest))
        .item(Item::Tree(tree))
}

/// What was read of each session besides, by its process number.
type Backends<'a> = BTreeMap<i64, &'a Backend>;

/// One session with so many levels of those that wait for it.
fn node(of: &BlockingNode, backends: &Backends<'_>, levels: usize) -> Node {
    let backend = match of.owner {
        LockOwner::Pid(pid) => backends.get(&i64::from(pid)).copied(),
        LockOwner::PreparedTransaction(_) => None,
    };
    let mut node = Node::default();
    let mut fact = |key: &str, words: &str, value: Value| {
        if value != Value::Missing {
            node.facts.push((key.to_owned(), words.to_owned(), value));
        }
    };
    match of.owner {
        LockOwner::Pid(pid) => fact("pid", "session", Value::text(pid.to_string())),
        LockOwner::PreparedTransaction(_) => fact("pid", "", Value::text(of.owner.to_string())),
    }
    let application = of.application.clone().filter(|name| !name.is_empty());
    fact("application", "", Value::some_text(application));
    fact("role", "as", Value::some_text(of.user.clone()));
    fact("state", "", Value::some_text(of.state.clone()));
    fact("waits_for", "", Value::some_text(backend.and_then(waits_for)));
    fact("transaction_seconds", "transaction", some_seconds(of.transaction_seconds));
    if let Some(wait) = &of.waits_for {
        fact("waited_seconds", "waits", some_seconds(wait.seconds));
        fact("mode", "wants", Value::text(&*wait.mode));
        fact("relation", "on", Value::some_text(wait.relation.clone()));
    }
    if of.victims > 0 {
        fact("blocks", "blocks", Value::Count(of.victims as u64));
    }
    if of.blocked_by.len() > 1 {
        let all: Vec<String> = of.blocked_by.iter().map(ToString::to_string).collect();
        fact("behind", "behind", Value::text(all.join(", ")));
    }
    if of.deadlock {
        fact("circle", "", Value::text("in a circle: the server will break it"));
    }
    if let Some(statement) = of.statement.clone() {
        fact("statement", "", Value::Code(statement));
    }
    node.session = backend.and_then(session);
    if let Some(levels) = levels.checked_sub(1) {
        node.below = of.blocks.iter().map(|below| self::node(below, backends, levels)).collect();
    }
    node
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::Section;
    use std::time::SystemTime;

    fn snapshot(waits: &[(i64, &[i64])]) -> Snapshot {
        let backends = waits
            .iter()
            .map(|(pid, blocked_by)| {
                let mut backend = Backend::default();
                (backend.pid, backend.blocked_by) = (*pid, blocked_by.to_vec());
                backend
            })
            .collect();
        Snapshot { activity: Section::read(SystemTime::now(), backends), ..Snapshot::default() }
    }

    /// The tree as `pid(below …)`.
    fn shape(node: &serde_json::Value) -> String {
        let below = node["below"].as_array().unwrap().iter().map(shape).collect::<Vec<_>>().join(" ");
        let pid = node["pid"].as_str().unwrap();
        if below.is_empty() { pid.to_owned() } else { format!("{pid}({below})") }
    }

    fn check(waits: &[(i64, &[i64])], expected: &str) {
        let json = blocking(&snapshot(waits)).to_json();
        let roots = json["trees"]["tree"].as_array().unwrap().iter().map(shape).collect::<Vec<_>>();
        assert_eq!(roots.join(" "), expected);
    }

    #[test]
    fn the_page_shows_the_tree_that_everybody_else_shows() {
        check(&[(1, &[])], "");
        check(&[(1, &[]), (2, &[1]), (3, &[2]), (4, &[2])], "1(2(3 4))");
        check(&[(1, &[]), (2, &[1]), (3, &[1, 1]), (8, &[]), (9, &[8])], "1(2 3) 8(9)");
        check(&[(2, &[0])], "prepared \"one of 0\"(2)");
        check(&[(1, &[2]), (2, &[1])], "1(2)");
    }
}
