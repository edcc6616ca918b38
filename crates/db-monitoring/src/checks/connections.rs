//! Checks of connections: does the server answer, are there places left, who keeps a transaction open.

use db_core::CheckStatus;

use crate::amount;
use crate::checks::bound::NEVER;
use crate::checks::evidence::known;
use crate::checks::{Bound, Check, Evidence, Findings, finding, literal};
use crate::server::{Backend, SkipReason};
use crate::{CheckResult, Subject, SubjectKind};

const ROUND_TRIP: Bound = Bound { of: "time to answer SELECT 1", warn: 0.25, critical: NEVER, unit: "s" };
const USED: Bound = Bound { of: "connections in use", warn: 80.0, critical: 95.0, unit: "%" };
const IDLE: Bound = Bound { of: "idle in transaction", warn: 60.0, critical: 300.0, unit: "s" };
const ABORTED: Bound = Bound { of: "idle in a failed transaction", warn: 10.0, critical: 300.0, unit: "s" };
const TRANSACTION: Bound = Bound { of: "age of a transaction", warn: 300.0, critical: 1_800.0, unit: "s" };
const STATEMENT: Bound = Bound { of: "time that a statement runs", warn: 60.0, critical: 600.0, unit: "s" };
const HORIZON: Bound = Bound {
    of: "transactions since the horizon",
    warn: 10_000_000.0,
    critical: 100_000_000.0,
    unit: "{transaction}",
};
const HORIZON_TIME: Bound =
    Bound { of: "time that something holds the horizon", warn: 3_600.0, critical: NEVER, unit: "s" };
const POOL: Bound = Bound { of: "connections of a pool in use", warn: 90.0, critical: NEVER, unit: "%" };

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "up",
        title: "The server answers",
        looks_at: "a statement on a connection of its own. It is critical if the server does not answer.",
        bounds: &[&ROUND_TRIP],
        well: "the server answers",
        sql: "SELECT 1",
        judge: up,
    },
    Check {
        id: "connections-used",
        title: "Places for connections",
        looks_at: "sessions of clients, against max_connections less what is reserved for superusers and others.",
        bounds: &[&USED],
        well: "there are places for more connections",
        sql: "SELECT state, count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' GROUP BY 1",
        judge: connections_used,
    },
    Check {
        id: "idle-in-transaction",
        title: "Sessions that are idle in a transaction",
        looks_at: "sessions that began a transaction and do nothing: they keep their locks, and VACUUM from cleaning up.",
        bounds: &[&IDLE, &ABORTED],
        well: "no session is idle in a transaction for long",
        sql: "SELECT pid, usename, application_name, state, now() - state_change AS since FROM pg_stat_activity \
              WHERE state LIKE 'idle in transaction%' ORDER BY state_change",
        judge: idle_in_transaction,
    },
    Check {
        id: "long-transactions",
        title: "Long transactions and statements",
        looks_at: "transactions that are open, and statements that run, for long. Sessions of the server itself are not meant.",
        bounds: &[&TRANSACTION, &STATEMENT],
        well: "no transaction and no statement takes long",
        sql: "SELECT pid, usename, application_name, state, now() - xact_start AS transaction, now() - query_start AS statement \
              FROM pg_stat_activity WHERE xact_start IS NOT NULL ORDER BY xact_start",
        judge: long_transactions,
    },
    Check {
        id: "xmin-horizon",
        title: "What keeps VACUUM from cleaning up",
        looks_at: "the session, prepared transaction, slot or standby that needs the oldest rows: nothing newer can be cleaned up.",
        bounds: &[&HORIZON, &HORIZON_TIME],
        well: "nothing keeps VACUUM from cleaning up for long",
        sql: "SELECT pid, age(backend_xmin) FROM pg_stat_activity WHERE backend_xmin IS NOT NULL ORDER BY 2 DESC",
        judge: xmin_horizon,
    },
    Check {
        id: "pool",
        title: "The pools of this process",
        looks_at: "callers that wait for a connection, and pools that are nearly used up. Known only inside the service.",
        bounds: &[&POOL],
        well: "nobody waits for a connection",
        sql: "",
        judge: pool,
    },
    Check {
        id: "restart",
        title: "Restarts and changes of role",
        looks_at: "whether the server was started anew, or changed its role, between two looks. A change of role is critical.",
        bounds: &[],
        well: "the server is the one that it was",
        sql: "SELECT pg_postmaster_start_time(), pg_is_in_recovery()",
        judge: restart,
    },
];

