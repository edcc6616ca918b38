//! What the server writes into its log: set only where a person asks for it, and put back as it was.

use std::collections::BTreeMap;

use db_core::{Error, Result};
use diesel::QueryableByName;
use diesel::sql_types::{Bool, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use serde::{Deserialize, Serialize};

use super::{SetupStep, step};

/// How much of what happens the server is to log. Each includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerLog {
    /// Its settings stay as they are.
    #[default]
    AsItIs,
    /// Checkpoints, connections, long autovacuums, and whose each line is. Nothing of it holds a value.
    Events,
    /// Slow statements and waits for locks as well: with the constants that stand in them, without bind
    /// values.
    Slow,
    /// Each statement that changes something as well: with constants, and with the password of an
    /// `ALTER ROLE`.
    Changes,
}

/// A setting: from which [`ServerLog`] on, what it is to be in its base unit, whether a value is good enough,
/// what it does.
type Wanted = (ServerLog, &'static str, &'static str, fn(&str) -> bool, &'static str);

const WANTED: [Wanted; 10] = [
    (ServerLog::Events, "log_checkpoints", "on", is_on, "log checkpoints"),
    (
        ServerLog::Events,
        "log_connections",
        "on",
        is_on,
        "log connections: who, from where, to which database",
    ),
    (ServerLog::Events, "log_disconnections", "on", is_on, "log the end of connections"),
    (
        ServerLog::Events,
        "log_autovacuum_min_duration",
        "10000",
        |value| at_most(value, 10_000),
        "log each autovacuum of 10 s or more, with the name of its table",
    ),
    (ServerLog::Events, "log_line_prefix", "", |value| value.contains("%a"), "say whose each line is"),
    (
        ServerLog::Events,
        "log_parameter_max_length",
        "0",
        |value| value == "0",
        "keep bind values of logged statements out of the log",
    ),
    (
        ServerLog::Events,
        "log_parameter_max_length_on_error",
        "0",
        |value| value == "0",
        "keep bind values of failed statements out of the log",
    ),
    (
        ServerLog::Slow,
        "log_min_duration_statement",
        "1000",
        |value| at_most(value, 1_000),
        "log statements of 1 s or more, with the constants that stand in them",
    ),
    (
        ServerLog::Slow,
        "log_lock_waits",
        "on",
        is_on,
        "log statements that wait for a lock for long, with the constants that stand in them",
    ),
    (
        ServerLog::Changes,
        "log_statement",
        "mod",
        |value| matches!(value, "mod" | "all"),
        "log each statement that changes something, with its constants, and with the passwords of ALTER ROLE",
    ),
];

fn is_on(value: &str) -> bool {
    // From 18 on, log_connections is a list of words.
    !matches!(value, "" | "off" | "false" | "0" | "no")
}

/// Whether so many milliseconds or less are asked for; -1 is never.
fn at_most(value: &str, most: i64) -> bool {
    let digits = value.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ');
    let factor = match value[digits.len()..].trim() {
        "" | "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        _ => return false,
    };
    digits.parse().is_ok_and(|value: i64| (0..=most).contains(&value.saturating_mul(factor)))
}

/// A setting as it is.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Setting {
    name: String,
    value: String,
    /// Whether ALTER SYSTEM has set it.
    by_alter_system: bool,
    /// Whether our role may.
    may_alter: bool,
}

/// What each setting was before, and what we made of it.
type Changed = BTreeMap<String, (Option<String>, String)>;

#[derive(QueryableByName)]
struct Rights {
    #[diesel(sql_type = Bool)]
    grants_parameters: bool,
    #[diesel(sql_type = Bool)]
    reads_files: bool,
}

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    line: String,
}

