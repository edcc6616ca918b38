//! Writes what was found: for a person, for a pull request, as SARIF, as annotations of GitHub's.

use std::collections::BTreeSet;
use std::fmt::Write;

use serde_json::{Value, json};

use super::findings::Severity;
use super::report::{CheckReport, FileFinding, MigrationCheck, Outcome, RoundTrip};
use super::trace::StatementTrace;

/// For a person at a terminal: one line a migration, and below it what is to be looked at.
pub fn human(report: &CheckReport) -> String {
    let mut text = String::new();
    for check in &report.migrations {
        let warned = check.findings.iter().any(|finding| finding.severity == Severity::Warning);
        let mark = match check.passes() {
            true if warned => "warn ",
            true => "ok   ",
            false => "wrong",
        };
        let _ = writeln!(text, "{mark} {}_{}: {}", check.version, check.name, verdict(check));
        let lost = check.lost.iter().filter(|_| !check.accepts_round_trip());
        for line in lost {
            let _ = writeln!(text, "        {line}");
        }
        if let Some(error) = check.error.as_ref().filter(|_| check.lost.is_empty()) {
            let _ = writeln!(text, "        {error}");
        }
        for finding in check.findings.iter().filter(|finding| finding.rule != "round-trip") {
            let line = finding.line.map(|line| format!("up.sql:{line}: ")).unwrap_or_default();
            let _ = writeln!(text, "        {line}{} [{}]", finding.message, finding.rule);
            if let Some(fix) = &finding.fix {
                let _ = writeln!(text, "            {fix}");
            }
        }
        for accepted in &check.accepted {
            let line = accepted.line.map(|line| format!("up.sql:{line}: ")).unwrap_or_default();
            let reason = if accepted.reason.is_empty() { "no reason given" } else { &accepted.reason };
            let _ = writeln!(text, "        {line}accepted: {reason} [{}]", accepted.rule);
        }
    }
    for missing in &report.missing_for_old_code {
        let _ = writeln!(
            text,
            "wrong the code that still runs needs {missing}: expand first, contract a release later"
        );
    }
    let _ = write!(text, "{}", summary(report));
    text
}

/// One page for a pull request.
pub fn markdown(report: &CheckReport) -> String {
    let mut text = format!(
        "## Migrations: {}\n\n{}\n",
        if report.summary.passes { "pass" } else { "do not pass" },
        summary(report)
    );
    for missing in &report.missing_for_old_code {
        let _ = write!(
            text,
            "\n- **error** the code that still runs needs {missing}: expand first, contract a release later\n"
        );
    }
    text.push_str("\n| migration | up | down | round trip | locks on tables with rows | held |\n|---|---|---|---|---|---|\n");
    for check in &report.migrations {
        let held = check.statements.iter().filter(|trace| trace.blocking_locks().next().is_some());
        let held = held.map(|trace| trace.held_ms).fold(0.0, f64::max);
        let held = if held > 0.0 { format!("{held:.1} ms here") } else { String::new() };
        let cells = [
            format!("{}_{}", check.version, check.name),
            word(check.up).to_owned(),
            word(check.down).to_owned(),
            trip(check.round_trip).to_owned(),
            locks(&check.statements),
            held,
        ];
        let _ = writeln!(text, "| {} |", cells.map(|cell| cell.replace('|', "\\|")).join(" | "));
    }
    let told = report
        .migrations
        .iter()
        .filter(|check| !check.passes() || !check.findings.is_empty() || !check.accepted.is_empty());
    for check in told {
        let _ = writeln!(text, "\n### {}_{}\n", check.version, check.name);
        for line in check.lost.iter().filter(|_| !check.accepts_round_trip()) {
            let _ = writeln!(text, "- **error** {line} `round-trip`");
        }
        if let Some(error) = check.error.as_ref().filter(|_| check.lost.is_empty()) {
            let _ = writeln!(text, "- **error** {error}");
        }
        for finding in
            check.findings.iter().filter(|finding| finding.rule != "round-trip" || check.lost.is_empty())
        {
            let place = finding.line.map(|line| format!("line {line}: ")).unwrap_or_default();
            let fix = finding.fix.as_ref().map(|fix| format!(". *{fix}*")).unwrap_or_default();
            let _ = writeln!(
                text,
                "- **{}** {place}{}{fix} `{}`",
                level(finding.severity),
                finding.message,
                finding.rule
            );
        }
        for accepted in &check.accepted {
            let place = accepted.line.map(|line| format!("line {line}: ")).unwrap_or_default();
            let reason = if accepted.reason.is_empty() { "no reason given" } else { &accepted.reason };
            let _ = writeln!(text, "- accepted: {place}{reason} `{}`", accepted.rule);
        }
    }
    text
}

