//! Checks of the server as a whole: cache hits, checkpoints, backends that write, rollbacks and failures.

use db_core::CheckStatus;

use crate::checks::bound::NEVER;
use crate::checks::evidence::{grown, grown_maybe, known, same_reset};
use crate::checks::{Bound, Check, Evidence, Findings, finding, unknown};
use crate::{Subject, SubjectKind, amount};

const MISSES: Bound =
    Bound { of: "pages that were not in shared_buffers", warn: 1.0, critical: 10.0, unit: "%" };
const REQUESTED: Bound =
    Bound { of: "checkpoints because the log was full", warn: 50.0, critical: NEVER, unit: "%" };
const FSYNCS: Bound =
    Bound { of: "files that backends had to fsync in an hour", warn: 0.0, critical: NEVER, unit: "{fsync}" };
const ROLLBACKS: Bound =
    Bound { of: "transactions that are rolled back", warn: 10.0, critical: NEVER, unit: "%" };

/// Fewer pages in a minute are not worth a word.
const ENOUGH_READS: f64 = 1_000.0;
/// Fewer checkpoints are no share.
const ENOUGH_CHECKPOINTS: f64 = 4.0;
/// Fewer transactions in a second are no share.
const ENOUGH_TRANSACTIONS: f64 = 10.0;

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "cache-hits",
        title: "Reads that miss the cache",
        looks_at: "pages between two looks, by database, where more than 1,000 a minute were read. The kernel's cache is not seen.",
        bounds: &[&MISSES],
        well: "nearly all pages are read from the cache",
        sql: "SELECT datname, blks_hit, blks_read FROM pg_stat_database",
        judge: cache_hits,
    },
    Check {
        id: "checkpoints",
        title: "Checkpoints that come too early",
        looks_at: "checkpoints between two looks that were asked for, because max_wal_size was reached or by hand.",
        bounds: &[&REQUESTED],
        well: "checkpoints come when they are due",
        sql: "SELECT * FROM pg_stat_bgwriter",
        judge: checkpoints,
    },
    Check {
        id: "backend-fsyncs",
        title: "Backends that write files themselves",
        looks_at: "fsyncs that sessions had to do because the checkpointer's queue was full, between two looks.",
        bounds: &[&FSYNCS],
        well: "sessions leave writing to the background",
        sql: "SELECT * FROM pg_stat_bgwriter",
        judge: backend_fsyncs,
    },
    Check {
        id: "rollbacks",
        title: "Rollbacks, lost sessions and damaged pages",
        looks_at: "between two looks, by database: rollbacks where there are more than 10 transactions a second, sessions that the \
                   server ended or lost, statements that replay cancelled. Pages with a wrong checksum are critical.",
        bounds: &[&ROLLBACKS],
        well: "few transactions fail, and no session was lost",
        sql: "SELECT datname, xact_commit, xact_rollback, conflicts, checksum_failures FROM pg_stat_database",
        judge: rollbacks,
    },
];

fn cache_hits(evidence: &Evidence<'_>) -> Findings {
    let (now, before, seconds) = evidence.window(|look| &look.databases)?;
    let mut found = Vec::new();
    for one in now {
        let Some(past) = before.iter().find(|past| past.datid == one.datid) else { continue };
        same_reset(one.stats_reset, past.stats_reset)?;
        let (Some(hit), Some(read)) =
            (grown(one.blks_hit, past.blks_hit), grown(one.blks_read, past.blks_read))
        else {
            continue;
        };
        if (hit + read) * 60.0 / seconds < ENOUGH_READS {
            continue;
        }
        let misses = 100.0 * read / (hit + read).max(1.0);
        let Some(status) = MISSES.exceeded(misses) else { continue };
        let text = format!("{misses:.1} % of the pages that {} read were not in the cache", one.datname);
        found.push(
            finding(status, text)
                .about(Subject::new(SubjectKind::Database, one.datname.clone()))
                .figure("misses", misses, "%")
                .figure("read", read, "{page}")
                .figure("window", seconds, "s")
                .fix(
                    "SELECT queryid, shared_blks_read FROM pg_stat_statements ORDER BY 2 DESC LIMIT 20",
                    "look first for a missing index; shared_buffers of a quarter of the memory is usual, and takes a restart",
                ),
        );
    }
    Ok(found)
}

fn checkpoints(evidence: &Evidence<'_>) -> Findings {
    evidence.primary()?;
    let (now, before, seconds) = evidence.window(|look| &look.checkpointer)?;
    same_reset(now.stats_reset, before.stats_reset)?;
    let timed =
        grown_maybe(now.num_timed, before.num_timed).ok_or("this server does not count checkpoints")?;
    let requested = grown_maybe(now.num_requested, before.num_requested)
        .ok_or("this server does not count checkpoints")?;
    if timed + requested < ENOUGH_CHECKPOINTS {
        return Ok(Vec::new());
    }
    let share = 100.0 * requested / (timed + requested);
    Ok(REQUESTED
        .exceeded(share)
        .map(|status| {
            let text = format!(
                "{requested} of {} checkpoints within {} were asked for",
                timed + requested,
                amount(seconds, "s")
            );
            finding(status, text)
                .figure("requested", requested, "{checkpoint}")
                .figure("timed", timed, "{checkpoint}")
                .figure("window", seconds, "s")
                .fix(
                    "ALTER SYSTEM SET max_wal_size = '8GB'; SELECT pg_reload_conf()",
                    "it needs no restart; the disk of the log must have the room",
                )
        })
        .into_iter()
        .collect())
}

