//! `dbctl backup import`: from a repository of pgBackRest.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;

use db_platform::backup::import::{self, Choice, ImportConfig, Imported, Plan};
use db_platform::backup::{AuditAction, ImportSettings, WriterOptions};
use db_platform::settings_from_vars;
use serde_json::json;

use super::list::size;
use crate::args::Options;
use crate::backup_args::Import;
use crate::error::CliError;
use crate::repository::BackupSettings;
use crate::table::table;
use crate::transfer::Transfer;
use crate::{FOUND, audit, say, vars};

/// Where pgBackRest looks for its configuration.
const CONFIGURATIONS: [&str; 2] = ["/etc/pgbackrest/pgbackrest.conf", "/etc/pgbackrest.conf"];

pub(crate) async fn run(command: &Import, options: &Options) -> Result<ExitCode, CliError> {
    let mut vars = vars::all(options)?;
    if let Some(file) = config(command, &vars) {
        let text = std::fs::read_to_string(&file).map_err(CliError::file(&file))?;
        let stanza = command.stanza.as_deref().or(vars.get("PGBACKREST_STANZA").map(String::as_str));
        // As with pgBackRest, what is set wins over the file.
        for (name, value) in import::of_config(&text, stanza, command.repo) {
            vars.entry(name).or_insert(value);
        }
    }
    let mut from: ImportSettings = settings_from_vars(vars, |from| from.get())?;
    if let Some(directory) = &command.from {
        from = from.below(directory);
    }
    from.stanza = command.stanza.clone().or(from.stanza);
    let source = from.open().await?;
    let settings = BackupSettings::read(options)?;
    let repository = settings.open().await?;
    let writer = WriterOptions {
        compression: settings.compression,
        workers: usize::from(command.workers),
        ..WriterOptions::default()
    };
    let config = ImportConfig { backups: choice(command), writer };
    let plan = import::plan(&source, &repository, &config).await?;
    if command.plan {
        say::result(options.json, &text(&plan), &json!(plan));
        return Ok(status(&plan));
    }
    eprintln!("{}", text(&plan));
    let transfer = Transfer::begin();
    let imported = import::apply(&source, &repository, &config, &plan, &transfer.observer()).await;
    transfer.end();
    let imported = imported?;
    let cluster = repository.cluster(plan.system_identifier);
    for (label, summary) in &imported.backups {
        let details = [("from", format!("pgBackRest {label}"))];
        audit::record(&cluster, AuditAction::Import, Some(&summary.id), &details).await;
        eprintln!("imported  {label} as {}", summary.id);
    }
    let backups: Vec<_> = imported
        .backups
        .iter()
        .map(|(label, summary)| json!({ "label": label, "backup": summary }))
        .collect();
    let value = json!({ "backups": backups, "log_files": imported.log, "refused": plan.refused });
    say::result(options.json, &sentence(&imported), &value);
    Ok(status(&plan))
}

/// pgBackRest's configuration: the one that is named, or its own where nothing else says where the repository
/// is.
fn config(command: &Import, vars: &HashMap<String, String>) -> Option<PathBuf> {
    let named = command.config.clone().or_else(|| vars.get("PGBACKREST_CONFIG").map(PathBuf::from));
    let is_said = command.from.is_some() || vars.contains_key("PGBACKREST_REPO1_PATH");
    let own = || CONFIGURATIONS.iter().map(PathBuf::from).find(|path| path.exists());
    named.filter(|_| command.from.is_none()).or_else(|| if is_said { None } else { own() })
}

/// Something that was asked for and is not there is no success.
fn status(plan: &Plan) -> ExitCode {
    if plan.refused.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(FOUND) }
}

fn choice(command: &Import) -> Choice {
    match (command.all, command.backup.as_slice()) {
        (true, _) => Choice::All,
        (false, []) => Choice::Newest,
        (false, labels) => Choice::Named(labels.to_vec()),
    }
}

fn sentence(imported: &Imported) -> String {
    format!(
        "{} backups and {} files of the log imported; see that they restore with `dbctl backup rehearse`",
        imported.backups.len(),
        imported.log
    )
}

fn text(plan: &Plan) -> String {
    let rows: Vec<Vec<String>> = plan
        .backups
        .iter()
        .map(|backup| {
            vec![
                "import".to_owned(),
                backup.label.clone(),
                backup.kind.to_string(),
                backup.began.format("%Y-%m-%d %H:%M:%SZ").to_string(),
                backup.files.to_string(),
                size(backup.bytes),
            ]
        })
        .collect();
    let mut lines = vec![format!("stanza {}, cluster {}", plan.stanza, plan.system_identifier)];
    if rows.is_empty() {
        lines.push("no backup is left to import".to_owned());
    } else {
        lines.push(table(&["", "BACKUP", "TYPE", "BEGAN", "FILES", "BYTES"], &rows, &[4, 5]));
    }
    lines.extend(plan.already.iter().map(|label| format!("{label} was imported before")));
    lines.extend(plan.refused.iter().map(|refused| format!("{} is left: {}", refused.label, refused.why)));
    let log = &plan.log;
    lines.push(match (&log.first, &log.last) {
        (Some(first), Some(last)) => {
            format!("the log from {first} to {last}: {} files, {}", log.files, size(log.bytes))
        }
        _ => format!("{} files of the log, {}", log.files, size(log.bytes)),
    });
    lines.extend(plan.warnings.iter().map(|warning| format!("warning: {warning}")));
    lines.join("\n")
}
