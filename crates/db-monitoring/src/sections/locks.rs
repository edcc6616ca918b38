//! Locks by type and mode, and who waits for whom.

use std::collections::{BTreeMap, BTreeSet};

use super::connections::{session, waits_for};
use super::{count, known, some_seconds};
use crate::panel::{Column, Item, Node, Panel, Table, Tree, Value};
use crate::server::{Backend, LockWait, Snapshot};

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
    let forest = Forest::of(backends, waits);
    let roots = forest.roots();
    let (blocked, longest) = (forest.blocked.len() as u64, forest.longest_wait());
    let tree = Tree {
        key: "tree".to_owned(),
        roots: roots.iter().map(|root| forest.node(*root, &mut Vec::new())).collect(),
        when_empty: "Nobody waits for a lock.".to_owned(),
    };
    panel
        .figure("blocked", "Waiting sessions", Value::Count(blocked))
        .figure("longest_seconds", "Longest wait", some_seconds(longest))
        .item(Item::Tree(tree))
}

struct Forest<'a> {
    backends: BTreeMap<i64, &'a Backend>,
    waits: BTreeMap<i64, &'a LockWait>,
    /// Those who wait, by who is in their way.
    below: BTreeMap<i64, Vec<i64>>,
    blocked: BTreeSet<i64>,
}

impl<'a> Forest<'a> {
    fn of(backends: &'a [Backend], waits: &'a [LockWait]) -> Self {
        let mut below = BTreeMap::<i64, Vec<i64>>::new();
        let mut blocked = BTreeSet::new();
        for backend in backends.iter().filter(|backend| !backend.blocked_by.is_empty()) {
            blocked.insert(backend.pid);
            // A parallel worker's leader may be named more than once.
            for blocker in backend.blocked_by.iter().copied().collect::<BTreeSet<i64>>() {
                below.entry(blocker).or_default().push(backend.pid);
            }
        }
        Forest {
            backends: backends.iter().map(|backend| (backend.pid, backend)).collect(),
            waits: waits.iter().map(|wait| (wait.pid, wait)).collect(),
            below,
            blocked,
        }
    }

    /// Who blocks and is not blocked; in a deadlock, which the server ends soon, each of its circle.
    fn roots(&self) -> Vec<i64> {
        let mut roots: Vec<i64> =
            self.below.keys().copied().filter(|pid| !self.blocked.contains(pid)).collect();
        if roots.is_empty() {
            roots.extend(self.blocked.iter().copied());
        }
        roots.sort_by_key(|root| std::cmp::Reverse(self.under(*root, &mut BTreeSet::new())));
        roots
    }

    fn under(&self, pid: i64, seen: &mut BTreeSet<i64>) -> usize {
        let below = self.below.get(&pid).into_iter().flatten();
        let new: Vec<i64> = below.copied().filter(|pid| seen.insert(*pid)).collect();
        new.len() + new.into_iter().map(|pid| self.under(pid, seen)).sum::<usize>()
    }

    fn longest_wait(&self) -> Option<f64> {
        self.blocked.iter().filter_map(|pid| self.waited(*pid)).reduce(f64::max)
    }

    fn waited(&self, pid: i64) -> Option<f64> {
        let by_lock = self.waits.get(&pid).and_then(|wait| wait.waited);
        by_lock.or_else(|| self.backends.get(&pid).and_then(|backend| backend.state_age))
    }

    fn node(&self, pid: i64, path: &mut Vec<i64>) -> Node {
        let mut node = Node::default();
        let mut fact = |key: &str, words: &str, value: Value| {
            if value != Value::Missing {
                node.facts.push((key.to_owned(), words.to_owned(), value));
            }
        };
        if pid == 0 {
            fact("pid", "", Value::text("a prepared transaction"));
        } else {
            fact("pid", "session", Value::text(pid.to_string()));
        }
        if let Some(backend) = self.backends.get(&pid) {
            fact(
                "application",
                "",
                Value::some_text(backend.application_name.clone().filter(|name| !name.is_empty())),
            );
            fact("role", "as", Value::some_text(backend.usename.clone()));
            fact("state", "", Value::some_text(backend.state.clone()));
            fact("waits_for", "", Value::some_text(waits_for(backend)));
            fact("transaction_seconds", "transaction", some_seconds(backend.xact_age));
        }
        if self.blocked.contains(&pid) {
            fact("waited_seconds", "waits", some_seconds(self.waited(pid)));
        }
        if let Some(wait) = self.waits.get(&pid) {
            fact("mode", "wants", Value::text(&*wait.mode));
            fact("relation", "on", Value::some_text(wait.relation_name.clone()));
        }
        let below: Vec<i64> = self.below.get(&pid).into_iter().flatten().copied().collect();
        if !below.is_empty() {
            let all = self.under(pid, &mut BTreeSet::new()) as u64;
            fact("blocks", "blocks", Value::Count(all));
        }
        if let Some(query) = self.backends.get(&pid).and_then(|backend| backend.query.clone()) {
            fact("statement", "", Value::Code(query));
        }
        node.session = self.backends.get(&pid).and_then(|backend| session(backend));
        if path.len() < DEEPEST && !path.contains(&pid) {
            path.push(pid);
            node.below = below.into_iter().map(|pid| self.node(pid, path)).collect();
            path.pop();
        }
        node
    }
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
    fn who_waits_hangs_below_who_is_in_the_way() {
        check(&[(1, &[])], "");
        check(&[(1, &[]), (2, &[1]), (3, &[2]), (4, &[2])], "1(2(3 4))");
        check(&[(2, &[1]), (3, &[1, 1]), (9, &[8])], "1(2 3) 8(9)");
        check(&[(2, &[0])], "a prepared transaction(2)");
        // In a circle each is shown, and none without end.
        check(&[(1, &[2]), (2, &[1])], "1(2(1)) 2(1(2))");
    }
}
