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
    let (Some(primary), Some(password)) = (state.nodes.first(), &state.password) else {
        return Err(Failure::said("the development cluster has no primary"));
    };
    let mut words = options.rest()?;
    if words.first().is_some_and(|word| word == "--") {
        words.remove(0);
    }
    // psql takes our place: it needs the terminal's foreground, and there is nothing of ours to clean up. The
    // password travels in the environment, which nobody else can read; `ps` shows arguments to all.
    let mut psql = process::Command::new(state.bin.join("psql"));
    psql.env("PGHOST", "127.0.0.1").env("PGPORT", primary.port.to_string());
    psql.env("PGDATABASE", db_server::DATABASE).env("PGUSER", db_server::SUPERUSER);
    psql.env("PGPASSWORD", password.reveal());
    let error = psql.args(words).exec();
    Err(Failure::said(format!("psql did not start: {error}")))
}
