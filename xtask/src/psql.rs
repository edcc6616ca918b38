//! `psql`: a prompt on the development cluster.

use std::os::unix::process::CommandExt;
use std::process;

use crate::command::{Command, Options};
use crate::dev;
use crate::failure::{Failure, Result};

pub(crate) const COMMAND: Command = Command {
    name: "psql",
    line: "open psql on the development cluster (further words are psql's)",
    help: "
cargo xtask psql [ARGUMENTS OF PSQL]

    cargo xtask psql
    cargo xtask psql -c 'SELECT count(*) FROM users'
    cargo xtask psql -- --help

Connects as the superuser to the database app on the primary, with the psql of the server's own version.",
    run,
};

fn run(mut options: Options) -> Result {
    let state = dev::running()?;
    let url = state.environment().into_iter().find(|(name, _)| *name == "DATABASE_URL");
    let (_, url) = url.ok_or_else(|| Failure::said("the development cluster has no primary"))?;
    let mut words = options.rest()?;
    if words.first().is_some_and(|word| word == "--") {
        words.remove(0);
    }
    // psql takes our place: it needs the terminal's foreground, and there is nothing of ours to clean up. The URL with
    // its password travels in the environment, where `ps` does not show it.
    let mut psql = process::Command::new(state.bin.join("psql"));
    let (password, port) = (db_server::PASSWORD, url.rsplit_once(':').map_or("", |(_, rest)| rest));
    let (port, database) = port.split_once('/').unwrap_or((port, db_server::DATABASE));
    psql.env("PGHOST", "127.0.0.1").env("PGPORT", port).env("PGDATABASE", database);
    psql.env("PGUSER", db_server::SUPERUSER).env("PGPASSWORD", password);
    let error = psql.args(words).exec();
    Err(Failure::said(format!("psql did not start: {error}")))
}
