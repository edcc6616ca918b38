//! The checks in plain language: first what needs somebody, then what is well in one line.

use db_core::CheckStatus;

use crate::CheckResult;
use crate::panel::{Column, Panel, Row, Table, Value};

/// How grave a verdict is; what is not known comes before what is well.
fn gravity(status: &CheckStatus) -> u8 {
    match status {
        CheckStatus::Critical => 3,
        CheckStatus::Warn => 2,
        CheckStatus::Skipped(_) => 1,
        CheckStatus::Ok => 0,
    }
}

/// What a person should do something about, each with its fix, and the rest as counts.
#[cfg(feature = "dashboard")]
pub(crate) fn for_people(results: Option<&[CheckResult]>) -> Panel {
    let panel = Panel::new("checks", "Checks");
    let Some(results) = results else { return panel.missing("no check has run yet") };
    let mut grave: Vec<&CheckResult> = results.iter().filter(|result| result.status.is_problem()).collect();
    grave.sort_by_key(|result| std::cmp::Reverse(gravity(&result.status)));
    let panel = counted(panel, results);
    let table = table("problems", grave.iter().copied().map(sentence))
        .when_empty("Nothing needs you: no check found a problem.")
        .at_most(12);
    panel.table(table)
}

/// Everything that the checks say, with what they looked at and what to do.
pub(crate) fn checks(results: Option<&[CheckResult]>) -> Vec<Panel> {
    let panel = Panel::new("checks", "Checks");
    let Some(results) = results else { return vec![panel.missing("no check has run yet")] };
    let mut panels = vec![counted(panel, results).table(check_table(results))];
    let mut grave: Vec<&CheckResult> = results.iter().filter(|result| result.status.is_problem()).collect();
    grave.sort_by_key(|result| std::cmp::Reverse(gravity(&result.status)));
    panels.extend(grave.into_iter().take(40).enumerate().map(|(index, result)| detail(index, result)));
    panels
}

/// A row for each result, the gravest first.
fn check_table(results: &[CheckResult]) -> Table {
    let mut all: Vec<&CheckResult> = results.iter().collect();
    all.sort_by_key(|result| std::cmp::Reverse(gravity(&result.status)));
    table("checks", all.into_iter().map(sentence))
}

fn table(key: &str, rows: impl Iterator<Item = Row>) -> Table {
    let columns = [
        Column::new("status", "Status"),
        Column::new("check", "Check"),
        Column::new("about", "About"),
        Column::new("found", "Found"),
    ];
    rows.fold(Table::new(key, columns), Table::with)
}

fn sentence(result: &CheckResult) -> Row {
    let said = match &result.status {
        CheckStatus::Skipped(why) => why.clone(),
        _ => result.summary.clone(),
    };
    Row::of([
        Value::Status(result.status.clone()),
        Value::text(result.title.as_ref()),
        Value::some_text(result.subject.as_ref().map(|subject| subject.name.clone())),
        Value::text(said),
    ])
}

fn counted(panel: Panel, results: &[CheckResult]) -> Panel {
    let of = |grade: u8| results.iter().filter(|result| gravity(&result.status) == grade).count() as u64;
    let figure = |panel: Panel, key: &str, title: &str, number: u64, status: CheckStatus| match number {
        0 => panel.figure(key, title, Value::Count(0)),
        number => panel.judged(key, title, Value::Count(number), status),
    };
    let panel = figure(panel, "critical", "Critical", of(3), CheckStatus::Critical);
    let panel = figure(panel, "warnings", "Warnings", of(2), CheckStatus::Warn);
    let panel = figure(panel, "skipped", "Not known", of(1), CheckStatus::Skipped(String::new()));
    panel.figure("ok", "Well", Value::Count(of(0)))
}

/// One finding with its evidence, its fix and the statement that found it.
fn detail(index: usize, result: &CheckResult) -> Panel {
    let about = result.subject.as_ref().map_or(String::new(), |subject| format!(": {}", subject.name));
    let mut panel = Panel::new(format!("finding-{index}"), format!("{}{about}", result.title))
        .note(result.summary.clone());
    for figure in &result.evidence {
        let value = match figure.unit.as_ref() {
            "By" => Value::Bytes(figure.value),
            "s" => Value::Seconds(figure.value),
            "%" => Value::Percent(figure.value),
            _ => Value::Number(figure.value),
        };
        panel = panel.figure(figure.name.as_ref(), figure.name.replace('_', " "), value);
    }
    if let Some(fix) = &result.fix {
        panel = panel
            .sql(fix.sql.as_ref())
            .text(format!("How to run it safely: {}.", fix.safely.trim_end_matches('.')));
    }
    panel
}
