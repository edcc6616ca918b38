//! `dbctl migrate lint` and `rules`: what needs no server.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use db_platform::migrations::check::{self, FailOn, LintConfig, Rule, Severity};
use serde_json::json;

use crate::args::Options;
use crate::check::{found, verdict};
use crate::error::CliError;
use crate::migrate_args::Lint;
use crate::say;

/// Reads files, and needs no database.
pub(crate) fn lint(command: &Lint, options: &Options) -> Result<ExitCode, CliError> {
    let config =
        LintConfig { pg_version: command.pg_version, assume_in_transaction: command.assume_in_transaction };
    let mut findings = Vec::new();
    for named in &command.files {
        if named.as_os_str() == "-" {
            let mut sql = String::new();
            std::io::stdin().read_to_string(&mut sql).map_err(CliError::file(Path::new("standard input")))?;
            findings.extend(check::lint("standard input", &sql, config));
            continue;
        }
        for file in files(named)? {
            let sql = std::fs::read_to_string(&file).map_err(CliError::file(&file))?;
            findings.extend(check::lint(&file.display().to_string(), &sql, config));
        }
    }
    // Strings and numbers cannot fail to become JSON.
    let value = serde_json::to_value(&findings).unwrap_or_default();
    say::result(options.json, &found(&findings, command.format), &value);
    let fail_on: FailOn = command.fail_on.into();
    Ok(verdict(!findings.iter().any(|one| fail_on.fails(one.finding.severity))))
}

/// A file, or everything below a directory that applies something.
fn files(named: &Path) -> Result<Vec<PathBuf>, CliError> {
    if !named.is_dir() {
        return Ok(vec![named.to_owned()]);
    }
    let (mut all, mut directories) = (Vec::new(), vec![named.to_owned()]);
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory).map_err(CliError::file(&directory))? {
            let path = entry.map_err(CliError::file(&directory))?.path();
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if name.starts_with('.') {
                continue;
            }
            if path.is_dir() {
                directories.push(path);
            } else if name.ends_with(".sql") && name != "down.sql" && !name.ends_with(".down.sql") {
                all.push(path);
            }
        }
    }
    all.sort();
    Ok(all)
}

/// Lists the rules, or explains one.
pub(crate) fn rules(rule: Option<&str>, markdown: bool, options: &Options) -> Result<(), CliError> {
    let all: Vec<&Rule> = check::rules().filter(|one| rule.is_none_or(|rule| one.name == rule)).collect();
    if let (Some(rule), true) = (rule, all.is_empty()) {
        return Err(CliError::NoSuchRule { rule: rule.to_owned() });
    }
    let text = match (rule, markdown) {
        (_, true) => page(&all),
        (Some(_), _) => all.iter().map(|rule| explained(rule)).collect::<Vec<_>>().join("\n"),
        (None, _) => all.iter().map(|rule| line(rule)).collect::<Vec<_>>().join("\n"),
    };
    let value = serde_json::to_value(&all).unwrap_or_else(|_| json!([]));
    say::result(options.json, text.trim_end(), &value);
    Ok(())
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    }
}

fn line(rule: &Rule) -> String {
    format!("{:<7}  {:<41} {}", word(rule.severity), rule.name, rule.finds)
}

fn explained(rule: &Rule) -> String {
    let mut text = format!(
        "{} ({})\n  finds    {}\n  why      {}",
        rule.name,
        word(rule.severity),
        rule.finds,
        rule.why
    );
    if !rule.instead.is_empty() {
        let _ = write!(text, "\n  instead  {}", rule.instead);
    }
    if rule.by_size {
        text.push_str(
            "\n  a note on tables of fewer than 10,000 rows, where --stats says how large they are",
        );
    }
    let _ = write!(text, "\n  accepted by  -- check-ignore {}: reason", rule.name);
    text
}

/// The page of the rules.
fn page(rules: &[&Rule]) -> String {
    let mut text = [
        "# Rules of the check\n",
        "What `dbctl migrate check` and `dbctl migrate lint` find. The page is printed by `dbctl migrate rules \
         --markdown`; `dbctl migrate rules NAME` explains one.\n",
        "An error fails the check (exit status 3); `--fail-on warn` lets warnings fail it, too, and `--fail-on never` \
         nothing. Where `--stats` says how large production's tables are, the rules marked with an asterisk are notes \
         on tables of fewer than 10,000 rows.\n",
        "## Accepting a finding\n",
        "A comment above the statement, or on its line, accepts a finding and says why; several rules are separated by \
         commas. What is about no statement, such as `round-trip`, is accepted anywhere in up.sql or down.sql. The \
         report lists what is accepted, with the reason.\n",
        "```sql\n-- check-ignore trace/blocking-index-build: 40 rows, and the service is down\n\
         CREATE INDEX countries_name_idx ON countries (name);\n```\n",
        "`-- contract: WHY` in a line of its own says that no code uses any more what the file drops or renames.\n",
    ]
    .join("\n");
    for (title, start) in [("Seen on the server", false), ("Read in the text", true)] {
        let _ = write!(text, "\n## {title}\n");
        for rule in rules.iter().filter(|rule| rule.name.starts_with("lint/") == start) {
            let star = if rule.by_size { " *" } else { "" };
            let _ = write!(text, "\n### {}\n\n{}{star}: {}.\n", rule.name, word(rule.severity), rule.finds);
            let _ = writeln!(text, "Why: {}.", rule.why);
            if !start && !rule.instead.is_empty() {
                let _ = writeln!(text, "Instead: {}.", rule.instead);
            }
        }
    }
    wrapped(&text)
}

/// Lines of at most 110 characters.
fn wrapped(text: &str) -> String {
    let mut all = String::new();
    for line in text.lines() {
        let mut length = 0;
        for word in line.split(' ') {
            let letters = word.chars().count();
            if length > 0 && length + 1 + letters > 110 {
                all.push('\n');
                length = 0;
            } else if length > 0 {
                all.push(' ');
                length += 1;
            }
            all.push_str(word);
            length += letters;
        }
        all.push('\n');
    }
    all
}