fn up(evidence: &Evidence<'_>) -> Findings {
    match evidence.now.server.get() {
        Ok(_) => {}
        Err(skipped) if matches!(skipped.reason, SkipReason::Unreachable | SkipReason::TimedOut) => {
            return Ok(vec![finding(
                CheckStatus::Critical,
                format!("the server does not answer: {}", skipped.detail),
            )]);
        }
        Err(skipped) => return Err(skipped.detail.clone()),
    }
    let took = evidence.round_trip.map_or(0.0, |took| took.as_secs_f64());
    Ok(ROUND_TRIP
        .exceeded(took)
        .map(|status| {
            finding(status, format!("the server took {} to answer", amount(took, "s"))).figure(
                "round_trip",
                took,
                "s",
            )
        })
        .into_iter()
        .collect())
}

fn connections_used(evidence: &Evidence<'_>) -> Findings {
    evidence.sees_all()?;
    let used = clients(evidence)?.count() as f64;
    let reserved = evidence.setting("reserved_connections").unwrap_or(0.0);
    let places =
        evidence.setting("max_connections")? - evidence.setting("superuser_reserved_connections")? - reserved;
    let share = 100.0 * used / places.max(1.0);
    let Some(status) = USED.exceeded(share) else { return Ok(Vec::new()) };
    let idle = clients(evidence)?.filter(|one| one.state.as_deref() == Some("idle")).count() as f64;
    Ok(vec![
        finding(status, format!("{used} of {places} connections are in use, {idle} of them idle"))
            .figure("used", used, "{connection}")
            .figure("idle", idle, "{connection}")
            .figure("places", places, "{connection}")
            .fix(
                "SELECT usename, application_name, count(*) FROM pg_stat_activity GROUP BY 1, 2 ORDER BY 3 DESC",
                "make the pools of whoever has most of them smaller: a larger max_connections costs memory and a restart",
            ),
    ])
}

/// Sessions of clients.
fn clients<'a>(evidence: &Evidence<'a>) -> Result<impl Iterator<Item = &'a Backend>, String> {
    let activity = known(&evidence.now.activity)?;
    Ok(activity.iter().filter(|one| one.backend_type.as_deref().is_none_or(|kind| kind == "client backend")))
}

fn idle_in_transaction(evidence: &Evidence<'_>) -> Findings {
    evidence.sees_all()?;
    let mut found = Vec::new();
    for one in clients(evidence)? {
        let bound = match one.state.as_deref() {
            Some("idle in transaction") => &IDLE,
            Some("idle in transaction (aborted)") => &ABORTED,
            _ => continue,
        };
        let idle = one.state_age.unwrap_or(0.0);
        if let Some(status) = bound.exceeded(idle) {
            let text = format!(
                "{} has been {} for {}",
                who(one),
                one.state.as_deref().unwrap_or(""),
                amount(idle, "s")
            );
            found.push(of_session(one, status, text).figure("idle", idle, "s"));
        }
    }
    Ok(found)
}

fn long_transactions(evidence: &Evidence<'_>) -> Findings {
    evidence.sees_all()?;
    let mut found = Vec::new();
    for one in clients(evidence)? {
        let transaction = one.xact_age.unwrap_or(0.0);
        let statement =
            if one.state.as_deref() == Some("active") { one.query_age.unwrap_or(0.0) } else { 0.0 };
        let verdicts = [TRANSACTION.exceeded(transaction), STATEMENT.exceeded(statement)];
        let critical = verdicts.contains(&Some(CheckStatus::Critical));
        if verdicts.iter().all(Option::is_none) {
            continue;
        }
        let status = if critical { CheckStatus::Critical } else { CheckStatus::Warn };
        let text = if verdicts[1].is_some() {
            format!("a statement of {} has run for {}", who(one), amount(statement, "s"))
        } else {
            format!("a transaction of {} has been open for {}", who(one), amount(transaction, "s"))
        };
        found.push(of_session(one, status, text).figure("transaction", transaction, "s").figure(
            "statement",
            statement,
            "s",
        ));
    }
    Ok(found)
}

fn who(one: &Backend) -> String {
    let user = one.usename.as_deref().unwrap_or("somebody");
    match one.application_name.as_deref() {
        Some(name) if !name.is_empty() => format!("session {} ({user}, {name})", one.pid),
        _ => format!("session {} ({user})", one.pid),
    }
}

fn of_session(one: &Backend, status: CheckStatus, text: String) -> CheckResult {
    let sql = match one.state.as_deref() {
        Some("active") => format!("SELECT pg_cancel_backend({})", one.pid),
        _ => format!("SELECT pg_terminate_backend({})", one.pid),
    };
    finding(status, text).about(Subject::new(SubjectKind::Session, one.pid.to_string())).fix(
        sql,
        "look first at what it does; its transaction is rolled back. idle_in_transaction_session_timeout and \
         statement_timeout do it for you",
    )
}

