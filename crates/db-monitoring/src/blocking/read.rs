//! Reads who waits for whom. `pg_blocking_pids` stops the lock manager for a moment, so only waiters are
//! asked about.

use std::collections::BTreeMap;

use db_core::TraceLink;
use serde::Deserialize;

use crate::asker::{Answer, Asker, Missing, Question};
use crate::blocking::{BlockedHow, Blocker, BlockingTree, LockOwner, Participant, WaitsFor};

/// The sessions that wait for a lock, and those that are in their way.
pub(crate) const SESSIONS: Question = Question {
    from: &[("a", "pg_stat_activity")],
    sql: "WITH waiting AS MATERIALIZED (SELECT {a.pid} AS pid, pg_blocking_pids({a.pid}) AS blockers FROM {a} a \
        WHERE {a.wait_event_type} = 'Lock'), \
      blockers AS MATERIALIZED (SELECT DISTINCT unnest(blockers) AS pid FROM waiting) \
      SELECT a.pid, {a.datname}::text AS database, {a.usename}::text AS \"user\", {a.application_name}::text AS application, \
      {a.state}::text AS state, date_part('epoch', clock_timestamp() - {a.xact_start})::float8 AS transaction_seconds, \
      left({a.query}, 10000) AS query, coalesce(w.blockers, '{}') AS blockers, w.pid IS NOT NULL AS waits \
      FROM {a} a LEFT JOIN waiting w ON w.pid = a.pid WHERE w.pid IS NOT NULL OR a.pid IN (SELECT pid FROM blockers)",
    needs_stats_role: true,
};

/// The locks that somebody waits for, with all that are granted on the same objects.
pub(crate) const LOCKS: Question = Question {
    from: &[
        ("l", "pg_locks"),
        ("c", "pg_class"),
        ("n", "pg_namespace"),
        ("d", "pg_database"),
        ("x", "pg_prepared_xacts"),
    ],
    sql: "WITH held AS MATERIALIZED (SELECT {l.locktype}, {l.database}, {l.relation}, {l.page}, {l.tuple}, {l.virtualxid}, \
        {l.transactionid}, {l.classid}, {l.objid}, {l.objsubid}, {l.virtualtransaction}, {l.pid}, {l.mode}, {l.granted}, \
        {l.waitstart?} AS waitstart FROM {l} l), \
      wanted AS (SELECT DISTINCT locktype, database, relation, page, tuple, virtualxid, transactionid, classid, objid, objsubid \
        FROM held WHERE NOT granted) \
      SELECT h.pid, h.locktype, h.mode, h.granted, {x.gid} AS prepared, {x.owner}::text AS owner, \
      {x.database}::text AS prepared_in, date_part('epoch', clock_timestamp() - {x.prepared})::float8 AS prepared_seconds, \
      date_part('epoch', clock_timestamp() - h.waitstart)::float8 AS seconds, h.waitstart::text AS since, \
      concat_ws(' ', h.locktype, h.database, h.relation, h.page, h.tuple, h.virtualxid, h.transactionid, h.classid, h.objid, \
        h.objsubid) AS object, \
      coalesce((SELECT {n.nspname} || '.' || {c.relname} FROM {c} c JOIN {n} n ON {n.oid} = {c.relnamespace} \
        WHERE {c.oid} = h.relation AND h.database IN (0, (SELECT {d.oid} FROM {d} d WHERE {d.datname} = current_database()))), \
        h.relation::text) AS relation \
      FROM held h JOIN wanted w ON (h.locktype, h.database, h.relation, h.page, h.tuple, h.virtualxid, h.transactionid, \
        h.classid, h.objid, h.objsubid) IS NOT DISTINCT FROM (w.locktype, w.database, w.relation, w.page, w.tuple, \
        w.virtualxid, w.transactionid, w.classid, w.objid, w.objsubid) \
      LEFT JOIN {x} x ON h.pid IS NULL AND EXISTS (SELECT FROM held t WHERE t.pid IS NULL AND t.granted \
        AND t.locktype = 'transactionid' AND t.virtualtransaction = h.virtualtransaction AND t.transactionid = {x.transaction})",
    needs_stats_role: true,
};

#[derive(Debug, Deserialize)]
struct SessionRow {
    pid: i32,
    database: Option<String>,
    user: Option<String>,
    application: Option<String>,
    state: Option<String>,
    transaction_seconds: Option<f64>,
    query: Option<String>,
    blockers: Vec<i32>,
    waits: bool,
}

#[derive(Debug, Clone, Deserialize)]
struct LockRow {
    pid: Option<i32>,
    locktype: String,
    mode: String,
    granted: bool,
    prepared: Option<String>,
    owner: Option<String>,
    prepared_in: Option<String>,
    prepared_seconds: Option<f64>,
    seconds: Option<f64>,
    since: Option<String>,
    object: String,
    relation: Option<String>,
}

/// The tree as it was read.
#[derive(Debug, Clone)]
pub(crate) struct BlockingRead {
    pub(crate) tree: Result<BlockingTree, Missing>,
}

impl BlockingRead {
    /// Asks who waits for whom; about locks only where somebody waits.
    pub(crate) async fn read(asker: &Asker<'_>) -> Self {
        let sessions: Answer<SessionRow> = asker.ask(&SESSIONS).await;
        let sessions = match sessions.rows {
            Ok(sessions) if sessions.is_empty() => {
                return BlockingRead { tree: Ok(BlockingTree::default()) };
            }
            Ok(sessions) => sessions,
            Err(missing) => return BlockingRead { tree: Err(missing) },
        };
        let locks: Answer<LockRow> = asker.ask(&LOCKS).await;
        BlockingRead { tree: locks.rows.map(|locks| tree(sessions, &locks)) }
    }
}

