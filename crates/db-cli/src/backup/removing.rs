//! `dbctl backup expire` and `dbctl backup delete`.

use std::fmt::Write as _;
use std::process::ExitCode;

use db_platform::backup::{AuditAction, Cluster, Expired, Expiry, Reason};
use serde_json::{Value, json};

use crate::args::Options;
use crate::backup_args::{Delete, Expire};
use crate::error::CliError;
use crate::hooks::{Hooked, Outcome};
use crate::repository::{self, BackupSettings};
use crate::table::table;
use crate::{ask, audit, hooks, say};

pub(crate) async fn expire(command: &Expire, options: &Options) -> Result<ExitCode, CliError> {
    let settings = BackupSettings::read(options)?;
    let opened = settings.open().await?;
    let cluster = repository::cluster(&opened, command.of.cluster).await?;
    let expiry = cluster.expiry(&settings.retention).await?;
    if command.plan {
        say::result(options.json, &text(&expiry), &value(&expiry));
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("{}", text(&expiry));
    let goes = !expiry.plan.remove.is_empty() && expiry.plan.held_back.is_none();
    if goes && !ask::agreed(command.yes, "These backups are removed for good.").await {
        return Err(CliError::NotAgreed { what: "backups would be removed", flag: "--yes" });
    }
    let Hooked { value: expired, after } = once(&cluster, &expiry, &settings).await?;
    let ids = |ids: &[db_platform::backup::BackupId]| ids.iter().map(ToString::to_string).collect::<Vec<_>>();
    let value = json!({
        "marked": ids(&expired.marked),
        "removed": ids(&expired.removed),
        "log_files": expired.wal,
        "garbage": expired.garbage,
        "tails": expired.tails,
        "rehearsals": expired.rehearsals,
        "locked": expired.locked,
        "held_back": expiry.plan.held_back,
    });
    say::result(options.json, &sentence(&expired), &value);
    hooks::status(after, true)
}

/// Does what was planned, between the operator's hooks.
pub(crate) async fn once(
    cluster: &Cluster,
    expiry: &Expiry,
    settings: &BackupSettings,
) -> Result<Hooked<Expired>, CliError> {
    let outcome = |_: &Expired| Outcome { backup: None, wrong: expiry.plan.held_back.clone() };
    let work = async {
        let expired = cluster.expire(expiry).await?;
        audit::record(cluster, AuditAction::Expire, None, &[("did", sentence(&expired))]).await;
        Ok(expired)
    };
    hooks::around(&settings.hooks, "expire", outcome, work).await
}

/// What an expiry did, in one line.
pub(crate) fn sentence(expired: &Expired) -> String {
    let mut said = format!(
        "{} backups marked, which go an hour from now at the earliest; {} removed, {} files of the log, {} objects of runs \
         that had crashed, {} pieces of the log that are whole by now, {} verdicts of rehearsals",
        expired.marked.len(),
        expired.removed.len(),
        expired.wal,
        expired.garbage,
        expired.tails,
        expired.rehearsals
    );
    if expired.locked > 0 {
        let _ = write!(said, "; the store itself keeps {} more for now", expired.locked);
    }
    said
}

pub(crate) async fn delete(command: &Delete, options: &Options) -> Result<ExitCode, CliError> {
    let opened = BackupSettings::read(options)?.open().await?;
    let cluster = repository::cluster(&opened, command.of.cluster).await?;
    let summary = repository::backup(&cluster, &command.backup).await?;
    let question = format!("{} is removed for good.", summary.id);
    if !ask::agreed(command.yes, &question).await {
        return Err(CliError::NotAgreed { what: "a backup would be removed", flag: "--yes" });
    }
    cluster.delete(&summary.id).await?;
    audit::record(&cluster, AuditAction::Delete, Some(&summary.id), &[]).await;
    say::result(options.json, &format!("{} is removed", summary.id), &json!({ "removed": summary.id }));
    Ok(ExitCode::SUCCESS)
}

fn text(expiry: &Expiry) -> String {
    let plan = &expiry.plan;
    let kept = plan.keep.iter().map(|(id, why)| {
        let why: Vec<String> = why.iter().map(reason).collect();
        vec!["keep".to_owned(), id.to_string(), why.join(", ")]
    });
    let removed = plan.remove.iter().map(|id| vec!["remove".to_owned(), id.to_string(), String::new()]);
    let rows: Vec<Vec<String>> = kept.chain(removed).collect();
    let mut lines = vec![table(&["", "BACKUP", "WHY"], &rows, &[])];
    lines.extend(plan.wal.since.map(|since| format!("the log is kept from {since} on")));
    lines.extend(plan.held_back.as_ref().map(|why| format!("nothing is removed: {why}")));
    if !expiry.crashed.is_empty() {
        lines.push(format!("{} runs that ended without a backup are cleaned up", expiry.crashed.len()));
    }
    lines.join("\n")
}

fn value(expiry: &Expiry) -> Value {
    let kept = expiry
        .plan
        .keep
        .iter()
        .map(|(id, why)| json!({ "backup": id, "why": why.iter().map(reason).collect::<Vec<_>>() }));
    json!({
        "keep": kept.collect::<Vec<_>>(),
        "remove": expiry.plan.remove,
        "log_since": expiry.plan.wal.since.map(|since| since.to_string()),
        "held_back": expiry.plan.held_back,
        "crashed": expiry.crashed,
    })
}

fn reason(reason: &Reason) -> String {
    match reason {
        Reason::Days => "of the last days".to_owned(),
        Reason::Last => "one of the newest".to_owned(),
        Reason::Hourly => "hourly".to_owned(),
        Reason::Daily => "daily".to_owned(),
        Reason::Weekly => "weekly".to_owned(),
        Reason::Monthly => "monthly".to_owned(),
        Reason::Pinned => "pinned".to_owned(),
        Reason::NeededBy(id) => format!("{id} builds on it"),
        Reason::InUse => "in use".to_owned(),
        Reason::Locked(until) => format!("locked until {}", until.format("%Y-%m-%d %H:%MZ")),
    }
}
