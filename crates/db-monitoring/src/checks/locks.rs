//! Checks of locks: who waits for whom, deadlocks, and how full the lock table is.

use db_core::CheckStatus;

use crate::amount;
use crate::blocking::{BlockingNode, BlockingTree, LockOwner};
use crate::checks::bound::NEVER;
use crate::checks::evidence::{grown_maybe, known, same_reset};
use crate::checks::{Bound, Check, Evidence, Findings, finding, literal, unknown};
use crate::{Subject, SubjectKind};

const BLOCKED: Bound =
    Bound { of: "the longest wait behind one blocker", warn: 5.0, critical: 30.0, unit: "s" };
const VICTIMS: Bound =
    Bound { of: "sessions behind one blocker", warn: NEVER, critical: 5.0, unit: "{session}" };
const DEADLOCKS: Bound = Bound { of: "deadlocks in a minute", warn: 0.0, critical: 1.0, unit: "/min" };
const TABLE: Bound = Bound { of: "the lock table in use", warn: 20.0, critical: 60.0, unit: "%" };
const EXCLUSIVE: Bound = Bound { of: "wait for ACCESS EXCLUSIVE", warn: 2.0, critical: 10.0, unit: "s" };
const LIGHTWEIGHT: Bound =
    Bound { of: "active sessions that wait for a lightweight lock", warn: 20.0, critical: NEVER, unit: "%" };

/// Fewer active sessions make no share.
const ENOUGH_ACTIVE: usize = 5;

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "blocking",
        title: "Sessions that block others",
        looks_at: "who waits for whose lock. A finding is a root: one that blocks others and waits for nobody.",
        bounds: &[&BLOCKED, &VICTIMS],
        well: "nobody waits long for a lock",
        sql: "SELECT pid, pg_blocking_pids(pid), wait_event FROM pg_stat_activity WHERE wait_event_type = 'Lock'",
        judge: blocking,
    },
    Check {
        id: "deadlocks",
        title: "Deadlocks",
        looks_at: "deadlocks that the server broke between two looks, by database.",
        bounds: &[&DEADLOCKS],
        well: "there was no deadlock",
        sql: "SELECT datname, deadlocks FROM pg_stat_database WHERE deadlocks > 0",
        judge: deadlocks,
    },
    Check {
        id: "lock-table",
        title: "How full the lock table is",
        looks_at: "locks, against max_locks_per_transaction times sessions and prepared transactions. A full one fails statements.",
        bounds: &[&TABLE],
        well: "the lock table has room",
        sql: "SELECT locktype, mode, count(*) FROM pg_locks GROUP BY 1, 2 ORDER BY 3 DESC",
        judge: lock_table,
    },
    Check {
        id: "exclusive-lock-waits",
        title: "Changes of tables that wait in the queue",
        looks_at: "waits for ACCESS EXCLUSIVE: everybody who comes later waits behind them, readers too.",
        bounds: &[&EXCLUSIVE],
        well: "no change of a table waits for its lock",
        sql: "SELECT pid, relation::regclass, mode FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'",
        judge: exclusive_lock_waits,
    },
    Check {
        id: "lightweight-locks",
        title: "Waits for lightweight locks",
        looks_at: "the share of active sessions that wait for a lock inside the server: buffers, the log, the lock manager.",
        bounds: &[&LIGHTWEIGHT],
        well: "few sessions wait for a lock inside the server",
        sql: "SELECT wait_event_type, wait_event, count(*) FROM pg_stat_activity WHERE state = 'active' GROUP BY 1, 2 ORDER BY 3 DESC",
        judge: lightweight_locks,
    },
];

fn blocking(evidence: &Evidence<'_>) -> Findings {
    let tree = match evidence.blocking {
        Some(look) => look.tree()?.clone(),
        None => {
            evidence.sees_all()?;
            BlockingTree::in_snapshot(
                known(&evidence.now.activity)?,
                known(&evidence.now.lock_waits)?,
                known(&evidence.now.prepared)?,
            )
        }
    };
    let judge = |root: &BlockingNode| {
        let longest = root.longest_wait();
        let verdicts = [BLOCKED.verdict(longest), VICTIMS.verdict(root.victims as f64)];
        let status = if verdicts.contains(&CheckStatus::Critical) {
            CheckStatus::Critical
        } else if verdicts.iter().any(CheckStatus::is_problem) {
            CheckStatus::Warn
        } else {
            return None;
        };
        let (subject, name, end) = match &root.owner {
            LockOwner::Pid(pid) => {
                let end = match root.state.as_deref() {
                    Some("active") => format!("SELECT pg_cancel_backend({pid})"),
                    _ => format!("SELECT pg_terminate_backend({pid})"),
                };
                (Subject::new(SubjectKind::Session, pid.to_string()), format!("session {pid}"), end)
            }
            LockOwner::PreparedTransaction(gid) => (
                Subject::new(SubjectKind::PreparedTransaction, gid.clone()),
                format!("the prepared transaction {gid:?}"),
                format!("ROLLBACK PREPARED {}", literal(gid)),
            ),
        };
        let text = format!("{name} blocks {} sessions for up to {}", root.victims, amount(longest, "s"));
        Some(
            finding(status, text)
                .about(subject)
                .figure("victims", root.victims as f64, "{session}")
                .figure("longest_wait", longest, "s")
                .fix(
                    end,
                    "look first at what it does: its transaction is rolled back, and those behind it go on",
                ),
        )
    };
    Ok(tree.roots.iter().filter_map(judge).collect())
}

