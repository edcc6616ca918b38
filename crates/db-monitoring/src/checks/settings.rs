//! Checks of settings: those that risk data, those that wait for a restart, and those that evidence speaks
//! against.

use std::collections::BTreeMap;

use db_core::CheckStatus;

use crate::checks::evidence::known;
use crate::checks::{Check, Evidence, Findings, finding, unknown};
use crate::{Subject, SubjectKind};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "unsafe-settings",
        title: "Settings that risk data, or wait for a restart",
        looks_at: "fsync and full_page_writes, which must be on; data_checksums, without which damage goes unseen; settings that take \
                   effect only after a restart.",
        bounds: &[],
        well: "no setting risks data, and none waits for a restart",
        sql: "SELECT name, setting, pending_restart FROM pg_settings WHERE pending_restart OR name IN \
              ('fsync', 'full_page_writes', 'data_checksums')",
        judge: unsafe_settings,
    },
    Check {
        id: "settings-drift",
        title: "Settings that changed",
        looks_at: "the server's settings in both looks.",
        bounds: &[],
        well: "no setting changed",
        sql: "SELECT name, setting, source FROM pg_settings WHERE source <> 'default'",
        judge: drift,
    },
    Check {
        id: "settings-advice",
        title: "Settings that hide what happens, or let it go on for ever",
        looks_at: "track_io_timing, compute_query_id, log_lock_waits, idle_in_transaction_session_timeout, and shared_buffers at its \
                   default of 128 MiB.",
        bounds: &[],
        well: "the settings let you see what happens",
        sql: "SELECT name, setting FROM pg_settings WHERE name IN ('track_io_timing', 'compute_query_id', 'log_lock_waits', \
              'idle_in_transaction_session_timeout', 'shared_buffers')",
        judge: advice,
    },
    Check {
        id: "extensions",
        title: "Extensions that are out of date",
        looks_at: "extensions whose installed version is not the one that the server's programs bring, and whether \
                   pg_stat_statements is there.",
        bounds: &[],
        well: "extensions are up to date",
        sql: "SELECT name, installed_version, default_version FROM pg_available_extensions WHERE installed_version IS NOT NULL",
        judge: extensions,
    },
];