/// How the settings are that any of this is about.
///
/// What ALTER SYSTEM has set is read from the file where the role may: a session learns of it later, and of
/// some settings never.
pub(super) async fn read(conn: &mut AsyncPgConnection) -> Result<Vec<Setting>> {
    const RIGHTS: &str = "SELECT to_regprocedure('pg_catalog.has_parameter_privilege(text, text)') IS NOT NULL \
            AS grants_parameters, has_table_privilege('pg_catalog.pg_file_settings', 'SELECT') \
            AND has_function_privilege('pg_catalog.pg_show_all_file_settings()', 'EXECUTE') AS reads_files";
    const BY_ALTER_SYSTEM: &str = "(SELECT f.setting FROM pg_file_settings f WHERE f.name = s.name \
            AND f.sourcefile LIKE '%postgresql.auto.conf' ORDER BY f.seqno DESC LIMIT 1)";
    const FOR_NEW_SESSIONS: &str = "CASE WHEN s.context = 'superuser-backend' THEN coalesce((SELECT f.setting \
            FROM pg_file_settings f WHERE f.name = s.name ORDER BY f.seqno DESC LIMIT 1), s.boot_val) END";
    let rights: Rights = diesel::sql_query(RIGHTS).get_result(conn).await?;
    let granted =
        if rights.grants_parameters { "OR has_parameter_privilege(s.name, 'ALTER SYSTEM')" } else { "" };
    let (value, by_alter_system) = match rights.reads_files {
        true => (
            format!("coalesce({BY_ALTER_SYSTEM}, {FOR_NEW_SESSIONS}, s.setting)"),
            format!("{BY_ALTER_SYSTEM} IS NOT NULL"),
        ),
        false => {
            ("s.setting".to_owned(), "coalesce(s.sourcefile LIKE '%postgresql.auto.conf', false)".to_owned())
        }
    };
    let names: Vec<_> = WANTED.iter().map(|(_, name, ..)| format!("'{name}'")).collect();
    // Where the role may not see from which file a setting is, it could not be put back.
    let question = format!(
        "SELECT coalesce(json_agg(json_build_object('name', s.name, 'value', {value}, \
            'by_alter_system', {by_alter_system}, \
            'may_alter', (current_setting('is_superuser') = 'on' {granted}) \
                AND (s.source <> 'configuration file' OR s.sourcefile IS NOT NULL))), '[]')::text AS line \
          FROM pg_settings s WHERE s.name IN ({})",
        names.join(", ")
    );
    let line: Line = diesel::sql_query(question).get_result(conn).await?;
    serde_json::from_str(&line.line).map_err(|error| Error::Value(Box::new(error)))
}

fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

/// What is to be set, and a line of JSON that remembers what was before, on top of what an earlier setup has
/// changed.
pub(super) fn plan(
    settings: &[Setting],
    wanted: ServerLog,
    earlier: Option<&str>,
    already: &mut Vec<String>,
    to_decide: &mut Vec<SetupStep>,
) -> (Vec<SetupStep>, Option<String>) {
    let mut changed = memory(earlier);
    let mut steps = Vec::new();
    for (from, name, value, is_enough, does) in WANTED.iter().filter(|(from, ..)| *from <= wanted) {
        let Some(setting) = settings.iter().find(|setting| setting.name == *name) else { continue };
        if is_enough(&setting.value) {
            already.push(format!("{name} is {}", setting.value));
            continue;
        }
        let value = match *name {
            "log_line_prefix" => format!("{}%a ", setting.value),
            _ => (*value).to_owned(),
        };
        let does = match from {
            ServerLog::Slow | ServerLog::Changes => format!("{does}: whoever reads the log reads them"),
            ServerLog::AsItIs | ServerLog::Events => (*does).to_owned(),
        };
        if setting.may_alter {
            steps.push(step(does, format!("ALTER SYSTEM SET {name} = {}", quoted(&value))));
            let before = setting.by_alter_system.then(|| setting.value.clone());
            let first = changed.get(*name).map_or(before, |(first, _)| first.clone());
            changed.insert((*name).to_owned(), (first, value));
        } else {
            let does =
                format!("{does} (this role may not: set it in the parameter group or postgresql.conf)");
            to_decide.push(step(does, format!("{name} = {}", quoted(&value))));
        }
    }
    if steps.is_empty() {
        return (steps, None);
    }
    steps.push(reload());
    (steps, serde_json::to_string(&changed).ok())
}

