//! The tree from a collector's snapshot, which asks nothing more of the server.
//!
//! A snapshot does not say who holds a lock and who only queues, so a session stands below one that waits for
//! nobody if there is one. A prepared transaction is named if it is the only one.

use std::collections::BTreeMap;

use crate::blocking::{BlockedHow, Blocker, BlockingTree, LockOwner, Participant, WaitsFor};
use crate::server::{Backend, LockWait, PreparedTransaction};

impl BlockingTree {
    /// Who waits for whom, by what was read already.
    pub(crate) fn in_snapshot(
        activity: &[Backend],
        waits: &[LockWait],
        prepared: &[PreparedTransaction],
    ) -> Self {
        let owner = |pid: i64| match (i32::try_from(pid).unwrap_or(0), prepared) {
            (0, [only]) => LockOwner::PreparedTransaction(only.gid.clone()),
            (0, several) => LockOwner::PreparedTransaction(format!("one of {}", several.len())),
            (pid, _) => LockOwner::Pid(pid),
        };
        let mut participants: BTreeMap<LockOwner, Participant> = BTreeMap::new();
        for one in activity {
            let blocker = |pid: &i64| Blocker { owner: owner(*pid), how: BlockedHow::Holds };
            let blocked_by: Vec<Blocker> = one.blocked_by.iter().map(blocker).collect();
            for blocker in &blocked_by {
                // A session that is in the way is listed itself; a prepared transaction has none.
                if matches!(blocker.owner, LockOwner::PreparedTransaction(_)) {
                    participants.entry(blocker.owner.clone()).or_default();
                }
            }
            let wait = waits.iter().find(|wait| wait.pid == one.pid);
            let waits_for = (!blocked_by.is_empty()).then(|| WaitsFor {
                mode: wait.map_or_else(|| "unknown".to_owned(), |wait| wait.mode.clone()),
                locktype: wait.map_or_else(|| "unknown".to_owned(), |wait| wait.locktype.clone()),
                relation: wait.and_then(|wait| wait.relation_name.clone()),
                seconds: wait.and_then(|wait| wait.waited),
                since: None,
            });
            let participant = Participant {
                database: one.datname.clone(),
                user: one.usename.clone(),
                application: one.application_name.clone(),
                state: one.state.clone(),
                transaction_seconds: one.xact_age,
                statement: one.query.clone(),
                waits_for,
                blocked_by,
            };
            participants.insert(owner(one.pid), participant);
        }
        BlockingTree::of(&participants)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_names_the_root_and_its_victims() {
        let backend = |pid: i64, blocked_by: &[i64]| Backend {
            pid,
            blocked_by: blocked_by.to_vec(),
            ..Backend::default()
        };
        let tree =
            BlockingTree::in_snapshot(&[backend(1, &[]), backend(2, &[1]), backend(3, &[2, 1])], &[], &[]);
        assert_eq!((tree.roots.len(), tree.roots[0].victims), (1, 2));
        let gone = PreparedTransaction { gid: "gone".to_owned(), ..PreparedTransaction::default() };
        let tree = BlockingTree::in_snapshot(&[backend(2, &[0])], &[], &[gone]);
        assert_eq!(tree.roots[0].owner, LockOwner::PreparedTransaction("gone".to_owned()));
    }
}
