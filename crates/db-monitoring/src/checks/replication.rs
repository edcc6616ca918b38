//! Checks of replication: how far standbys are behind, what slots hold back, and whether the log is archived.

use db_core::CheckStatus;

use crate::checks::bound::NEVER;
use crate::checks::evidence::known;
use crate::checks::{Bound, Check, Evidence, Findings, finding, literal, unknown};
use crate::server::ServerRole;
use crate::{Subject, SubjectKind, amount};

const LAG: Bound = Bound { of: "lag of a standby", warn: 10.0, critical: 60.0, unit: "s" };
const LAG_BYTES: Bound = Bound {
    of: "log that a standby has not replayed",
    warn: 104_857_600.0,
    critical: 1_073_741_824.0,
    unit: "By",
};
const SILENT: Bound =
    Bound { of: "time since the sender was last heard of", warn: 60.0, critical: 300.0, unit: "s" };
const INACTIVE: Bound = Bound { of: "time that nobody uses a slot", warn: 900.0, critical: NEVER, unit: "s" };
const RETAINED: Bound =
    Bound { of: "log that a slot retains", warn: 1_073_741_824.0, critical: 10_737_418_240.0, unit: "By" };
const ARCHIVED: Bound = Bound {
    of: "time since a file was archived, while there are failures",
    warn: 0.0,
    critical: 900.0,
    unit: "s",
};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "replication-lag",
        title: "Standbys that fall behind",
        looks_at: "on a primary each sender; on a standby its own replay, which is behind only if it received what it has not \
                   replayed. A standby without a sender that it hears, or with a paused replay, is named.",
        bounds: &[&LAG, &LAG_BYTES, &SILENT],
        well: "no standby is behind",
        sql: "SELECT application_name, state, replay_lag, pg_wal_lsn_diff(sent_lsn, replay_lsn) FROM pg_stat_replication",
        judge: lag,
    },
    Check {
        id: "slots",
        title: "Slots that hold back the log",
        looks_at: "replication slots that nobody uses, that retain much of the log, or that lost what they need.",
        bounds: &[&INACTIVE, &RETAINED],
        well: "no slot holds back much of the log",
        sql: "SELECT slot_name, active, wal_status, restart_lsn FROM pg_replication_slots",
        judge: slots,
    },
    Check {
        id: "archiver",
        title: "The log's archive",
        looks_at: "whether the last attempt to archive a file failed, and for how long nothing was archived since.",
        bounds: &[&ARCHIVED],
        well: "the log is archived",
        sql: "SELECT last_archived_time, last_failed_time, failed_count FROM pg_stat_archiver",
        judge: archiver,
    },
];

fn lag(evidence: &Evidence<'_>) -> Findings {
    evidence.sees_all()?;
    match evidence.server()?.role {
        ServerRole::Primary => of_senders(evidence),
        ServerRole::Standby => {
            let mut found = of_replay(evidence)?;
            // A standby may have standbys of its own.
            found.extend(of_senders(evidence)?);
            Ok(found)
        }
    }
}

fn of_senders(evidence: &Evidence<'_>) -> Findings {
    let position = known(&evidence.now.position)?;
    let ahead = position.current.or(position.replayed);
    let mut found = Vec::new();
    for one in known(&evidence.now.senders)? {
        // A base backup is a sender as well.
        if one.state.as_deref() == Some("backup") {
            continue;
        }
        let name = one
            .application_name
            .clone()
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| one.pid.to_string());
        let (Some(ahead), Some(replayed)) = (ahead, one.replayed) else {
            found.push(unknown(format!("how far {name} is: it has not said yet")).about(standby(&name)));
            continue;
        };
        let bytes = (ahead - replayed).max(0) as f64;
        // The server keeps the last lag that it measured, also of one that has caught up since.
        let seconds = if bytes > 0.0 { one.replay_lag.unwrap_or(0.0) } else { 0.0 };
        if let Some(status) = worse(LAG.verdict(seconds), LAG_BYTES.verdict(bytes)) {
            let text = format!("{name} is {} and {} behind", amount(seconds, "s"), amount(bytes, "By"));
            found.push(
                finding(status, text).about(standby(&name)).figure("lag", seconds, "s").figure("behind", bytes, "By").fix(
                    "SELECT * FROM pg_stat_replication",
                    "sent but not flushed: network or disk; flushed but not replayed: a query on the standby, or its disk",
                ),
            );
        }
    }
    Ok(found)
}

