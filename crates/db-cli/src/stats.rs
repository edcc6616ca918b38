//! `dbctl stats`.

use std::process::ExitCode;

use db_platform::migrations::Stats as Sizes;

use crate::args::{Options, Stats};
use crate::connect;
use crate::error::CliError;

pub(crate) async fn run(command: Stats, options: &Options) -> Result<ExitCode, CliError> {
    let Stats::Export { out } = command;
    let (mut conn, ..) = connect::connect(&connect::config(options)?).await?;
    let sizes = Sizes::read(&mut conn).await?;
    // Names and numbers cannot fail to become JSON.
    let text = serde_json::to_string_pretty(&sizes).unwrap_or_default();
    match out {
        Some(file) => std::fs::write(&file, text + "\n").map_err(CliError::file(&file))?,
        None => println!("{text}"),
    }
    Ok(ExitCode::SUCCESS)
}
