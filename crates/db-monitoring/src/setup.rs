//! Makes a server ready to be watched, and takes back exactly what it did.
//!
//! A role that sees what it must and no more, and `pg_stat_statements` where the server has loaded it. What
//! was done is marked where it was done, so that undoing needs no memory elsewhere. The server's settings are
//! changed only where a person asks for it ([`ServerLog`]): those that write secrets into its log are named,
//! for a person to decide.

mod logging;
mod objects;

use db_core::{Error, Result};
use diesel::sql_types::Text;
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use serde::{Deserialize, Serialize};

use logging::Setting;
use objects::Objects;

pub use logging::ServerLog;

/// What marks our own work: the value of a setting of the role, and the comment of the extension.
const MARK: &str = "dbctl monitor setup";
/// The role's setting that says what was done to it.
const ROLE_MARK: &str = "db_platform.setup";
/// The role's setting that says how the server's settings were before.
const LOG_MARK: &str = "db_platform.setup_log";

/// One step of the setup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SetupStep {
    /// What it does, as a sentence.
    pub does: String,
    /// The statement.
    pub sql: String,
}

/// What the setup would do, what is there already, and what a person has to decide.
///
/// ```no_run
/// # async fn example(conn: &mut diesel_async::AsyncPgConnection) -> db_core::Result<()> {
/// use db_monitoring::SetupPlan;
///
/// let plan = SetupPlan::make(conn, "watcher").await?;
/// for step in &plan.steps {
///     println!("{}\n    {}", step.does, step.sql);
/// }
/// plan.apply(conn).await?;
/// SetupPlan::undoing(conn, "watcher").await?.apply(conn).await
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SetupPlan {
    /// What would be done, in order and in one transaction.
    pub steps: Vec<SetupStep>,
    /// What is as it should be.
    pub already: Vec<String>,
    /// What is never done by itself: what it means, and the statement.
    pub to_decide: Vec<SetupStep>,
    /// What is done to the server's settings: each by itself, because the server refuses that in a
    /// transaction.
    pub settings: Vec<SetupStep>,
    /// Whether settings go first: the steps forget how they were.
    #[serde(skip)]
    settings_first: bool,
}

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    line: String,
}

/// How the server is.
#[derive(Debug, Default, Deserialize)]
struct State {
    database: String,
    role_exists: bool,
    role_is_member: bool,
    role_mark: Option<String>,
    role_log: Option<String>,
    uses_schema: bool,
    extension_available: bool,
    extension_schema: Option<String>,
    extension_mark: Option<String>,
    preload: Option<String>,
    settings: Vec<(String, Option<String>)>,
    objects: Objects,
    #[serde(skip)]
    logging: Vec<Setting>,
}

const STATE: &str = "SELECT json_build_object('database', current_database(), \
     'role_exists', EXISTS (SELECT FROM pg_roles WHERE rolname = $1), \
     'role_is_member', coalesce((SELECT pg_has_role(r.oid, 'pg_monitor', 'MEMBER') FROM pg_roles r WHERE r.rolname = $1), false), \
     'role_mark', (SELECT split_part(s, '=', 2) FROM pg_roles r, unnest(r.rolconfig) s \
        WHERE r.rolname = $1 AND s LIKE 'db_platform.setup=%'), \
     'role_log', (SELECT substr(s, strpos(s, '=') + 1) FROM pg_roles r, unnest(r.rolconfig) s \
        WHERE r.rolname = $1 AND s LIKE 'db_platform.setup_log=%'), \
     'uses_schema', coalesce((SELECT has_schema_privilege(r.oid, n.oid, 'USAGE') FROM pg_roles r, pg_namespace n \
        WHERE r.rolname = $1 AND n.nspname = 'dbp'), false), \
     'extension_available', EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_stat_statements'), \
     'extension_schema', (SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace \
        WHERE e.extname = 'pg_stat_statements'), \
     'extension_mark', (SELECT obj_description(e.oid, 'pg_extension') FROM pg_extension e WHERE e.extname = 'pg_stat_statements'), \
     'preload', (SELECT setting FROM pg_settings WHERE name = 'shared_preload_libraries'), \
     'settings', (SELECT coalesce(json_agg(json_build_array(name, setting)), '[]') FROM pg_settings WHERE name IN \
        ('log_statement', 'log_min_duration_statement', 'log_min_duration_sample', 'log_parameter_max_length', \
        'log_parameter_max_length_on_error', 'log_min_error_statement', 'log_lock_waits', \
        'log_line_prefix', 'log_destination', 'auto_explain.log_min_duration', \
        'auto_explain.log_parameter_max_length', 'server_version_num')), 'objects', {objects})::text AS line";