/// Puts back what is still as the setup made it.
pub(super) fn undo(settings: &[Setting], earlier: Option<&str>, already: &mut Vec<String>) -> Vec<SetupStep> {
    let mut steps = Vec::new();
    for (name, (before, ours)) in memory(earlier) {
        match settings.iter().find(|setting| setting.name == name) {
            Some(setting) if setting.value == ours => {
                let sql = match &before {
                    Some(before) => format!("ALTER SYSTEM SET {name} = {}", quoted(before)),
                    None => format!("ALTER SYSTEM RESET {name}"),
                };
                steps.push(step(format!("put {name} back as it was"), sql));
            }
            _ => already.push(format!("{name} was changed since: it stays")),
        }
    }
    if !steps.is_empty() {
        steps.push(reload());
    }
    steps
}

fn memory(earlier: Option<&str>) -> Changed {
    earlier.and_then(|earlier| serde_json::from_str(earlier).ok()).unwrap_or_default()
}

fn reload() -> SetupStep {
    step("let the server read its settings", "SELECT pg_reload_conf()")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(name: &str, value: &str) -> Setting {
        Setting { name: name.to_owned(), value: value.to_owned(), by_alter_system: false, may_alter: true }
    }

    fn planned(settings: &[Setting], wanted: ServerLog) -> (Vec<String>, Option<String>, Vec<SetupStep>) {
        let (mut already, mut to_decide) = (Vec::new(), Vec::new());
        let (steps, memory) = plan(settings, wanted, None, &mut already, &mut to_decide);
        (steps.into_iter().map(|step| step.sql).collect(), memory, to_decide)
    }

    #[test]
    fn nothing_that_holds_values_is_logged_unless_asked_for() {
        let all: Vec<_> = WANTED.iter().map(|(_, name, ..)| setting(name, "-1")).collect();
        let (events, ..) = planned(&all, ServerLog::Events);
        for leaky in ["log_statement", "log_min_duration_statement", "log_lock_waits"] {
            assert!(events.iter().all(|sql| !sql.contains(&format!("SET {leaky} ="))), "{events:?}");
        }
        assert!(planned(&all, ServerLog::AsItIs).0.is_empty());
        let (slow, ..) = planned(&all, ServerLog::Slow);
        assert!(
            slow.contains(&"ALTER SYSTEM SET log_min_duration_statement = '1000'".to_owned()),
            "{slow:?}"
        );
        assert!(slow.iter().all(|sql| !sql.contains("log_statement =")), "{slow:?}");
    }

    #[test]
    fn undoing_puts_back_what_nobody_changed_since() {
        let by_hand = Setting { by_alter_system: true, ..setting("log_checkpoints", "off") };
        let (_, memory, _) = planned(&[by_hand, setting("log_lock_waits", "off")], ServerLog::Slow);
        let undone = |settings: &[Setting]| {
            let steps = undo(settings, memory.as_deref(), &mut Vec::new());
            steps.into_iter().map(|step| step.sql).collect::<Vec<_>>()
        };
        let now = [setting("log_checkpoints", "on"), setting("log_lock_waits", "on")];
        let expected = [
            "ALTER SYSTEM SET log_checkpoints = 'off'",
            "ALTER SYSTEM RESET log_lock_waits",
            "SELECT pg_reload_conf()",
        ];
        assert_eq!(undone(&now), expected);
        assert!(undone(&[setting("log_checkpoints", "off")]).is_empty(), "somebody changed it since");
    }

    #[test]
    fn a_role_that_may_not_gets_the_text_for_a_parameter_group() {
        let refused = Setting { may_alter: false, ..setting("log_checkpoints", "off") };
        let (steps, memory, to_decide) = planned(&[refused], ServerLog::Events);
        assert!(steps.is_empty() && memory.is_none());
        assert_eq!(to_decide[0].sql, "log_checkpoints = 'on'");
    }
}
