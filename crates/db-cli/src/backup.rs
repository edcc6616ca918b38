//! `dbctl backup`: one library call for each command.

pub(crate) mod checking;
mod copying;
mod list;
pub(crate) mod rehearsal;
pub(crate) mod removing;
mod restore;
mod show;
pub(crate) mod taking;

use std::process::ExitCode;

use db_platform::backup::{Keys, Protection, Repository};
use serde_json::json;

use crate::args::Options;
use crate::backup_args::{Backup, Init};
use crate::error::CliError;
use crate::repository::BackupSettings;
use crate::say;

pub(crate) use restore::restore_command;

pub(crate) async fn run(command: Backup, options: &Options) -> Result<ExitCode, CliError> {
    match command {
        Backup::Init(init) => self::init(&init, options).await,
        Backup::Take(take) => taking::run(&take, options).await,
        Backup::List(of) => list::run(&of, options).await,
        Backup::Info(info) => show::run(&info, options).await,
        Backup::Restore(restore) => restore::run(restore, options).await,
        Backup::Rehearse(rehearse) => rehearsal::run(&rehearse, options).await,
        Backup::Verify(verify) => checking::run(&verify, options).await,
        Backup::Expire(expire) => removing::expire(&expire, options).await,
        Backup::Delete(delete) => removing::delete(&delete, options).await,
        Backup::Copy(copy) => copying::run(&copy, options).await,
    }
}

async fn init(command: &Init, options: &Options) -> Result<ExitCode, CliError> {
    let settings = BackupSettings::read(options)?;
    let is_new = settings.keys.keys.is_none();
    let keys = settings.keys.keys.clone().unwrap_or_else(Keys::generate);
    let protection = if command.no_encryption { Protection::Authenticated } else { Protection::Encrypted };
    let store = settings.store()?;
    let place = store.to_string();
    let (repository, recovery) = Repository::init(store, &keys, protection).await?;
    let writer = repository.writer_key();
    let secrets = [
        ("BACKUP_ENCRYPTION_KEY", is_new.then(|| keys.secret_text())),
        ("BACKUP_RECOVERY_KEY", Some(recovery.secret_text())),
        ("BACKUP_WRITER_KEY", Some(writer.secret_text())),
    ];
    let secrets = secrets.iter().filter_map(|(name, text)| Some((*name, text.as_ref()?.as_str())));
    if let Some(file) = &command.keys_to {
        let lines: String = secrets.map(|(name, text)| format!("{name}={text}\n")).collect();
        write_secret(file, &lines)?;
        let text = format!("repository made in {place}; its keys are in {}", file.display());
        say::result(options.json, &text, &json!({ "repository": place, "keys_to": file }));
        return Ok(ExitCode::SUCCESS);
    }
    let object: serde_json::Map<_, _> =
        secrets.clone().map(|(name, text)| (name.to_lowercase(), json!(text))).collect();
    let lines: Vec<String> = secrets.map(|(name, text)| format!("{name}={text}")).collect();
    let text = format!(
        "repository made in {place}\n\n{}\n\nThey are printed only now. The first opens the repository. The recovery key \
         opens it when the first is lost: keep it on paper, elsewhere. With the writer's key a host can archive and take \
         backups, and read nothing.",
        lines.join("\n")
    );
    say::result(options.json, &text, &json!({ "repository": place, "keys": object }));
    Ok(ExitCode::SUCCESS)
}

/// Makes a file that only its owner reads, and overwrites none.
fn write_secret(file: &std::path::Path, text: &str) -> Result<(), CliError> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let opened = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    opened.and_then(|mut file| file.write_all(text.as_bytes())).map_err(CliError::file(file))
}