fn of_replay(evidence: &Evidence<'_>) -> Findings {
    let position = known(&evidence.now.position)?;
    let mut found = Vec::new();
    if position.replay_paused == Some(true) {
        found.push(finding(CheckStatus::Warn, "replay is paused: what this standby answers grows old").fix(
            "SELECT pg_wal_replay_resume()",
            "be sure that nobody paused it on purpose, for a backup or a look back",
        ));
    }
    let bytes = position
        .received
        .zip(position.replayed)
        .map(|(received, replayed)| (received - replayed).max(0) as f64);
    let behind = bytes.is_some_and(|bytes| bytes > 0.0);
    // An idle primary writes nothing: only what was received and not replayed is behind.
    let seconds = if behind { position.last_replayed_age.unwrap_or(0.0).max(0.0) } else { 0.0 };
    if let Some(status) = worse(LAG.verdict(seconds), LAG_BYTES.verdict(bytes.unwrap_or(0.0))) {
        let text = format!(
            "this standby is {} and {} behind what it received",
            amount(seconds, "s"),
            amount(bytes.unwrap_or(0.0), "By")
        );
        found.push(finding(status, text).figure("lag", seconds, "s").figure(
            "behind",
            bytes.unwrap_or(0.0),
            "By",
        ));
    }
    match evidence.now.receiver.get() {
        Ok(receiver) => {
            let silent = receiver.last_message_age.unwrap_or(0.0);
            if let Some(status) = SILENT.exceeded(silent) {
                let text = format!(
                    "the sender was last heard of {} ago: how far behind this standby is, is not known",
                    amount(silent, "s")
                );
                found.push(finding(status, text).figure("silent", silent, "s"));
            }
        }
        Err(skipped) => {
            // It may read from the archive on purpose; it does not know then how far the primary is.
            let text = format!(
                "nothing is received from a primary ({}): how far behind this standby is, is not known",
                skipped.detail
            );
            found.push(finding(CheckStatus::Warn, text));
        }
    }
    Ok(found)
}

fn worse(one: CheckStatus, other: CheckStatus) -> Option<CheckStatus> {
    let both = [one, other];
    if both.contains(&CheckStatus::Critical) {
        Some(CheckStatus::Critical)
    } else {
        both.contains(&CheckStatus::Warn).then_some(CheckStatus::Warn)
    }
}

fn standby(name: &str) -> Subject {
    Subject::new(SubjectKind::Standby, name)
}

fn slots(evidence: &Evidence<'_>) -> Findings {
    let mut found = Vec::new();
    for one in known(&evidence.now.slots)? {
        // A standby's copy of a slot is never in use there.
        if one.synced == Some(true) {
            continue;
        }
        let retained = one.retained.unwrap_or(0).max(0) as f64;
        let status = one.wal_status.as_deref().unwrap_or("");
        let unused = one.active == Some(false);
        let inactive = if unused { one.inactive_age.unwrap_or(0.0) } else { 0.0 };
        let (verdict, why) = if status == "lost" || one.invalidation_reason.is_some() {
            let why = one.invalidation_reason.as_deref().unwrap_or("the log that it needs is gone");
            (CheckStatus::Critical, format!("is invalid ({why}): its consumer must begin anew"))
        } else if status == "unreserved" {
            (CheckStatus::Critical, "is about to lose the log that it needs".to_owned())
        } else if let Some(verdict) = worse(RETAINED.verdict(retained), CheckStatus::Ok) {
            let who = if unused { "nobody uses it" } else { "its consumer is slow" };
            (verdict, format!("retains {} of the log: {who}", amount(retained, "By")))
        } else if let Some(verdict) = INACTIVE.exceeded(inactive) {
            (verdict, format!("has not been used for {}", amount(inactive, "s")))
        } else if unused && one.inactive_age.is_none() && retained > 0.0 && one.temporary != Some(true) {
            // Until 16 the server does not say since when.
            (CheckStatus::Warn, format!("is not in use and retains {} of the log", amount(retained, "By")))
        } else {
            continue;
        };
        found.push(
            finding(verdict, format!("the slot {:?} {why}", one.slot_name))
                .about(Subject::new(SubjectKind::Slot, one.slot_name.clone()))
                .figure("retained", retained, "By")
                .figure("inactive", inactive, "s")
                .fix(
                    format!("SELECT pg_drop_replication_slot({})", literal(&one.slot_name)),
                    "its consumer loses its place: start it again if it is still wanted; max_slot_wal_keep_size bounds what a slot \
                     may retain",
                ),
        );
    }
    Ok(found)
}

fn archiver(evidence: &Evidence<'_>) -> Findings {
    let mode = evidence.setting_row("archive_mode")?.setting.as_deref().unwrap_or("off");
    if mode == "off" {
        return Err("this server archives nothing: archive_mode is off".to_owned());
    }
    if mode == "on" {
        evidence.primary().map_err(|_| "a standby archives nothing with archive_mode = on".to_owned())?;
    }
    let one = known(&evidence.now.archiver)?;
    let failed = one.last_failed_age;
    let archived = one.last_archived_age;
    let last_failed = match (failed, archived) {
        (Some(failed), Some(archived)) => failed < archived,
        (Some(_), None) => true,
        (None, _) => false,
    };
    if !last_failed {
        return Ok(Vec::new());
    }
    let since = archived.or(failed).unwrap_or(0.0);
    let status = if ARCHIVED.verdict(since) == CheckStatus::Critical {
        CheckStatus::Critical
    } else {
        CheckStatus::Warn
    };
    let file = one.last_failed_wal.as_deref().unwrap_or("a file");
    let text = format!(
        "archiving {file} fails, and nothing was archived for {}: the log grows on the disk",
        amount(since, "s")
    );
    Ok(vec![
        finding(status, text)
            .figure("since", since, "s")
            .figure("failures", one.failed_count.unwrap_or(0) as f64, "{failure}")
            .fix(
                "dbctl wal check",
                "the server's log says what the command answered; nothing is lost while the disk has room",
            ),
    ])
}