/// Name, value that is well, status otherwise, what it means, fix, safe way.
type Rule = (&'static str, &'static str, CheckStatus, &'static str, &'static str, &'static str);

const RULES: [Rule; 3] = [
    (
        "fsync",
        "on",
        CheckStatus::Critical,
        "fsync is off: a crash of the machine destroys the database",
        "ALTER SYSTEM SET fsync = on; SELECT pg_reload_conf()",
        "take a backup afterwards: what was written before may be damaged",
    ),
    (
        "full_page_writes",
        "on",
        CheckStatus::Critical,
        "full_page_writes is off: a crash in the middle of a page destroys it",
        "ALTER SYSTEM SET full_page_writes = on; SELECT pg_reload_conf()",
        "off is right only on a file system that writes 8 kB as one, such as ZFS",
    ),
    (
        "data_checksums",
        "on",
        CheckStatus::Warn,
        "data_checksums is off: damage of the disk goes unseen until it is in every backup",
        "pg_checksums --enable",
        "the server must be stopped, and it reads all files: do the standbys first",
    ),
];

fn unsafe_settings(evidence: &Evidence<'_>) -> Findings {
    let mut found = Vec::new();
    for (name, well, status, text, fix, safely) in RULES {
        let row = match evidence.setting_row(name) {
            Ok(row) => row,
            Err(why) => {
                found.push(unknown(why).about(Subject::new(SubjectKind::Setting, name)));
                continue;
            }
        };
        match row.setting.as_deref() {
            Some(value) if value == well => {}
            Some(_) => found
                .push(finding(status, text).about(Subject::new(SubjectKind::Setting, name)).fix(fix, safely)),
            None => found.push(unknown(format!("{name} is not for this role"))),
        }
    }
    for row in known(&evidence.now.settings)?.iter().filter(|row| row.pending_restart == Some(true)) {
        found.push(
            finding(CheckStatus::Warn, format!("{} was changed and waits for a restart", row.name))
                .about(Subject::new(SubjectKind::Setting, row.name.clone()))
                .fix(
                    "pg_ctl restart",
                    "a restart ends all sessions: promote a standby first, if there is one",
                ),
        );
    }
    Ok(found)
}

fn drift(evidence: &Evidence<'_>) -> Findings {
    let now = known(&evidence.now.settings)?;
    let before = evidence.before.ok_or("it compares two looks: let it run longer, or use --window")?;
    let past: BTreeMap<_, _> = known(&before.settings)?.iter().map(|row| (&row.name, &row.setting)).collect();
    let changed = now.iter().filter(|row| past.get(&row.name).is_some_and(|past| **past != row.setting));
    let one = |row: &crate::server::ServerSetting| {
        // What a person sets may be secret: only the name is told.
        finding(CheckStatus::Warn, format!("{} was changed between the two looks", row.name))
            .about(Subject::new(SubjectKind::Setting, row.name.clone()))
    };
    Ok(changed.map(one).collect())
}

/// A setting, when it is well, what is said where it is not, the fix, and how to run it.
type Advice = (&'static str, fn(&str) -> bool, &'static str, &'static str, &'static str);

fn advice(evidence: &Evidence<'_>) -> Findings {
    let mut found = Vec::new();
    let rules: [Advice; 5] = [
        (
            "track_io_timing",
            |value| value == "on",
            "track_io_timing is off: nobody knows how long reads take",
            "ALTER SYSTEM SET track_io_timing = on; SELECT pg_reload_conf()",
            "pg_test_timing says what the clock costs; nearly nothing on today's machines",
        ),
        (
            "compute_query_id",
            |value| value != "off",
            "compute_query_id is off: sessions cannot be told by their statement",
            "ALTER SYSTEM SET compute_query_id = auto; SELECT pg_reload_conf()",
            "it costs little, and pg_stat_statements needs it",
        ),
        (
            "log_lock_waits",
            |value| value == "on",
            "log_lock_waits is off: the log does not say who waited for whom",
            "ALTER SYSTEM SET log_lock_waits = on; SELECT pg_reload_conf()",
            "the log then holds the texts of statements that wait, with their constants",
        ),
        (
            "idle_in_transaction_session_timeout",
            |value| value != "0",
            "idle_in_transaction_session_timeout is 0: a forgotten transaction keeps its locks for ever",
            "ALTER ROLE the_role SET idle_in_transaction_session_timeout = '60s'",
            "it applies to new sessions of the role; tools that hold transactions open on purpose need another role",
        ),
        (
            "shared_buffers",
            |value| value != "16384",
            "shared_buffers is at its default of 128 MiB",
            "ALTER SYSTEM SET shared_buffers = '2GB'",
            "a quarter of the memory is usual; it takes a restart",
        ),
    ];
    for (name, well, text, fix, safely) in rules {
        let Ok(row) = evidence.setting_row(name) else {
            found.push(unknown(format!("this server does not say what {name} is")));
            continue;
        };
        let subject = Subject::new(SubjectKind::Setting, name);
        match row.setting.as_deref() {
            Some(value) if well(value) => {}
            Some(_) => found.push(finding(CheckStatus::Warn, text).about(subject).fix(fix, safely)),
            None => found.push(unknown(format!("{name} is not for this role")).about(subject)),
        }
    }
    Ok(found)
}

fn extensions(evidence: &Evidence<'_>) -> Findings {
    let mut found = Vec::new();
    for (name, database) in &evidence.now.by_database {
        let extensions = known(&database.extensions)?;
        for one in extensions {
            let Some(newest) = one.default_version.as_deref().filter(|newest| *newest != one.extversion)
            else {
                continue;
            };
            let text = format!("{} {} in {name} could be {newest}", one.extname, one.extversion);
            found.push(
                finding(CheckStatus::Warn, text)
                    .about(Subject::new(SubjectKind::Extension, format!("{name}.{}", one.extname)))
                    .fix(
                        format!("ALTER EXTENSION {} UPDATE", crate::checks::quoted(&one.extname)),
                        "read the extension's notes first; try it on a copy",
                    ),
            );
        }
        if !extensions.iter().any(|one| one.extname == "pg_stat_statements") {
            found.push(
                finding(
                    CheckStatus::Warn,
                    format!("{name} has no pg_stat_statements: nobody knows which statements take the time"),
                )
                .about(Subject::new(SubjectKind::Extension, format!("{name}.pg_stat_statements")))
                .fix(
                    "dbctl monitor setup --plan",
                    "it takes a restart where the server does not load it yet",
                ),
            );
        }
    }
    if evidence.now.by_database.is_empty() {
        Err("no database was looked at yet".to_owned())
    } else {
        Ok(found)
    }
}
