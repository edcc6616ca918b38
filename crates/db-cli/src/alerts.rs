//! `dbctl alerts list`.

use std::process::ExitCode;

use db_platform::monitoring::alerts::{OpenIncident, open_in};
use serde_json::json;

use crate::args::Options;
use crate::error::CliError;
use crate::table::table;
use crate::{FOUND, connect, say};

pub(crate) async fn list(options: &Options) -> Result<ExitCode, CliError> {
    let (mut conn, ..) = connect::connect(&connect::config(options)?).await?;
    let open = open_in(&mut conn).await?;
    let row = |one: &OpenIncident| {
        let severity = if one.open.critical { "critical" } else { "warning" };
        vec![severity.to_owned(), one.incident.clone(), one.open.title.clone(), one.open.text.clone()]
    };
    let rows: Vec<_> = open.iter().map(row).collect();
    let text = match rows.is_empty() {
        true => "no incident is open".to_owned(),
        false => table(&["severity", "incident", "title", "found"], &rows, &[]),
    };
    let value = |one: &OpenIncident| {
        let open = &one.open;
        json!({
            "incident": one.incident, "key": one.key, "critical": open.critical, "since": open.since,
            "title": open.title, "text": open.text, "facts": open.facts,
        })
    };
    say::result(options.json, &text, &json!(open.iter().map(value).collect::<Vec<_>>()));
    Ok(if open.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(FOUND) })
}