fn xmin_horizon(evidence: &Evidence<'_>) -> Findings {
    evidence.sees_all()?;
    let mut holders: Vec<(f64, f64, Subject, String, String)> = Vec::new();
    for one in known(&evidence.now.activity)? {
        // A sender's horizon is its standby's, and a slot's is the slot's.
        if one.backend_type.as_deref() == Some("walsender") {
            continue;
        }
        if let Some(age) = one.xmin_age {
            let subject = Subject::new(SubjectKind::Session, one.pid.to_string());
            let end = format!("SELECT pg_terminate_backend({})", one.pid);
            holders.push((age as f64, one.xact_age.unwrap_or(0.0), subject, who(one), end));
        }
    }
    for one in known(&evidence.now.prepared)? {
        let subject = Subject::new(SubjectKind::PreparedTransaction, one.gid.clone());
        let end = format!("ROLLBACK PREPARED {}", literal(&one.gid));
        let name = format!("the prepared transaction {:?}", one.gid);
        holders.push((one.xid_age.unwrap_or(0) as f64, one.age.unwrap_or(0.0), subject, name, end));
    }
    for one in known(&evidence.now.slots)? {
        let age = one.xmin_age.max(one.catalog_xmin_age);
        if let Some(age) = age {
            let subject = Subject::new(SubjectKind::Slot, one.slot_name.clone());
            let end = format!("SELECT pg_drop_replication_slot({})", literal(&one.slot_name));
            let idle = if one.active == Some(true) { 0.0 } else { one.inactive_age.unwrap_or(0.0) };
            holders.push((age as f64, idle, subject, format!("the slot {:?}", one.slot_name), end));
        }
    }
    for one in known(&evidence.now.senders)? {
        if let Some(age) = one.xmin_age {
            let name = one.application_name.clone().unwrap_or_default();
            let end = "on the standby: end its longest query, or set hot_standby_feedback = off".to_owned();
            let text = format!("a query on the standby {name:?}");
            holders.push((age as f64, 0.0, Subject::new(SubjectKind::Standby, name), text, end));
        }
    }
    holders.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.total_cmp(&a.1)));
    let mut found = Vec::new();
    for (age, time, subject, name, end) in holders {
        let status = match (HORIZON.verdict(age), HORIZON_TIME.verdict(time)) {
            (CheckStatus::Ok, by_time) => by_time,
            (by_age, _) => by_age,
        };
        if status.is_problem() {
            let text = format!(
                "{name} keeps VACUUM from cleaning up: {} transactions and {} ago",
                amount(age, "1"),
                amount(time, "s")
            );
            found.push(
                finding(status, text)
                    .about(subject)
                    .figure("age", age, "{transaction}")
                    .figure("held", time, "s")
                    .fix(end, "be sure that nobody needs it any more: what it did is rolled back, or its consumer loses its place"),
            );
        }
    }
    Ok(found)
}

fn pool(evidence: &Evidence<'_>) -> Findings {
    let pools = evidence.pools.ok_or("this process has no pool: the service itself knows")?;
    let mut found = Vec::new();
    for pool in pools {
        let share = 100.0 * pool.in_use as f64 / (pool.max as f64).max(1.0);
        if pool.waiting == 0 && POOL.exceeded(share).is_none() {
            continue;
        }
        let text = format!(
            "{} callers wait for a connection of {}, {} of {} are in use",
            pool.waiting, pool.name, pool.in_use, pool.max
        );
        let result = finding(CheckStatus::Warn, text)
            .about(Subject::new(SubjectKind::Part, pool.name.clone()))
            .figure("waiting", pool.waiting as f64, "{caller}")
            .figure("in_use", share, "%")
            .fix(
                "DB_POOL_MAX",
                "look first at who holds connections for long: a larger pool helps only where the server has room",
            );
        found.push(result);
    }
    Ok(found)
}

fn restart(evidence: &Evidence<'_>) -> Findings {
    let now = evidence.server()?;
    let before = evidence.before.ok_or("it compares two looks: let it run longer, or use --window")?;
    let before = known(&before.server)?;
    let mut found = Vec::new();
    if before.role != now.role {
        let text = format!("the server was a {} and is a {}", before.role.as_str(), now.role.as_str());
        found.push(finding(CheckStatus::Critical, text));
    } else if before.system_identifier != now.system_identifier {
        found.push(finding(CheckStatus::Critical, "another server answers at this address"));
    } else if !before.continues(now) {
        found.push(finding(CheckStatus::Warn, "the server was started anew between the two looks"));
    }
    Ok(found)
}