/// SARIF 2.1.0, as code scanners exchange it.
pub fn sarif(findings: &[FileFinding]) -> Value {
    let rules: BTreeSet<&str> = findings.iter().map(|one| one.finding.rule.as_str()).collect();
    let results = findings.iter().map(|FileFinding { file, finding }| {
        let fix = finding.fix.as_ref().map(|fix| format!("\n{fix}")).unwrap_or_default();
        json!({
            "ruleId": finding.rule,
            "level": level(finding.severity),
            "message": { "text": format!("{}{fix}", finding.message) },
            "locations": [{ "physicalLocation": {
                "artifactLocation": { "uri": file },
                "region": { "startLine": finding.line.unwrap_or(1) },
            }}],
        })
    });
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "dbctl migrate",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules.into_iter().map(|rule| json!({ "id": rule })).collect::<Vec<_>>(),
            }},
            "results": results.collect::<Vec<_>>(),
        }],
    })
}

/// Workflow commands that GitHub shows beside the changed lines.
pub fn annotations(findings: &[FileFinding]) -> String {
    let escape = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let property = |text: &str| escape(text).replace(':', "%3A").replace(',', "%2C");
    let mut text = String::new();
    for FileFinding { file, finding } in findings {
        let command = match finding.severity {
            Severity::Note => "notice",
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        let fix = finding.fix.as_ref().map(|fix| format!("\n{fix}")).unwrap_or_default();
        let (file, title) = (property(file), property(&finding.rule));
        let message = escape(&format!("{}{fix}", finding.message));
        let _ = writeln!(
            text,
            "::{command} file={file},line={},title={title}::{message}",
            finding.line.unwrap_or(1)
        );
    }
    text
}

fn summary(report: &CheckReport) -> String {
    let counts = &report.summary;
    format!(
        "{} checked on PostgreSQL {} in {:.1} s: {} up and {} down failed, {} without a down, {} do not come back the same, {} errors, {} warnings, {} accepted",
        counts.checked,
        counts.server_version,
        counts.ms / 1_000.0,
        counts.up_errors,
        counts.down_errors,
        counts.down_missing,
        counts.differ,
        counts.errors,
        counts.warnings,
        counts.accepted,
    )
}

fn verdict(check: &MigrationCheck) -> String {
    format!("up {}, down {}, round trip {}", word(check.up), word(check.down), trip(check.round_trip))
}

fn locks(statements: &[StatementTrace]) -> String {
    let locks: BTreeSet<String> = statements
        .iter()
        .flat_map(StatementTrace::blocking_locks)
        .map(|lock| format!("{} on {}", lock.mode, lock.relation))
        .collect();
    locks.into_iter().collect::<Vec<_>>().join(", ")
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Note => "note",
        Severity::Warning => "warning",
        Severity::Error => "error",
    }
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Ok => "ok",
        Outcome::Error => "error",
        Outcome::Missing => "missing",
        Outcome::NotChecked => "not checked",
    }
}

fn trip(round_trip: RoundTrip) -> &'static str {
    match round_trip {
        RoundTrip::Same => "same",
        RoundTrip::Differs => "differs",
        RoundTrip::NotChecked => "not checked",
    }
}
