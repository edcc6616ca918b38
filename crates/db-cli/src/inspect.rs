//! `dbctl check`, `locks`, `slow` and `bloat`: what the server says of itself, for people and for scripts.

use std::process::ExitCode;

use db_platform::core::CheckStatus;
use db_platform::monitoring::checks::{self, BlockingLook, Selection, TopStatement, Visit};
use db_platform::monitoring::server::ServerSession;
use db_platform::monitoring::{BloatKind, BlockingTree, CheckResult, SchemaLook, amount, shown};

use crate::args::Options;
use crate::connect;
use crate::error::CliError;
use crate::inspect_args::{Bloat, CheckServer, FailOn, Slow};
use crate::table::table;
use crate::{FOUND, say};

/// A session that only looks.
async fn session(options: &Options) -> Result<ServerSession, CliError> {
    let (conn, _, host) = connect::connect(&connect::config(options)?).await?;
    ServerSession::open(conn, host).await.map_err(|skipped| CliError::NotKnown(skipped.detail))
}

/// `dbctl check`.
pub(crate) async fn check(command: CheckServer, options: &Options) -> Result<ExitCode, CliError> {
    let selection = Selection {
        only: command.only.iter().cloned().collect(),
        skip: command.skip.iter().cloned().collect(),
    };
    if let [name, ..] = selection.unknown()[..] {
        let known: Vec<_> = checks::all().map(|check| check.id).collect();
        return Err(CliError::NoSuchCheck { name: name.to_owned(), known: known.join(", ") });
    }
    let session = session(options).await?;
    let before = match command.window {
        Some(window) => {
            let before = Visit::counters(&session).await;
            tokio::time::sleep(window).await;
            Some(before)
        }
        None => None,
    };
    let visit = Visit::to(&session).await;
    let mut evidence = visit.evidence(before.as_ref());
    evidence.cores = command.cores;
    let results = checks::judge(&evidence, &selection);
    // Strings and numbers, which cannot fail to become JSON.
    let value = serde_json::to_value(&results).unwrap_or_default();
    say::result(options.json, &text(&results, command.all), &value);
    Ok(verdict(&results, command.fail_on))
}

fn verdict(results: &[CheckResult], fail_on: FailOn) -> ExitCode {
    let fails = results.iter().any(|result| match fail_on {
        FailOn::Warn => result.status.is_problem(),
        FailOn::Critical => result.status == CheckStatus::Critical,
        FailOn::Never => false,
    });
    if fails { ExitCode::from(FOUND) } else { ExitCode::SUCCESS }
}

fn text(results: &[CheckResult], all: bool) -> String {
    let mut lines = Vec::new();
    let mut problems: Vec<_> = results.iter().filter(|result| result.status.is_problem()).collect();
    problems.sort_by_key(|result| result.status != CheckStatus::Critical);
    for result in problems {
        lines.push(format!("{:<8}  {}: {}", result.status.word(), result.id, shown(&result.summary)));
        if let Some(fix) = &result.fix {
            lines.push(format!("          fix:  {}", shown(&fix.sql)));
            lines.push(format!("          how:  {}", fix.safely));
        }
    }
    if all {
        let well = results.iter().filter(|result| result.status == CheckStatus::Ok);
        lines.extend(well.map(|result| format!("ok        {}: {}", result.id, result.summary)));
    }
    let skipped: Vec<_> = results.iter().filter(|result| result.status.word() == "skipped").collect();
    // One reason often blinds several checks.
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    for result in &skipped {
        match reasons.iter_mut().find(|(reason, _)| *reason == result.summary) {
            Some((_, ids)) => ids.push(&result.id),
            None => reasons.push((&result.summary, vec![&result.id])),
        }
    }
    lines.extend(
        reasons.iter().map(|(reason, ids)| format!("skipped   {}: {}", ids.join(", "), shown(reason))),
    );
    let count = |word: &str| results.iter().filter(|result| result.status.word() == word).count();
    lines.push(format!(
        "{} critical, {} warn, {} ok, {} skipped",
        count("critical"),
        count("warn"),
        count("ok"),
        skipped.len()
    ));
    lines.join("\n")
}

/// `dbctl locks`.
pub(crate) async fn locks(options: &Options) -> Result<ExitCode, CliError> {
    let session = session(options).await?;
    let access = session.access().await.map_err(|skipped| CliError::NotKnown(skipped.detail))?;
    let look = BlockingLook::read(&session, access.reads_all_stats).await;
    let tree: &BlockingTree = look.tree().map_err(|why| CliError::NotKnown(why.to_owned()))?;
    let value = serde_json::to_value(tree).unwrap_or_default();
    say::result(options.json, &tree.to_string(), &value);
    Ok(ExitCode::SUCCESS)
}

/// `dbctl slow`.
pub(crate) async fn slow(command: Slow, options: &Options) -> Result<ExitCode, CliError> {
    let session = session(options).await?;
    let visit = Visit::counters(&session).await;
    let mut tops = TopStatement::of(&visit.snapshot, usize::MAX).map_err(CliError::NotKnown)?;
    let counted = tops.len();
    tops.retain(|top| command.all || !top.reads_only_catalogs());
    let left_out = counted - tops.len();
    tops.truncate(command.limit);
    let rows: Vec<Vec<String>> = tops
        .iter()
        .map(|top| {
            let statement = top.statement.as_deref().unwrap_or("(not read)");
            vec![
                format!("{:.1} %", top.share_percent),
                amount(top.total_ms / 1e3, "s"),
                top.calls.to_string(),
                format!("{:.2} ms", top.mean_ms),
                top.rows.to_string(),
                shown(statement).chars().take(100).collect(),
            ]
        })
        .collect();
    let text = match rows.as_slice() {
        [] => "pg_stat_statements has counted nothing yet".to_owned(),
        rows => table(&["SHARE", "TOTAL", "CALLS", "MEAN", "ROWS", "STATEMENT"], rows, &[0, 1, 2, 3, 4]),
    };
    say::result(options.json, &text, &serde_json::to_value(&tops).unwrap_or_default());
    if left_out > 0 && !options.json {
        eprintln!(
            "{left_out} statements that only look at the server's own catalogs are left out; --all shows them"
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// `dbctl bloat`.
pub(crate) async fn bloat(command: Bloat, options: &Options) -> Result<ExitCode, CliError> {
    let session = session(options).await?;
    let look = SchemaLook::read(&session).await;
    let found: Vec<_> = look
        .bloat()
        .map_err(|why| CliError::NotKnown(why.to_owned()))?
        .iter()
        .filter(|bloat| bloat.bloat_percent >= command.at_least)
        .collect();
    // They are not in the answer, which holds figures only.
    for (relation, why) in look.unknown_bloat() {
        eprintln!("dbctl: {}: skipped: {why}", shown(relation));
    }
    let rows: Vec<Vec<String>> = found
        .iter()
        .map(|bloat| {
            let kind = match bloat.kind {
                BloatKind::Table => "table",
                BloatKind::Index => "index",
            };
            vec![
                shown(&bloat.relation),
                kind.to_owned(),
                amount(bloat.bytes as f64, "By"),
                format!("{:.1} %", bloat.bloat_percent),
                amount(bloat.wasted(), "By"),
            ]
        })
        .collect();
    let text = match rows.as_slice() {
        [] => "no relation of at least 100 pages is bloated".to_owned(),
        rows => table(&["RELATION", "KIND", "SIZE", "BLOAT", "WASTED"], rows, &[2, 3, 4]),
    };
    say::result(options.json, &text, &serde_json::to_value(&found).unwrap_or_default());
    Ok(ExitCode::SUCCESS)
}
