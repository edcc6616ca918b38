//! `dbctl notify`, and the channels that the settings name.

use std::process::ExitCode;

use db_platform::notify::{Notifier, NotifyConfig};
use db_platform::{NotificationConfig, settings_from_vars};
use serde_json::json;

use crate::args::Options;
use crate::error::CliError;
use crate::{FOUND, say, vars};

/// The channels that the settings name, each with its task.
pub(crate) fn notifier(options: &Options) -> Result<Notifier, CliError> {
    let config: NotificationConfig = settings_from_vars(vars::all(options)?, |from| from.get())?;
    Ok(config.notifier(NotifyConfig::default())?)
}

pub(crate) async fn test(options: &Options) -> Result<ExitCode, CliError> {
    let results = notifier(options)?.test().await;
    if results.is_empty() {
        return Err(CliError::NoChannel);
    }
    let lines: Vec<String> = results
        .iter()
        .map(|(name, result)| match result {
            Ok(()) => format!("ok    {name}"),
            Err(error) => format!("wrong {name}: {error}"),
        })
        .collect();
    let values: Vec<_> = results
        .iter()
        .map(|(name, result)| json!({ "channel": name, "error": result.as_ref().err().map(ToString::to_string) }))
        .collect();
    say::result(options.json, &say::coloured(&lines.join("\n")), &json!({ "channels": values }));
    let all = results.iter().all(|(_, result)| result.is_ok());
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::from(FOUND) })
}