fn tree(sessions: Vec<SessionRow>, locks: &[LockRow]) -> BlockingTree {
    let mut participants = BTreeMap::new();
    for session in sessions {
        let wanted = locks.iter().find(|lock| !lock.granted && lock.pid == Some(session.pid));
        let mut blocked_by: Vec<Blocker> =
            session.blockers.iter().flat_map(|pid| blockers(*pid, wanted, locks)).collect();
        blocked_by.sort_by(|a, b| (a.how, &a.owner).cmp(&(b.how, &b.owner)));
        blocked_by.dedup();
        for blocker in &blocked_by {
            if let LockOwner::PreparedTransaction(name) = &blocker.owner {
                participants.entry(blocker.owner.clone()).or_insert_with(|| prepared(name, locks));
            }
        }
        // A wait that ended between the two looks has no lock any more.
        let waits_for = (session.waits && !blocked_by.is_empty()).then(|| waits_for(wanted));
        let participant = Participant {
            database: session.database,
            user: session.user,
            application: session.application.map(|name| TraceLink::unlabelled(&name).to_owned()),
            state: session.state,
            transaction_seconds: session.transaction_seconds,
            statement: session
                .query
                .filter(|text| !text.is_empty())
                .map(|text| db_statement::normalize(&text)),
            waits_for,
            blocked_by,
        };
        participants.insert(LockOwner::Pid(session.pid), participant);
    }
    BlockingTree::of(&participants)
}

fn waits_for(wanted: Option<&LockRow>) -> WaitsFor {
    match wanted {
        Some(lock) => WaitsFor {
            mode: lock.mode.clone(),
            locktype: lock.locktype.clone(),
            relation: lock.relation.clone(),
            seconds: lock.seconds.map(|seconds| seconds.max(0.0)),
            since: lock.since.clone(),
        },
        None => WaitsFor {
            mode: "unknown".to_owned(),
            locktype: "unknown".to_owned(),
            relation: None,
            seconds: None,
            since: None,
        },
    }
}

/// Process 0 stands for all prepared transactions; which one it is, the lock says.
fn blockers(pid: i32, wanted: Option<&LockRow>, locks: &[LockRow]) -> Vec<Blocker> {
    let holds = |lock: &&LockRow| {
        wanted.is_some_and(|wanted| {
            lock.granted && lock.object == wanted.object && conflict(&lock.mode, &wanted.mode)
        })
    };
    if pid == 0 {
        let prepared = locks.iter().filter(holds).filter_map(|lock| lock.prepared.clone());
        return prepared
            .map(|name| Blocker { owner: LockOwner::PreparedTransaction(name), how: BlockedHow::Holds })
            .collect();
    }
    let how = match wanted {
        Some(wanted) => {
            let queues = locks
                .iter()
                .any(|lock| lock.pid == Some(pid) && !lock.granted && lock.object == wanted.object);
            let held = locks.iter().filter(holds).any(|lock| lock.pid == Some(pid));
            if queues && !held { BlockedHow::Queues } else { BlockedHow::Holds }
        }
        None => BlockedHow::Holds,
    };
    vec![Blocker { owner: LockOwner::Pid(pid), how }]
}

fn prepared(name: &str, locks: &[LockRow]) -> Participant {
    let lock = locks.iter().find(|lock| lock.prepared.as_deref() == Some(name));
    Participant {
        database: lock.and_then(|lock| lock.prepared_in.clone()),
        user: lock.and_then(|lock| lock.owner.clone()),
        state: Some("prepared".to_owned()),
        transaction_seconds: lock.and_then(|lock| lock.prepared_seconds),
        ..Participant::default()
    }
}

/// Whether two modes exclude each other, after the manual's table 13.2.
fn conflict(held: &str, wanted: &str) -> bool {
    const MODES: [&str; 8] = [
        "AccessShareLock",
        "RowShareLock",
        "RowExclusiveLock",
        "ShareUpdateExclusiveLock",
        "ShareLock",
        "ShareRowExclusiveLock",
        "ExclusiveLock",
        "AccessExclusiveLock",
    ];
    const CONFLICTS: [u8; 8] = [
        0b1000_0000,
        0b1100_0000,
        0b1111_0000,
        0b1111_1000,
        0b1110_1100,
        0b1111_1100,
        0b1111_1110,
        0b1111_1111,
    ];
    let place = |mode: &str| MODES.iter().position(|known| *known == mode);
    match (place(held), place(wanted)) {
        (Some(held), Some(wanted)) => CONFLICTS[held] & (1 << wanted) != 0,
        // A mode that nobody has seen yet: believe that it is in the way.
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_exclude_each_other_as_the_manual_says() {
        assert!(!conflict("AccessShareLock", "ExclusiveLock"));
        assert!(conflict("AccessShareLock", "AccessExclusiveLock"));
        assert!(!conflict("RowExclusiveLock", "RowExclusiveLock"));
        assert!(conflict("ShareLock", "RowExclusiveLock"));
        assert!(!conflict("ShareLock", "ShareLock"));
        assert!(conflict("ShareUpdateExclusiveLock", "ShareUpdateExclusiveLock"));
        let modes =
            ["AccessShareLock", "RowShareLock", "RowExclusiveLock", "ShareUpdateExclusiveLock", "ShareLock"];
        for (held, wanted) in modes.iter().flat_map(|held| modes.map(|wanted| (*held, wanted))) {
            assert_eq!(conflict(held, wanted), conflict(wanted, held), "{held} {wanted}");
        }
    }
}