/// Name, whether this value writes secrets, what it writes, the statement that ends it.
type Leak = (&'static str, fn(&str) -> bool, &'static str, &'static str);

const LEAKS: [Leak; 7] = [
    (
        "log_statement",
        |value| value != "none",
        "log_statement writes the passwords of CREATE ROLE and ALTER ROLE, and the constants of statements, into the log",
        "ALTER SYSTEM SET log_statement = 'none'",
    ),
    (
        "log_min_duration_statement",
        |value| value != "-1",
        "log_min_duration_statement writes slow statements with their constants into the log",
        "ALTER SYSTEM SET log_min_duration_statement = -1",
    ),
    (
        "log_parameter_max_length",
        |value| value != "0",
        "log_parameter_max_length writes bind values of logged statements into the log",
        "ALTER SYSTEM SET log_parameter_max_length = 0",
    ),
    (
        "log_parameter_max_length_on_error",
        |value| value != "0",
        "log_parameter_max_length_on_error writes bind values of failed statements into the log",
        "ALTER SYSTEM SET log_parameter_max_length_on_error = 0",
    ),
    (
        "log_min_error_statement",
        |value| !matches!(value, "log" | "fatal" | "panic"),
        "log_min_error_statement writes failed statements with their constants into the log",
        "ALTER SYSTEM SET log_min_error_statement = 'panic'",
    ),
    (
        "log_lock_waits",
        |value| value == "on",
        "log_lock_waits writes statements that wait for a lock, with their constants, into the log",
        "ALTER SYSTEM SET log_lock_waits = off",
    ),
    (
        "auto_explain.log_parameter_max_length",
        |value| value != "0",
        "auto_explain.log_parameter_max_length writes bind values into the log",
        "ALTER SYSTEM SET auto_explain.log_parameter_max_length = 0",
    ),
];

impl SetupPlan {
    /// Finds out what is missing for `role` in this database. Changes nothing.
    ///
    /// # Errors
    /// Where the server does not answer.
    ///
    /// # Cancel safety
    /// Nothing was changed.
    pub async fn make(conn: &mut AsyncPgConnection, role: &str) -> Result<Self> {
        Self::with_log(conn, role, ServerLog::AsItIs).await
    }

    /// As [`SetupPlan::make`], and what is missing for the server to log that much.
    ///
    /// # Errors
    /// As [`SetupPlan::make`].
    ///
    /// # Cancel safety
    /// Nothing was changed.
    pub async fn with_log(conn: &mut AsyncPgConnection, role: &str, log: ServerLog) -> Result<Self> {
        Ok(plan(&State::read(conn, role).await?, role, log))
    }

    /// Finds out what an earlier setup did for `role` in this database. Changes nothing.
    ///
    /// # Errors
    /// As [`SetupPlan::make`].
    ///
    /// # Cancel safety
    /// Nothing was changed.
    pub async fn undoing(conn: &mut AsyncPgConnection, role: &str) -> Result<Self> {
        Ok(undo(&State::read(conn, role).await?, role))
    }

    /// Does all steps, in one transaction: all of them or none. What is done to the server's settings is done
    /// behind it, one by one, and put back before it; doing all again goes on where that ended.
    ///
    /// # Errors
    /// What the server refuses, such as for want of the right to make roles.
    ///
    /// # Cancel safety
    /// Dropping the future closes nothing: the connection is in a transaction then, and must be dropped too.
    pub async fn apply(&self, conn: &mut AsyncPgConnection) -> Result<()> {
        if self.settings_first {
            self.apply_settings(conn).await?;
        }
        let steps: Vec<String> = self.steps.iter().map(|step| step.sql.clone()).collect();
        conn.transaction::<(), Error, _>(async move |conn| {
            // Nobody may wait behind us.
            conn.batch_execute("SET LOCAL lock_timeout = '2s'").await?;
            for step in &steps {
                conn.batch_execute(step).await?;
            }
            Ok(())
        })
        .await?;
        if !self.settings_first {
            self.apply_settings(conn).await?;
        }
        Ok(())
    }

    async fn apply_settings(&self, conn: &mut AsyncPgConnection) -> Result<()> {
        for step in &self.settings {
            conn.batch_execute(&step.sql).await?;
        }
        Ok(())
    }
}

impl State {
    async fn read(conn: &mut AsyncPgConnection, role: &str) -> Result<Self> {
        let question = STATE.replace("{objects}", objects::STATE);
        let line: Line = sql_query(question).bind::<Text, _>(role).get_result(conn).await?;
        let mut state: State =
            serde_json::from_str(&line.line).map_err(|error| Error::Value(Box::new(error)))?;
        state.logging = logging::read(conn).await?;
        Ok(state)
    }

    /// What an earlier setup did to the role.
    fn done(&self) -> Vec<&str> {
        self.role_mark.as_deref().unwrap_or("").split('+').filter(|one| !one.is_empty()).collect()
    }

    fn preloads(&self) -> bool {
        let libraries = self.preload.as_deref().unwrap_or("").split(',');
        libraries
            .map(|library| library.trim().trim_matches('"'))
            .any(|library| library.ends_with("pg_stat_statements"))
    }
}

fn step(does: impl Into<String>, sql: impl Into<String>) -> SetupStep {
    SetupStep { does: does.into(), sql: sql.into() }
}

fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn plan(state: &State, role: &str, log: ServerLog) -> SetupPlan {
    let name = identifier(role);
    let (mut steps, mut already, mut to_decide) = (Vec::new(), Vec::new(), Vec::new());
    let (before, mut done) = (state.done(), state.done());
    if state.role_exists {
        already.push(format!("the role {role} is there"));
    } else {
        steps.push(step(
            format!("make the role {role}, which cannot log in"),
            format!("CREATE ROLE {name} NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION"),
        ));
        done.push("role");
    }
    if state.role_is_member {
        already.push(format!("{role} is a member of pg_monitor"));
    } else {
        steps.push(step(
            format!("let {role} see the statistics of all sessions: no data of tables"),
            format!("GRANT pg_monitor TO {name}"),
        ));
        done.push("pg_monitor");
    }
    let mut counted_in = state.extension_schema.as_deref().filter(|_| state.objects.counts_in_milliseconds);
    match (&state.extension_schema, state.extension_available, state.preloads()) {
        (Some(schema), ..) if counted_in.is_none() => to_decide.push(step(
            format!("pg_stat_statements, in {schema}, is older than its server's programs"),
            "ALTER EXTENSION pg_stat_statements UPDATE",
        )),
        (Some(schema), ..) => already.push(format!("{} has pg_stat_statements, in {schema}", state.database)),
        (None, false, _) => to_decide.push(step(
            "the server's programs do not bring pg_stat_statements: install them, often as postgresql-contrib",
            "",
        )),
        (None, true, true) => {
            steps.push(step(
                format!("count statements in {}", state.database),
                "CREATE EXTENSION pg_stat_statements WITH SCHEMA public",
            ));
            steps.push(step(
                "mark what was done, for --undo",
                format!("COMMENT ON EXTENSION pg_stat_statements IS '{MARK}'"),
            ));
            counted_in = Some("public");
        }
        (None, true, false) => {
            let loaded = state.preload.as_deref().filter(|loaded| !loaded.is_empty());
            let loaded = loaded.map_or(String::new(), |loaded| format!("{loaded}, "));
            to_decide.push(step(
                "statements are counted only after a restart with this setting; run the setup again then",
                format!("ALTER SYSTEM SET shared_preload_libraries = {loaded}pg_stat_statements"),
            ));
        }
    }
    let made = steps.len();
    state.objects.plan((role, state.uses_schema), counted_in, &mut steps, &mut already);
    if steps.len() > made && !state.uses_schema {
        done.push("schema");
    }
    let (settings, remembered) =
        logging::plan(&state.logging, log, state.role_log.as_deref(), &mut already, &mut to_decide);
    let marks = [(ROLE_MARK, (done != before).then(|| done.join("+"))), (LOG_MARK, remembered)];
    for (mark, text) in marks.into_iter().filter_map(|(mark, text)| Some((mark, text?))) {
        let text = text.replace('\'', "''");
        steps
            .push(step("mark what was done, for --undo", format!("ALTER ROLE {name} SET {mark} = '{text}'")));
    }
    to_decide.extend(leaks(state));
    if !settings.iter().any(|step| step.sql.contains("SET log_line_prefix")) {
        to_decide.extend(names_no_session(state));
    }
    SetupPlan { steps, already, to_decide, settings, settings_first: false }
}

/// Where the log does not say whose a line is. Those of CSV and JSON always do.
fn names_no_session(state: &State) -> Option<SetupStep> {
    let value = |name: &str| {
        let found = state.settings.iter().find(|(known, _)| known == name);
        found.and_then(|(_, value)| value.as_deref())
    };
    let prefix = value("log_line_prefix").filter(|prefix| !prefix.contains("%a"))?;
    let is_plain = value("log_destination").is_none_or(|to| to.contains("stderr") || to.contains("syslog"));
    is_plain.then(|| {
        step(
            "log_line_prefix does not say whose a line is: with %a a slow one names the service, and the trace \
             where DB_TRACE_LINK is set",
            format!("ALTER SYSTEM SET log_line_prefix = '{}%a '", prefix.replace('\'', "''")),
        )
    })
}

/// The settings that write secrets into the server's log as they are now.
fn leaks(state: &State) -> Vec<SetupStep> {
    let value = |name: &str| {
        let found = state.settings.iter().find(|(known, _)| known == name);
        found.and_then(|(_, value)| value.as_deref())
    };
    let logs_statements = value("log_statement").is_some_and(|value| value != "none")
        || value("log_min_duration_statement").is_some_and(|value| value != "-1")
        || value("log_min_duration_sample").is_some_and(|value| value != "-1");
    let explains = value("auto_explain.log_min_duration").is_some_and(|value| value != "-1");
    let leaks = |(name, leaks, text, sql): &Leak| {
        let matters = match *name {
            "log_parameter_max_length" => logs_statements,
            "auto_explain.log_parameter_max_length" => explains,
            _ => true,
        };
        (matters && leaks(value(name)?)).then(|| step(*text, *sql))
    };
    LEAKS.iter().filter_map(leaks).collect()
}

fn undo(state: &State, role: &str) -> SetupPlan {
    let name = identifier(role);
    let (mut steps, mut already) = (Vec::new(), Vec::new());
    let settings = logging::undo(&state.logging, state.role_log.as_deref(), &mut already);
    let done = state.done();
    state.objects.undo(done.contains(&"schema").then_some(role), &mut steps, &mut already);
    if state.extension_mark.as_deref() == Some(MARK) {
        steps.push(step(
            format!("stop counting statements in {}", state.database),
            "DROP EXTENSION pg_stat_statements",
        ));
    }
    if done.contains(&"role") {
        steps.push(step(format!("drop the role {role}"), format!("DROP ROLE {name}")));
    } else {
        if done.contains(&"pg_monitor") {
            steps
                .push(step(format!("take pg_monitor from {role}"), format!("REVOKE pg_monitor FROM {name}")));
        }
        for (mark, is_set) in [(ROLE_MARK, !done.is_empty()), (LOG_MARK, state.role_log.is_some())] {
            if is_set {
                steps.push(step("take the mark away", format!("ALTER ROLE {name} RESET {mark}")));
            }
        }
    }
    if steps.is_empty() && settings.is_empty() {
        already.push("there is nothing of an earlier setup here".to_owned());
    }
    SetupPlan { steps, already, to_decide: Vec::new(), settings, settings_first: true }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(settings: &[(&str, &str)]) -> State {
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), Some((*value).to_owned())));
        State { settings: settings.collect(), extension_available: true, ..State::default() }
    }

    #[test]
    fn a_setting_that_logs_secrets_is_named_and_never_set() {
        let state = state(&[("log_statement", "ddl"), ("log_parameter_max_length", "-1")]);
        let plan = plan(&state, "watcher", ServerLog::AsItIs);
        let named: Vec<_> = plan.to_decide.iter().map(|step| step.sql.as_str()).collect();
        assert!(named.contains(&"ALTER SYSTEM SET log_statement = 'none'"), "{named:?}");
        assert!(named.contains(&"ALTER SYSTEM SET log_parameter_max_length = 0"), "{named:?}");
        assert!(plan.steps.iter().all(|step| !step.sql.contains("ALTER SYSTEM")), "{plan:?}");
    }

    #[test]
    fn bind_values_are_logged_only_where_statements_are() {
        let state = state(&[("log_statement", "none"), ("log_parameter_max_length", "-1")]);
        assert!(
            plan(&state, "watcher", ServerLog::AsItIs)
                .to_decide
                .iter()
                .all(|step| !step.sql.contains("log_parameter_max_length"))
        );
    }

    #[test]
    fn a_log_that_names_no_session_is_told_and_one_that_does_is_not() {
        let told = |settings: &[(&str, &str)]| names_no_session(&state(settings)).map(|step| step.sql);
        let sql = told(&[("log_line_prefix", "%m [%p] ")]);
        assert_eq!(sql.as_deref(), Some("ALTER SYSTEM SET log_line_prefix = '%m [%p] %a '"));
        assert_eq!(told(&[("log_line_prefix", "%a ")]), None);
        assert_eq!(told(&[("log_line_prefix", ""), ("log_destination", "jsonlog")]), None);
    }

    #[test]
    fn only_what_the_setup_did_is_undone() {
        let theirs = State { role_exists: true, role_is_member: true, ..State::default() };
        assert!(undo(&theirs, "watcher").steps.is_empty());
        let granted = State { role_mark: Some("pg_monitor".to_owned()), ..theirs };
        let sql: Vec<_> = undo(&granted, "watcher").steps.into_iter().map(|step| step.sql).collect();
        assert_eq!(
            sql,
            ["REVOKE pg_monitor FROM \"watcher\"", "ALTER ROLE \"watcher\" RESET db_platform.setup"]
        );
    }

    #[test]
    fn libraries_that_are_loaded_already_stay_loaded() {
        let state = State { preload: Some("auto_explain".to_owned()), ..state(&[]) };
        let plan = plan(&state, "watcher", ServerLog::AsItIs);
        assert!(plan.to_decide[0].sql.ends_with("= auto_explain, pg_stat_statements"), "{plan:?}");
    }
}
