//! `dbctl backup restore`: the plan, the question, the restore, and its undoing.

use std::path::Path;
use std::process::ExitCode;

use db_platform::backup::restore::{
    Action, Existing, Plan, Purpose, RestoreConfig, Restored, Target, TimelineChoice, apply, plan, undo,
};
use db_platform::backup::{AuditAction, BackupId, Cluster};
use serde_json::json;

use super::list::{rows, size};
use super::{dumps, finish};
use crate::args::Options;
use crate::backup_args::{AtTarget, Restore};
use crate::error::CliError;
use crate::hooks::{Hooked, Outcome};
use crate::repository::{self, BackupSettings};
use crate::transfer::Transfer;
use crate::{ask, audit, hooks, say};

pub(crate) async fn run(command: &Restore, options: &Options) -> Result<ExitCode, CliError> {
    if let Some(into) = &command.into {
        return dumps::bring_back(command, into, options).await;
    }
    let to = command.to.as_deref().ok_or(CliError::NoDirectory)?;
    if command.wait.is_some() && command.then == AtTarget::Shutdown {
        return Err(CliError::NothingToAsk);
    }
    if command.undo {
        return back(command, to, options).await;
    }
    let settings = BackupSettings::read(options)?;
    let opened = settings.open().await?;
    let cluster = repository::cluster(&opened, command.of.cluster).await?;
    let config = config(command, to, options, &cluster).await?;
    let plan = plan(&cluster, &config).await?;
    if command.plan {
        say::result(options.json, &text(&plan, &config), &json!(plan));
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("{}", text(&plan, &config));
    agreed(command, to, "the directory is written").await?;
    let transfer = Transfer::begin();
    let observer = transfer.observer();
    let outcome = |restored: &Restored| Outcome { backup: Some(restored.backup.clone()), wrong: None };
    let work = async { Ok(apply(&cluster, &config, &plan, &observer).await?) };
    let restored = hooks::around(&settings.hooks, "restore", outcome, work).await;
    transfer.end();
    let Hooked { value: restored, after } = restored?;
    let details = [("to", to.display().to_string()), ("target", plan.target.clone())];
    audit::record(&cluster, AuditAction::Restore, Some(&restored.backup), &details).await;
    let kept = restored.kept_as.as_ref().map(|kept| format!("; what was there is in {}", kept.display()));
    let text = format!(
        "{} is restored to {}: {} fetched, {} were there already{}\nstart the server: it replays the log up to {}",
        restored.backup,
        restored.directory.display(),
        size(restored.fetched_bytes),
        size(restored.kept_bytes),
        kept.unwrap_or_default(),
        plan.target,
    );
    let value = json!({ "restored": restored, "target": plan.target, "timeline": plan.timeline });
    let Some(within) = command.wait else {
        say::result(options.json, &text, &value);
        return hooks::status(after, true);
    };
    eprintln!("{text}");
    let finished = finish::once(to, within, options).await?;
    let mut value = value;
    (value["reached"], value["tidied"]) = (json!(finished.reached), json!(finished.tidied));
    value["at_risk"] = json!(finished.at_risk);
    say::result(options.json, &say::coloured(&finished.text()), &value);
    hooks::status(after, finished.holds())
}

async fn back(command: &Restore, to: &Path, options: &Options) -> Result<ExitCode, CliError> {
    agreed(command, to, "what was restored is removed, and what was there before comes back").await?;
    undo(to)?;
    let text = format!("{} is as it was before the restore", to.display());
    say::result(options.json, &text, &json!({ "undone": to }));
    Ok(ExitCode::SUCCESS)
}

async fn agreed(command: &Restore, to: &Path, what: &'static str) -> Result<(), CliError> {
    let question = format!("{} at {}.", capital(what), to.display());
    if ask::agreed(command.yes, &question).await {
        Ok(())
    } else {
        Err(CliError::NotAgreed { what, flag: "--yes" })
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

async fn config(
    command: &Restore,
    to: &Path,
    options: &Options,
    cluster: &Cluster,
) -> Result<RestoreConfig, CliError> {
    let existing = match (command.force, command.overwrite) {
        (true, _) => Existing::KeepAside,
        (_, true) => Existing::Overwrite,
        _ => Existing::Refuse,
    };
    Ok(RestoreConfig {
        backup: chosen(command, cluster).await?,
        target: target(command)?,
        inclusive: !command.exclusive,
        timeline: command.timeline.map_or(TimelineChoice::Newest, TimelineChoice::Number),
        tablespaces: command.tablespace.iter().cloned().collect(),
        purpose: if command.in_place { Purpose::InPlace } else { Purpose::Copy },
        existing,
        restore_command: command.restore_command.clone().unwrap_or_else(|| restore_command(options)),
        action: match command.then {
            AtTarget::Promote => Action::Promote,
            AtTarget::Pause => Action::Pause,
            AtTarget::Shutdown => Action::Shutdown,
        },
        config_directory: command.config_dir.clone(),
        programs: command.pg_bin.clone(),
        workers: usize::from(command.workers),
        ..RestoreConfig::to(to)
    })
}

/// The backup that is named; at a terminal, the one that a person chooses where nothing says which.
async fn chosen(command: &Restore, cluster: &Cluster) -> Result<Option<BackupId>, CliError> {
    if let Some(named) = &command.backup {
        return Ok(Some(repository::backup(cluster, named).await?.id));
    }
    let says_where =
        command.time.is_some() || command.lsn.is_some() || command.xid.is_some() || command.name.is_some();
    if says_where || command.yes || command.plan || !ask::somebody() {
        return Ok(None);
    }
    let mut whole = cluster.backups().await?.whole;
    whole.retain(|summary| summary.kind.is_physical());
    eprintln!("{}", rows(&whole));
    let answer = ask::text("Which one? Its name or the beginning of it; nothing for the newest: ").await;
    if answer.is_empty() {
        return Ok(None);
    }
    Ok(Some(repository::backup(cluster, &answer).await?.id))
}

fn target(command: &Restore) -> Result<Target, CliError> {
    Ok(match (&command.time, &command.lsn, command.xid, &command.name) {
        (Some(time), ..) => Target::at_time(time).map_err(|error| CliError::Target(error.to_string()))?,
        (_, Some(lsn), ..) => Target::Lsn(lsn.parse().map_err(|_| {
            CliError::Target(format!("{lsn:?} is no position in the log: write it as in 0/3000148"))
        })?),
        (_, _, Some(xid), _) => Target::Xid(xid),
        (.., Some(name)) => Target::Name(name.clone()),
        _ if command.consistent => Target::Consistent,
        _ => Target::Latest,
    })
}

/// This program, by its whole path: the server's own PATH may not have it.
pub(crate) fn restore_command(options: &Options) -> String {
    let program =
        std::env::current_exe().map_or_else(|_| "dbctl".to_owned(), |path| quoted(&path.to_string_lossy()));
    let absolute = |file: &std::path::PathBuf| std::path::absolute(file).unwrap_or_else(|_| file.clone());
    let settings = options.settings.as_ref().map(absolute);
    let settings = settings.map(|file| format!(" --settings {}", quoted(&file.to_string_lossy())));
    format!("{program}{} wal fetch %f %p", settings.unwrap_or_default())
}

/// For the shell that the server starts; a per cent sign is the server's own.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    let text = text.replace('%', "%%");
    if text.chars().all(|c| is_plain(c) || c == '%') {
        text
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

fn text(plan: &Plan, config: &RestoreConfig) -> String {
    let mut lines = vec![format!("restore {} to {}", plan.backup, config.directory.display())];
    if plan.chain.len() > 1 {
        let chain: Vec<String> = plan.chain.iter().map(ToString::to_string).collect();
        lines.push(format!("  made of {}", chain.join(", ")));
    }
    lines.push(format!("  fetch   {} in {} files, less what is there already", size(plan.bytes), plan.files));
    for stretch in &plan.log {
        lines.push(format!("  replay  {} to {}, {} segments", stretch.first, stretch.last, stretch.segments));
    }
    lines.push(format!("  up to   {}, on timeline {}", plan.target, plan.timeline));
    for replaced in &plan.replaces {
        let directory = replaced.directory.display();
        lines.push(match &replaced.kept_as {
            Some(kept) => format!("  keep    {directory} as {}", kept.display()),
            None => format!("  OVERWRITE {directory}"),
        });
    }
    for (oid, place) in &plan.tablespaces {
        lines.push(format!("  tablespace {oid} in {}", place.display()));
    }
    lines.extend(plan.resumes.then(|| "  continue an unfinished restore".to_owned()));
    lines.extend(plan.warnings.iter().map(|warning| format!("  warning: {warning}")));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_into_restore_command_is_safe_for_a_shell_and_the_server() {
        assert_eq!(quoted("/usr/bin/dbctl"), "/usr/bin/dbctl");
        assert_eq!(quoted("/a b/it's"), r"'/a b/it'\''s'");
        assert_eq!(quoted("/a%p"), "/a%%p");
        assert_eq!(quoted("/a;rm"), "'/a;rm'");
    }
}
