//! Checks of statements: which take the time, which spill to disk, and how busy the server is.

use std::collections::HashMap;

use db_core::CheckStatus;

use crate::checks::bound::NEVER;
use crate::checks::evidence::{grown, grown_maybe, known, same_reset};
use crate::checks::{Bound, Check, Evidence, Findings, finding};
use crate::server::ServerStatement;
use crate::{CheckResult, Subject, SubjectKind, amount};

const MEAN: Bound =
    Bound { of: "mean time of a statement that ran 100 times", warn: 20.0, critical: NEVER, unit: "ms" };
const SHARE: Bound =
    Bound { of: "one statement's share of all time", warn: 25.0, critical: NEVER, unit: "%" };
const SPILL: Bound =
    Bound { of: "temporary files written in an hour", warn: 1_073_741_824.0, critical: NEVER, unit: "By" };
const ROWS: Bound =
    Bound { of: "rows that one execution returns", warn: 10_000.0, critical: NEVER, unit: "{row}" };
const EVICTED: Bound =
    Bound { of: "statements dropped in an hour", warn: 0.0, critical: NEVER, unit: "{statement}" };
const PLANNING: Bound = Bound { of: "planning, against execution", warn: 100.0, critical: NEVER, unit: "%" };
const JIT: Bound = Bound { of: "compiling (JIT), of execution", warn: 30.0, critical: NEVER, unit: "%" };
const LOAD: Bound =
    Bound { of: "active sessions for each core", warn: 1.0, critical: 2.0, unit: "{session}" };

/// Fewer executions are no class of statements.
const ENOUGH_CALLS: f64 = 100.0;
/// Less execution time than this between two looks is not worth a share, in milliseconds.
const ENOUGH_TIME: f64 = 10_000.0;
/// Cheaper executions are left alone, in milliseconds of mean time.
const WORTH_A_LOOK: f64 = 1.0;

const TOP: &str = "SELECT queryid, calls, mean_exec_time, total_exec_time, rows FROM pg_stat_statements ORDER BY total_exec_time DESC LIMIT 20";

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "slow-statements",
        title: "Statements that are slow on average",
        looks_at: "pg_stat_statements between two looks, or since it counts.",
        bounds: &[&MEAN],
        well: "no statement that runs often is slow on average",
        sql: TOP,
        judge: slow,
    },
    Check {
        id: "load-share",
        title: "Statements that take most of the time",
        looks_at: "each statement's share of the execution time of all, between two looks.",
        bounds: &[&SHARE],
        well: "no single statement takes most of the time",
        sql: TOP,
        judge: load_share,
    },
    Check {
        id: "temporary-files",
        title: "Sorts and hashes that do not fit into memory",
        looks_at: "bytes of temporary files between two looks, by database.",
        bounds: &[&SPILL],
        well: "little is written to temporary files",
        sql: "SELECT datname, temp_files, temp_bytes FROM pg_stat_database ORDER BY temp_bytes DESC",
        judge: temporary_files,
    },
    Check {
        id: "rows-per-call",
        title: "Statements that return very many rows",
        looks_at: "rows of one execution, by pg_stat_statements, between two looks or since it counts. COPY and FETCH count too.",
        bounds: &[&ROWS],
        well: "no statement returns very many rows",
        sql: "SELECT queryid, calls, rows / calls AS rows FROM pg_stat_statements WHERE calls > 0 ORDER BY 3 DESC LIMIT 20",
        judge: rows_per_call,
    },
    Check {
        id: "statements-evicted",
        title: "Statements that pg_stat_statements drops",
        looks_at: "how often it dropped the statements that ran least, because it has no room for more.",
        bounds: &[&EVICTED],
        well: "pg_stat_statements has room for all statements",
        sql: "SELECT dealloc, stats_reset FROM pg_stat_statements_info",
        judge: evicted,
    },
    Check {
        id: "planning-time",
        title: "Statements that are planned longer than they run",
        looks_at: "planning time (where pg_stat_statements.track_planning is on) and JIT compilation, against execution.",
        bounds: &[&PLANNING, &JIT],
        well: "planning and compiling take little of the time",
        sql: "SELECT queryid, total_plan_time, total_exec_time FROM pg_stat_statements ORDER BY total_plan_time DESC LIMIT 20",
        judge: planning_time,
    },
    Check {
        id: "db-load",
        title: "How busy the server is",
        looks_at: "sessions that are active at this moment, against the cores where they are known.",
        bounds: &[&LOAD],
        well: "the server is not overloaded",
        sql: "SELECT count(*) FROM pg_stat_activity WHERE state = 'active'",
        judge: db_load,
    },
];

/// What one statement did between two looks, or since it is counted.
struct Spent<'a> {
    statement: &'a ServerStatement,
    calls: f64,
    millis: f64,
    plan_millis: Option<f64>,
    jit_millis: f64,
    rows: f64,
}

type Key = (i64, i64, i64, Option<bool>);

fn key(one: &ServerStatement) -> Option<Key> {
    Some((one.userid, one.dbid, one.queryid?, one.toplevel))
}

