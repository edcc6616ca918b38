//! `dbctl backfill`: fills columns of a large table in batches beside the application.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use db_platform::core::Connect as _;
use db_platform::migrations::backfill::{
    Backfill as Definition, BackfillConfig, BackfillOutcome, BackfillPlan, BackfillProgress, BackfillStatus,
    throttle,
};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::args::Options;
use crate::backfill_args::{Backfill, What};
use crate::error::CliError;
use crate::{FOUND, INTERRUPTED, connect, interrupt, say};

pub(crate) async fn run(command: Backfill, options: &Options) -> Result<ExitCode, CliError> {
    match command {
        Backfill::Plan(what) => plan(&what, options).await,
        Backfill::Apply(what) => apply(&what, options).await,
        Backfill::Status => {
            let config = connect::config(options)?;
            let (mut conn, ..) = connect::connect(&config).await?;
            let keep = BackfillConfig { ledger_schema: config.ledger_schema, ..BackfillConfig::default() };
            print_statuses(options.json, &Definition::statuses(&mut conn, &keep).await?);
            Ok(ExitCode::SUCCESS)
        }
        Backfill::Forget { name } => {
            let config = connect::config(options)?;
            let (mut conn, ..) = connect::connect(&config).await?;
            let keep = BackfillConfig { ledger_schema: config.ledger_schema, ..BackfillConfig::default() };
            Definition::forget(&mut conn, &keep, &name).await?;
            say::result(options.json, &format!("{name} forgotten"), &json!({ "forgotten": name }));
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn plan(what: &What, options: &Options) -> Result<ExitCode, CliError> {
    let config = connect::config(options)?;
    let (mut conn, ..) = connect::connect(&config).await?;
    let plan = what.definition().plan(&mut conn, &what.config(config.ledger_schema)).await?;
    say::result(options.json, &shown(&plan), &plan_value(&plan));
    Ok(ExitCode::SUCCESS)
}

async fn apply(what: &What, options: &Options) -> Result<ExitCode, CliError> {
    // A signal counts from here on, whenever it comes.
    let stop = interrupt::from_now_on();
    let config = connect::config(options)?;
    let (mut conn, connector, host) = connect::connect(&config).await?;
    let probes = connector.connect(&host).await?;
    let (definition, settings) = (what.definition(), what.config(config.ledger_schema));
    // indicatif draws on standard error, and only on a terminal.
    let bar = ProgressBar::no_length();
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} rows {msg}") {
        bar.set_style(style);
    }
    let outcome =
        definition.run(&mut conn, Some(probes), &settings, stop, |progress| show(&bar, progress)).await;
    bar.finish_and_clear();
    let outcome = outcome?;
    say::result(
        options.json,
        &said(&definition.name(), &outcome),
        &outcome_value(&definition.name(), &outcome),
    );
    let unfilled = outcome.unfilled;
    Ok(match outcome.finished {
        false => ExitCode::from(INTERRUPTED),
        true if unfilled.locked + unfilled.failed + unfilled.left.unwrap_or_default() > 0 => {
            ExitCode::from(FOUND)
        }
        true => ExitCode::SUCCESS,
    })
}

fn show(bar: &ProgressBar, progress: &BackfillProgress) {
    if let Some(rows) = progress.rows.and_then(|rows| u64::try_from(rows).ok()) {
        bar.set_length(rows);
    }
    bar.set_position(u64::try_from(progress.rows_seen).unwrap_or_default());
    let mut message = format!("{:.0} rows/s", progress.rows_per_second);
    if let Some(eta) = progress.eta {
        let _ = write!(message, ", {:?} left", Duration::from_secs(eta.as_secs()));
    }
    match progress.pause {
        throttle::Reason::Probes => message.push_str(", pausing: statements would become slow"),
        throttle::Reason::Lag => message.push_str(", waiting for a standby"),
        throttle::Reason::None => {}
    }
    bar.set_message(message);
}

fn shown(plan: &BackfillPlan) -> String {
    let rows = plan.rows.map_or_else(|| "rows never counted".to_owned(), |rows| format!("about {rows} rows"));
    let mut text =
        format!("{}  {rows}, {} MB, by {}", plan.table, plan.bytes / 1_000_000, plan.key.join(", "));
    if let Some(seen) = plan.seen_before {
        let _ = write!(text, "\ngoes on behind {seen} rows that an earlier run has looked at");
    }
    if !plan.triggers.is_empty() {
        let _ = write!(text, "\nfires for each row: {}", plan.triggers.join(", "));
    }
    let _ = write!(text, "\n{}", plan.statement);
    text
}

fn plan_value(plan: &BackfillPlan) -> serde_json::Value {
    json!({
        "name": plan.name,
        "table": plan.table,
        "key": plan.key,
        "rows": plan.rows,
        "bytes": plan.bytes,
        "triggers": plan.triggers,
        "seen_before": plan.seen_before,
        "statement": plan.statement,
    })
}

fn said(name: &str, outcome: &BackfillOutcome) -> String {
    let BackfillOutcome { rows_seen, rows_filled, unfilled, elapsed, .. } = outcome;
    let mut text = format!("{name}: {rows_filled} of {rows_seen} rows filled, {elapsed:.1?}");
    if !outcome.finished {
        text.push_str("\nstopped: the same command goes on from here");
        return text;
    }
    if unfilled.stayed_null > 0 {
        let _ = write!(text, "\n{} stay NULL: the expression gives NULL for them", unfilled.stayed_null);
    }
    if unfilled.locked > 0 {
        let _ = write!(text, "\n{} are locked: run it again when they are free", unfilled.locked);
        let pids: Vec<String> = outcome.holders.iter().map(ToString::to_string).collect();
        if !pids.is_empty() {
            let _ = write!(text, "; sessions with open transactions on the table: {}", pids.join(", "));
        }
    }
    for (reason, rows) in &outcome.failures {
        let _ = write!(text, "\n{rows} could not be written: {reason}");
    }
    let known = unfilled.stayed_null + unfilled.locked + unfilled.failed;
    let late = unfilled.left.unwrap_or_default() - known;
    if late > 0 {
        let _ = write!(text, "\n{late} came without the columns meanwhile: does the application fill them");
    }
    text
}

fn outcome_value(name: &str, outcome: &BackfillOutcome) -> serde_json::Value {
    let failures = outcome.failures.iter().map(|(reason, rows)| json!({ "reason": reason, "rows": rows }));
    json!({
        "name": name,
        "finished": outcome.finished,
        "rows_seen": outcome.rows_seen,
        "rows_filled": outcome.rows_filled,
        "stayed_null": outcome.unfilled.stayed_null,
        "locked": outcome.unfilled.locked,
        "failed": outcome.unfilled.failed,
        "left": outcome.unfilled.left,
        "holders": outcome.holders,
        "failures": failures.collect::<Vec<_>>(),
        "seconds": outcome.elapsed.as_secs_f64(),
    })
}

fn print_statuses(json: bool, statuses: &[BackfillStatus]) {
    let line = |one: &BackfillStatus| {
        let state = match (one.finished, one.running) {
            (true, _) => "finished",
            (false, true) => "running ",
            (false, false) => "cut off ",
        };
        let BackfillStatus { name, rows_seen, rows_filled, noted, seconds_ago, .. } = one;
        format!(
            "{state}  {name}  {rows_filled} of {rows_seen} rows filled, {noted} to try again, \
                {seconds_ago:.0} s ago"
        )
    };
    let lines: Vec<_> = statuses.iter().map(line).collect();
    let text = if lines.is_empty() { "no backfill was begun here".to_owned() } else { lines.join("\n") };
    let values = statuses.iter().map(|one| {
        json!({
            "name": one.name,
            "rows_seen": one.rows_seen,
            "rows_filled": one.rows_filled,
            "stayed_null": one.stayed_null,
            "noted": one.noted,
            "finished": one.finished,
            "running": one.running,
            "seconds_ago": one.seconds_ago,
        })
    });
    say::result(json, &text, &json!({ "backfills": values.collect::<Vec<_>>() }));
}
