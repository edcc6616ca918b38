//! `dbctl maintain compact`: a bloated table becomes small.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use db_platform::maintenance::compact::{Compact as Compaction, CompactPlan, CompactProgress};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::args::Options;
use crate::compact_args::Compact;
use crate::error::CliError;

use crate::{FOUND, INTERRUPTED, connect, interrupt, say};

pub(crate) async fn run(command: &Compact, options: &Options) -> Result<ExitCode, CliError> {
    // A signal counts from here on, whenever it comes.
    let interrupted = interrupt::from_now_on();
    let told = AtomicBool::new(false);
    let config = connect::config(options)?;
    let mut client = connect::connect_for_copy(&config).await?;
    let compaction = Compaction::new(command.table.clone(), command.config());
    if command.plan {
        let plan = compaction.plan(&mut client).await?;
        say::result(options.json, &shown(command, &plan), &plan_value(&plan));
        return Ok(if plan.refusals.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(FOUND) });
    }
    let probes = connect::connect_for_copy(&config).await?;
    // indicatif draws on standard error, and only on a terminal.
    let bar = ProgressBar::no_length();
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} pages {msg}") {
        bar.set_style(style);
    }
    let stop = async {
        interrupted.await;
        told.store(true, Ordering::Relaxed);
    };
    let done = compaction.run(&mut client, Some(&probes), stop, |progress| show(&bar, progress)).await;
    bar.finish_and_clear();
    let done = done?;
    let mb = |bytes: i64| bytes as f64 / 1e6;
    let mut text = format!(
        "{}: {:.1} MB to {:.1} MB, {} rows moved, {:.1?}",
        command.table,
        mb(done.bytes_before),
        mb(done.bytes_after),
        done.rows_moved,
        done.elapsed
    );
    if let Some(why) = &done.stopped {
        text = format!("{text}\nnot yet small ({:.1} MB are live): {why}", mb(done.live_bytes));
    }
    let value = json!({
        "table": command.table.to_string(),
        "bytes_before": done.bytes_before,
        "bytes_after": done.bytes_after,
        "live_bytes": done.live_bytes,
        "rows_moved": done.rows_moved,
        "seconds": done.elapsed.as_secs_f64(),
        "stopped": done.stopped,
    });
    say::result(options.json, &text, &value);
    Ok(match (&done.stopped, told.load(Ordering::Relaxed)) {
        (Some(_), true) => ExitCode::from(INTERRUPTED),
        (Some(_), false) => ExitCode::from(FOUND),
        (None, _) => ExitCode::SUCCESS,
    })
}

fn show(bar: &ProgressBar, progress: &CompactProgress) {
    bar.set_length(u64::try_from(progress.pages).unwrap_or_default());
    bar.set_position(u64::try_from(progress.pages_done).unwrap_or_default());
    bar.set_message(format!("{} rows moved, pass {}", progress.rows_moved, progress.pass));
}

fn shown(command: &Compact, plan: &CompactPlan) -> String {
    let mb = |bytes: i64| bytes as f64 / 1e6;
    let mut lines = vec![format!(
        "{}: {:.1} MB, of which about {:.1} MB are live; indexes {:.1} MB",
        command.table,
        mb(plan.bytes),
        mb(plan.live_bytes),
        mb(plan.index_bytes)
    )];
    if plan.repacks {
        lines.push("by REPACK (CONCURRENTLY); with --move-rows, row by row".to_owned());
    }
    lines.extend(plan.refusals.iter().map(|why| format!("refused: {why}")));
    lines.join("\n")
}

fn plan_value(plan: &CompactPlan) -> serde_json::Value {
    json!({
        "bytes": plan.bytes,
        "live_bytes": plan.live_bytes,
        "rows": plan.rows,
        "index_bytes": plan.index_bytes,
        "repacks": plan.repacks,
        "refusals": plan.refusals,
    })
}