fn jit(one: &ServerStatement) -> f64 {
    [one.jit_generation_time, one.jit_inlining_time, one.jit_optimization_time, one.jit_emission_time]
        .into_iter()
        .flatten()
        .sum()
}

/// With `needs_window`, only what happened between two looks; else, where there is one look, all that was
/// ever counted.
fn spent<'a>(evidence: &Evidence<'a>, needs_window: bool) -> Result<Vec<Spent<'a>>, String> {
    let visible = known(&evidence.now.statements)?;
    if !visible.is_empty() && visible.iter().all(|one| one.queryid.is_none()) {
        return Err("the role sees no other role's statements: GRANT pg_read_all_stats TO it".to_owned());
    }
    evidence.sees_all()?;
    let total = |one: &'a ServerStatement| Spent {
        statement: one,
        calls: one.calls as f64,
        millis: one.total_exec_time,
        plan_millis: one.total_plan_time,
        jit_millis: jit(one),
        rows: one.rows as f64,
    };
    match evidence.window(|look| &look.statements) {
        Ok((now, before, _)) => {
            let reset = |info: &crate::server::Snapshot| {
                info.statements_info.get().ok().and_then(|info| info.stats_reset)
            };
            same_reset(reset(evidence.now), evidence.before.and_then(reset))?;
            let past: HashMap<Key, &ServerStatement> =
                before.iter().filter_map(|one| Some((key(one)?, one))).collect();
            let since = |one: &'a ServerStatement| {
                let Some(then) = key(one).and_then(|key| past.get(&key)) else { return Some(total(one)) };
                Some(Spent {
                    statement: one,
                    calls: grown(one.calls, then.calls)?,
                    millis: (one.total_exec_time - then.total_exec_time).max(0.0),
                    plan_millis: one
                        .total_plan_time
                        .zip(then.total_plan_time)
                        .map(|(now, then)| (now - then).max(0.0)),
                    jit_millis: (jit(one) - jit(then)).max(0.0),
                    rows: grown(one.rows, then.rows)?,
                })
            };
            Ok(now.iter().filter_map(since).collect())
        }
        Err(why) if needs_window || evidence.before.is_some() => Err(why),
        Err(_) => Ok(visible.iter().map(total).collect()),
    }
}

fn about(evidence: &Evidence<'_>, result: CheckResult, one: &ServerStatement) -> CheckResult {
    let Some(id) = one.queryid else { return result };
    let text = evidence.now.statement_texts.get(&id);
    let summary = match text {
        Some(text) => format!("{}: {}", result.summary, shortened(text)),
        None => result.summary.clone(),
    };
    result.about(Subject::new(SubjectKind::Statement, id.to_string())).saying(summary)
}

/// The beginning of a statement in its normal form.
fn shortened(text: &str) -> String {
    const LONGEST: usize = 200;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{} …", &text[..end]),
        None => text.to_owned(),
    }
}

fn slow(evidence: &Evidence<'_>) -> Findings {
    let mut all = spent(evidence, false)?;
    all.retain(|one| one.calls >= ENOUGH_CALLS);
    all.sort_by(|a, b| b.millis.total_cmp(&a.millis));
    let judge = |one: &Spent<'_>| {
        let mean = one.millis / one.calls;
        let status = MEAN.exceeded(mean)?;
        let text = format!("{mean:.1} ms on average over {} executions", one.calls);
        Some(about(
            evidence,
            finding(status, text).figure("mean", mean, "ms").figure("calls", one.calls, "{call}").fix(
                "EXPLAIN (ANALYZE, BUFFERS) …",
                "EXPLAIN ANALYZE runs the statement: take a replica, or a transaction that you roll back",
            ),
            one.statement,
        ))
    };
    Ok(all.iter().filter_map(judge).collect())
}

fn load_share(evidence: &Evidence<'_>) -> Findings {
    let all = spent(evidence, true)?;
    let total: f64 = all.iter().map(|one| one.millis).sum();
    if total < ENOUGH_TIME {
        return Ok(Vec::new());
    }
    let judge = |one: &Spent<'_>| {
        let share = 100.0 * one.millis / total;
        let status = SHARE.exceeded(share)?;
        let text = format!("one statement takes {share:.0} % of all execution time");
        let result = finding(status, text)
            .figure("share", share, "%")
            .figure("calls", one.calls, "{call}")
            .figure("mean", one.millis / one.calls.max(1.0), "ms");
        Some(about(evidence, result, one.statement))
    };
    Ok(all.iter().filter_map(judge).collect())
}