fn deadlocks(evidence: &Evidence<'_>) -> Findings {
    let (now, before, seconds) = evidence.window(|look| &look.databases)?;
    let mut found = Vec::new();
    for one in now {
        let Some(past) = before.iter().find(|past| past.datid == one.datid) else { continue };
        let grown = match same_reset(one.stats_reset, past.stats_reset) {
            Ok(()) => grown_maybe(one.deadlocks, past.deadlocks),
            Err(why) => {
                found.push(unknown(why).about(Subject::new(SubjectKind::Database, one.datname.clone())));
                continue;
            }
        };
        let deadlocks = grown.unwrap_or(0.0);
        if let Some(status) = DEADLOCKS.exceeded(deadlocks * 60.0 / seconds.max(60.0)) {
            let text = format!("{deadlocks} deadlocks in {} within {}", one.datname, amount(seconds, "s"));
            found.push(
                finding(status, text)
                    .about(Subject::new(SubjectKind::Database, one.datname.clone()))
                    .figure("deadlocks", deadlocks, "{deadlock}")
                    .figure("window", seconds, "s")
                    .fix(
                        "SELECT … ORDER BY id FOR UPDATE",
                        "take locks in the same order everywhere; the server's log names both statements",
                    ),
            );
        }
    }
    Ok(found)
}

fn lock_table(evidence: &Evidence<'_>) -> Findings {
    let locks: i64 = known(&evidence.now.locks)?.iter().map(|lock| lock.count).sum();
    let each = evidence.setting("max_locks_per_transaction")?;
    let sessions = evidence.setting("max_connections")? + evidence.setting("max_prepared_transactions")?;
    let places = each * sessions;
    let share = 100.0 * locks as f64 / places.max(1.0);
    Ok(TABLE
        .exceeded(share)
        .map(|status| {
            finding(status, format!("{locks} locks are held or wanted, of about {places} places"))
                .figure("locks", locks as f64, "{lock}")
                .figure("used", share, "%")
                .fix(
                    "ALTER SYSTEM SET max_locks_per_transaction = 256",
                    "it takes a restart; look first at who locks so much: statements over many partitions, dumps",
                )
        })
        .into_iter()
        .collect())
}

fn exclusive_lock_waits(evidence: &Evidence<'_>) -> Findings {
    let mut found = Vec::new();
    for wait in known(&evidence.now.lock_waits)? {
        // A wait that the server cannot date has just begun.
        let waited = wait.waited.unwrap_or(0.0);
        if wait.mode != "AccessExclusiveLock" {
            continue;
        }
        if let Some(status) = EXCLUSIVE.exceeded(waited) {
            let on = wait.relation_name.as_deref().unwrap_or("an object of another database");
            let text = format!(
                "session {} waits for {} to lock {on} exclusively, and all others queue behind it",
                wait.pid,
                amount(waited, "s")
            );
            found.push(
                finding(status, text)
                    .about(Subject::new(SubjectKind::Session, wait.pid.to_string()))
                    .figure("waited", waited, "s")
                    .fix(
                        format!("SELECT pg_cancel_backend({})", wait.pid),
                        "run it again with SET lock_timeout = '2s', until it gets the lock",
                    ),
            );
        }
    }
    Ok(found)
}

fn lightweight_locks(evidence: &Evidence<'_>) -> Findings {
    evidence.sees_all()?;
    let active: Vec<_> =
        known(&evidence.now.activity)?.iter().filter(|one| one.state.as_deref() == Some("active")).collect();
    if active.len() < ENOUGH_ACTIVE {
        return Ok(Vec::new());
    }
    let waiting: Vec<_> =
        active.iter().filter(|one| one.wait_event_type.as_deref() == Some("LWLock")).collect();
    let share = 100.0 * waiting.len() as f64 / active.len() as f64;
    let event = waiting.first().and_then(|one| one.wait_event.clone()).unwrap_or_default();
    Ok(LIGHTWEIGHT
        .exceeded(share)
        .map(|status| {
            let text =
                format!("{} of {} active sessions wait inside the server, such as for {event}", waiting.len(), active.len());
            finding(status, text).figure("waiting", share, "%").fix(
                "SELECT wait_event, count(*) FROM pg_stat_activity WHERE wait_event_type = 'LWLock' GROUP BY 1",
                "fewer connections at a time help most: make pools smaller",
            )
        })
        .into_iter()
        .collect())
}
