//! `dbctl backup init` and `dbctl backup rekey`: what opens a repository.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;

use db_platform::backup::{Keys, Protection, Repository};
use serde_json::{Value, json};

use crate::args::Options;
use crate::backup_args::{Init, Rekey};
use crate::error::CliError;
use crate::repository::BackupSettings;
use crate::say;

pub(crate) async fn init(command: &Init, options: &Options) -> Result<ExitCode, CliError> {
    let settings = BackupSettings::read(options)?;
    let is_new = settings.keys.keys.is_none();
    let keys = settings.keys.keys.clone().unwrap_or_else(Keys::generate);
    let protection = if command.no_encryption { Protection::Authenticated } else { Protection::Encrypted };
    let store = settings.store()?;
    let place = store.to_string();
    let (repository, recovery) = Repository::init(store, &keys, protection).await?;
    let (own, recovery) = (keys.secret_text(), recovery.secret_text());
    let writer = repository.writer_key().secret_text();
    let mut secrets = vec![("BACKUP_RECOVERY_KEY", &**recovery), ("BACKUP_WRITER_KEY", &**writer)];
    if is_new {
        secrets.insert(0, ("BACKUP_ENCRYPTION_KEY", &**own));
    }
    let meaning = "BACKUP_ENCRYPTION_KEY opens the repository. The recovery key opens it when that is lost: keep it on paper, \
                   elsewhere. With the writer's key a host can archive and take backups, and read nothing.";
    let done = format!("repository made in {place}");
    tell(&secrets, command.keys_to.as_deref(), &done, meaning, &json!({ "repository": place }), options)
}

pub(crate) async fn rekey(command: &Rekey, options: &Options) -> Result<ExitCode, CliError> {
    let settings = BackupSettings::read(options)?;
    let repository = settings.open().await?;
    let old = settings.keys.keys.as_ref().ok_or(CliError::NoKey)?;
    let new = Keys::generate();
    if command.lost {
        repository.allow(&new).await?;
    } else {
        repository.rotate(old, &new).await?;
    }
    let text = new.secret_text();
    let done = format!("another key opens {}", repository.store());
    let meaning = "Set it in place of the old one on every host that reads the repository.";
    let value = json!({ "repository": repository.store().to_string() });
    tell(&[("BACKUP_ENCRYPTION_KEY", &**text)], command.keys_to.as_deref(), &done, meaning, &value, options)
}

/// Prints keys once, or writes them into a file that only its owner reads.
fn tell(
    secrets: &[(&str, &str)],
    file: Option<&Path>,
    done: &str,
    meaning: &str,
    value: &Value,
    options: &Options,
) -> Result<ExitCode, CliError> {
    let lines: String = secrets.iter().map(|(name, text)| format!("{name}={text}\n")).collect();
    let mut value = value.clone();
    let text = match file {
        Some(file) => {
            let opened = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
            opened.and_then(|mut file| file.write_all(lines.as_bytes())).map_err(CliError::file(file))?;
            value["keys_to"] = json!(file);
            format!("{done}; {} has its keys\n\n{meaning}", file.display())
        }
        None => {
            let keys: serde_json::Map<_, _> =
                secrets.iter().map(|(name, text)| (name.to_lowercase(), json!(text))).collect();
            value["keys"] = Value::Object(keys);
            format!("{done}\n\n{lines}\n{meaning} They are printed only now.")
        }
    };
    say::result(options.json, &text, &value);
    Ok(ExitCode::SUCCESS)
}