fn backend_fsyncs(evidence: &Evidence<'_>) -> Findings {
    let of_io = evidence.window(|look| &look.io).map(|(now, before, seconds)| {
        let sum = |rows: &[crate::server::IoStats]| {
            let clients =
                rows.iter().filter(|one| one.backend_type == "client backend" && one.object == "relation");
            clients.filter_map(|one| one.fsyncs).sum::<i64>()
        };
        let reset = |rows: &[crate::server::IoStats]| rows.first().and_then(|one| one.stats_reset);
        same_reset(reset(now), reset(before)).map(|()| (grown(sum(now), sum(before)), seconds))
    });
    let (fsyncs, seconds) = match of_io {
        Ok(answer) => answer?,
        // Until 15 there is no pg_stat_io.
        Err(_) => {
            let (now, before, seconds) = evidence.window(|look| &look.bgwriter)?;
            same_reset(now.stats_reset, before.stats_reset)?;
            (grown_maybe(now.buffers_backend_fsync, before.buffers_backend_fsync), seconds)
        }
    };
    let fsyncs = fsyncs.ok_or("this server does not count them")?;
    Ok(FSYNCS
        .exceeded(fsyncs * 3_600.0 / seconds.max(3_600.0))
        .map(|status| {
            let text = format!("sessions had to fsync {fsyncs} files within {}", amount(seconds, "s"));
            finding(status, text).figure("fsyncs", fsyncs, "{fsync}").figure("window", seconds, "s").fix(
                "ALTER SYSTEM SET checkpoint_completion_target = 0.9; SELECT pg_reload_conf()",
                "the checkpointer could not keep up: look at the disk, and at shared_buffers",
            )
        })
        .into_iter()
        .collect())
}

fn rollbacks(evidence: &Evidence<'_>) -> Findings {
    // A wrong checksum is no matter of rates.
    let mut found = Vec::new();
    for one in known(&evidence.now.databases)? {
        let failures = one.checksum_failures.unwrap_or(0);
        if failures > 0 {
            let text = format!(
                "{failures} pages of {} had a wrong checksum: the disk or the memory lies",
                one.datname
            );
            found.push(
                finding(CheckStatus::Critical, text)
                    .about(Subject::new(SubjectKind::Database, one.datname.clone()))
                    .figure("failures", failures as f64, "{page}")
                    .fix(
                        "pg_amcheck --all",
                        "take a backup to another place first, and keep all that you have; then restore",
                    ),
            );
        }
    }
    let (now, before, seconds) = match evidence.window(|look| &look.databases) {
        Ok(window) => window,
        Err(why) => {
            found.push(unknown(why));
            return Ok(found);
        }
    };
    for one in now {
        let Some(past) = before.iter().find(|past| past.datid == one.datid) else { continue };
        if let Err(why) = same_reset(one.stats_reset, past.stats_reset) {
            found.push(unknown(why).about(Subject::new(SubjectKind::Database, one.datname.clone())));
            continue;
        }
        let (Some(committed), Some(rolled_back)) =
            (grown(one.xact_commit, past.xact_commit), grown(one.xact_rollback, past.xact_rollback))
        else {
            continue;
        };
        let subject = || Subject::new(SubjectKind::Database, one.datname.clone());
        let share = 100.0 * rolled_back / (committed + rolled_back).max(1.0);
        if (committed + rolled_back) / seconds > ENOUGH_TRANSACTIONS
            && let Some(status) = ROLLBACKS.exceeded(share)
        {
            found.push(
                finding(
                    status,
                    format!("{share:.0} % of the transactions in {} are rolled back", one.datname),
                )
                .about(subject())
                .figure("rollbacks", share, "%")
                .figure("window", seconds, "s"),
            );
        }
        for (now, past, what) in [
            (one.sessions_fatal, past.sessions_fatal, "sessions ended by an error of the server"),
            (one.sessions_abandoned, past.sessions_abandoned, "sessions whose client vanished"),
            (one.conflicts, past.conflicts, "statements that replay cancelled"),
        ] {
            let count = grown_maybe(now, past).unwrap_or(0.0);
            if count > 0.0 {
                let text = format!("{count} {what} in {} within {}", one.datname, amount(seconds, "s"));
                let result = finding(CheckStatus::Warn, text)
                    .figure("count", count, "1")
                    .figure("window", seconds, "s");
                let name = format!("{}: {what}", one.datname);
                found.push(result.about(Subject::new(SubjectKind::Database, name)));
            }
        }
    }
    Ok(found)
}