fn temporary_files(evidence: &Evidence<'_>) -> Findings {
    let (now, before, seconds) = evidence.window(|look| &look.databases)?;
    let mut found = Vec::new();
    for one in now {
        let Some(past) = before.iter().find(|past| past.datid == one.datid) else { continue };
        same_reset(one.stats_reset, past.stats_reset)?;
        let bytes = grown_maybe(one.temp_bytes, past.temp_bytes).unwrap_or(0.0);
        // Less than an hour is not taken for more than it was.
        let hourly = bytes * 3_600.0 / seconds.max(3_600.0);
        if let Some(status) = SPILL.exceeded(hourly) {
            let files = grown_maybe(one.temp_files, past.temp_files).unwrap_or(0.0);
            let text = format!(
                "{} in {files} temporary files within {}, in {}",
                amount(bytes, "By"),
                amount(seconds, "s"),
                one.datname
            );
            found.push(
                finding(status, text)
                    .about(Subject::new(SubjectKind::Database, one.datname.clone()))
                    .figure("written", bytes, "By")
                    .figure("files", files, "{file}")
                    .figure("window", seconds, "s")
                    .fix(
                        "ALTER ROLE the_role SET work_mem = '64MB'",
                        "each sort and hash of each session may take so much: raise it for one role, not for all. \
                         log_temp_files tells which statements they are",
                    ),
            );
        }
    }
    Ok(found)
}

fn rows_per_call(evidence: &Evidence<'_>) -> Findings {
    let mut all = spent(evidence, false)?;
    all.retain(|one| one.calls >= 1.0 && one.millis / one.calls >= WORTH_A_LOOK);
    all.sort_by(|a, b| b.millis.total_cmp(&a.millis));
    let judge = |one: &Spent<'_>| {
        let rows = one.rows / one.calls;
        let status = ROWS.exceeded(rows)?;
        let text = format!("{rows:.0} rows in one execution");
        let result = finding(status, text)
            .figure("rows", rows, "{row}")
            .figure("calls", one.calls, "{call}")
            .fix("… ORDER BY id LIMIT 1000", "page by key, or stream: db.stream(…) keeps memory flat");
        Some(about(evidence, result, one.statement))
    };
    Ok(all.iter().filter_map(judge).collect())
}

fn evicted(evidence: &Evidence<'_>) -> Findings {
    let (now, before, seconds) = evidence.window(|look| &look.statements_info)?;
    same_reset(now.stats_reset, before.stats_reset)?;
    let dropped = grown_maybe(now.dealloc, before.dealloc).ok_or("this server does not count it")?;
    Ok(EVICTED
        .exceeded(dropped * 3_600.0 / seconds.max(3_600.0))
        .map(|status| {
            let text = format!(
                "pg_stat_statements dropped statements {dropped} times within {}",
                amount(seconds, "s")
            );
            finding(status, text).figure("dropped", dropped, "{drop}").figure("window", seconds, "s").fix(
                "ALTER SYSTEM SET pg_stat_statements.max = 20000",
                "it takes a restart; look first whether texts differ for want of parameters",
            )
        })
        .into_iter()
        .collect())
}

fn planning_time(evidence: &Evidence<'_>) -> Findings {
    let mut all = spent(evidence, false)?;
    all.retain(|one| one.calls >= ENOUGH_CALLS && one.millis > 0.0);
    all.sort_by(|a, b| b.millis.total_cmp(&a.millis));
    let mut found = Vec::new();
    for one in &all {
        let planning = one.plan_millis.map_or(0.0, |plan| 100.0 * plan / one.millis);
        let compiling = 100.0 * one.jit_millis / one.millis;
        let total = one.plan_millis.unwrap_or(0.0) + one.millis;
        if total / one.calls < WORTH_A_LOOK {
            continue;
        }
        let (status, text, fix) = if let Some(status) = JIT.exceeded(compiling) {
            (
                status,
                format!("{compiling:.0} % of the time is spent compiling"),
                "ALTER ROLE the_role SET jit = off",
            )
        } else if let Some(status) = PLANNING.exceeded(planning) {
            let text = format!("planning takes {planning:.0} % of what execution takes");
            (status, text, "ALTER ROLE the_role SET plan_cache_mode = 'force_generic_plan'")
        } else {
            continue;
        };
        let result =
            finding(status, text).figure("planning", planning, "%").figure("compiling", compiling, "%").fix(
                fix,
                "it applies to new sessions of the role; compare with EXPLAIN (ANALYZE) before and after",
            );
        found.push(about(evidence, result, one.statement));
    }
    Ok(found)
}

fn db_load(evidence: &Evidence<'_>) -> Findings {
    evidence.sees_all()?;
    let active = known(&evidence.now.activity)?
        .iter()
        .filter(|one| one.state.as_deref() == Some("active"))
        .filter(|one| {
            one.backend_type
                .as_deref()
                .is_none_or(|kind| matches!(kind, "client backend" | "parallel worker"))
        })
        // Who waits for a lock or for its client costs the server nothing.
        .filter(|one| !matches!(one.wait_event_type.as_deref(), Some("Lock" | "Client")))
        .count() as f64;
    let cores = evidence.cores.ok_or("how many cores the server has is not known: say it with --cores")?;
    let each = active / f64::from(cores).max(1.0);
    Ok(LOAD
        .exceeded(each)
        .map(|status| {
            let text = format!("{active} sessions are active on {cores} cores");
            let status = if status == CheckStatus::Critical { status } else { CheckStatus::Warn };
            finding(status, text)
                .figure("active", active, "{session}")
                .figure("cores", f64::from(cores), "{core}")
                .fix(
                    TOP,
                    "look at the statements that take most of the time, and let fewer sessions run at a time",
                )
        })
        .into_iter()
        .collect())
}
