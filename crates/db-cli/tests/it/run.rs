//! Runs `dbctl` as a shell would, and asks a server for a value.

use std::process::{Command, Output};

use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

pub(crate) const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// How the names of all settings begin that `dbctl` reads.
const OURS: &[&str] = &[
    "DATABASE_",
    "DB_",
    "POSTGRES_",
    "APP_ENV",
    "DBCTL_",
    "BACKUP_",
    "NOTIFICATION_",
    "CLOUD_",
    "AWS_",
    "REDIS_",
    "CACHE_",
    "DASHBOARD_",
    "REPORT_",
    "SEED_",
    "PARTITION",
    "MAINTENANCE_",
];

#[derive(QueryableByName)]
pub(crate) struct Text {
    #[diesel(sql_type = diesel::sql_types::Text)]
    pub(crate) text: String,
}

/// The value of an expression on a connection, as text.
pub(crate) async fn ask_on(conn: &mut AsyncPgConnection, expression: &str) -> String {
    let query = sql_query(format!("SELECT coalesce(({expression})::text, 'null') AS text"));
    query.get_result::<Text>(conn).await.unwrap().text
}

pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

pub(crate) async fn dbctl(settings: &[(&str, &str)], arguments: &[&str]) -> Run {
    let mut command = program(settings, arguments);
    // Off this thread: the test's runtime must go on serving what the test holds.
    let Output { status, stdout, stderr } =
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Run { code: status.code(), out: text(stdout), err: text(stderr) }
}

/// The program with these settings and no others.
pub(crate) fn program(settings: &[(&str, &str)], arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dbctl"));
    command.args(arguments).current_dir(ROOT);
    // Whatever database the developer's shell names must not be reached.
    for (name, _) in std::env::vars().filter(|(name, _)| OURS.iter().any(|start| name.starts_with(start))) {
        command.env_remove(name);
    }
    command.envs(settings.iter().copied());
    command
}
